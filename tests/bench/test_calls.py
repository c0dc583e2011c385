"""Tests of bench.calls."""

from twisted.trial.unittest import SynchronousTestCase

from bench.calls import unmasked

MASK = bytes([0x37, 0xFA, 0x21, 0x3D])


class UnmaskedTests(SynchronousTestCase):
    def test_the_example_of_rfc_6455_section_5_7(self) -> None:
        self.assertEqual(unmasked(bytes([0x81, 0x85]) + MASK + bytes([0x7F, 0x9F, 0x4D, 0x51, 0x58])), b"Hello")

    def test_a_long_message(self) -> None:
        message = bytes(range(256))
        masked = bytes(byte ^ MASK[place % 4] for place, byte in enumerate(message))
        self.assertEqual(unmasked(b"\x81\xfe\x01\x00" + MASK + masked), message)
