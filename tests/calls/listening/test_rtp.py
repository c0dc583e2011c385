"""RTP packets, and the decoding of their audio."""

import io
import struct

import numpy as np
import soundfile
from twisted.trial.unittest import SynchronousTestCase

from voxrec.calls.listening.rtp import NARROWBAND, WIDEBAND, RtpPacket, parse_rtp


def datagram(payload: bytes, *, first: int = 0x80, second: int = 0, sequence: int = 7, more: bytes = b"") -> bytes:
    return struct.pack("!BBHII", first, second, sequence, 160, 99) + more + payload


class ParserTests(SynchronousTestCase):
    def test_packet(self) -> None:
        self.assertEqual(parse_rtp(datagram(b"abc")), RtpPacket(7, 99, b"abc"))
        self.assertEqual(parse_rtp(datagram(b"abc", second=0x80 | 118)), RtpPacket(7, 99, b"abc"), "with a marker")

    def test_contributing_sources_extension_and_padding(self) -> None:
        sources = bytes(8)
        extension = b"\xbe\xde\x00\x01" + bytes(4)
        packet = datagram(b"abc\x00\x00\x03", first=0x80 | 0x20 | 0x10 | 2, more=sources + extension)
        self.assertEqual(parse_rtp(packet), RtpPacket(7, 99, b"abc"))

    def test_what_is_no_rtp(self) -> None:
        for other in (
            b"",
            b"\x80" * 11,
            datagram(b"abc", first=0x40),  # another version
            datagram(b"abc", second=0x80 | 72),  # RTCP
            datagram(b"", first=0x80 | 15),  # shorter than its list of sources
            datagram(b"", first=0x90),  # no extension
            datagram(b"", first=0x90, more=b"\xbe\xde\xff\xff"),  # shorter than its extension
            datagram(b"\xff", first=0xA0),  # shorter than its padding
        ):
            self.assertIsNone(parse_rtp(other), other)


class EncodingTests(SynchronousTestCase):
    def test_mu_law_is_that_of_libsndfile(self) -> None:
        codes = bytes(range(256))
        expected, _ = soundfile.read(
            io.BytesIO(codes), dtype="int16", samplerate=8000, channels=1, format="RAW", subtype="ULAW"
        )
        self.assertEqual(NARROWBAND.decode(codes).tolist(), expected.tolist())

    def test_linear_samples_are_in_network_byte_order(self) -> None:
        samples = WIDEBAND.decode(b"\x00\x01\xff\xfe\x7f")
        self.assertEqual((samples.dtype, samples.tolist()), (np.int16, [1, -2]))
