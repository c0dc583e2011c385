"""Frames of both sides: their alignment, lost and late packets."""

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from voxrec.calls.listening.frames import Frame, FrameMixer
from voxrec.calls.listening.rtp import RtpPacket, Samples
from voxrec.model import ListenSide, Side


def samples(value: int, count: int = 160) -> Samples:
    return np.full(count, value, dtype=np.int16)


class FrameTests(SynchronousTestCase):
    def test_sides(self) -> None:
        frame = Frame(samples(1, 2), samples(-2, 2))
        self.assertEqual(frame.pcm(ListenSide.CALLER), b"\x01\x00\x01\x00")
        self.assertEqual(frame.pcm(ListenSide.CALLEE), b"\xfe\xff\xfe\xff")
        self.assertEqual(frame.pcm(ListenSide.BOTH), b"\x01\x00\xfe\xff" * 2)


class MixerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.frames: list[tuple[int, int]] = []
        self.mixer = FrameMixer(8000, self.emitted)

    def emitted(self, frame: Frame) -> None:
        caller, callee = (np.frombuffer(frame.pcm(side), "<i2") for side in (ListenSide.CALLER, ListenSide.CALLEE))
        self.assertEqual((len(caller), len(callee)), (160, 160))
        self.frames.append((int(caller[0]), int(callee[0])))

    def add(self, side: Side, sequence: int, value: int, source: int = 1, count: int = 160) -> None:
        self.mixer.add(side, RtpPacket(sequence % 65536, source, b""), samples(value, count))

    def test_both_sides_are_put_next_to_each_other(self) -> None:
        for sequence in range(3):
            self.add(Side.CALLER, sequence, sequence + 1)
            self.assertEqual(len(self.frames), sequence, "the other side is missing")
            self.add(Side.CALLEE, sequence + 65534, 10 + sequence)  # its numbers begin again
        self.assertEqual(self.frames, [(1, 10), (2, 11), (3, 12)])

    def test_a_side_without_audio_is_silent(self) -> None:
        for sequence in range(8):
            self.add(Side.CALLER, sequence, 1)
        self.assertEqual(self.frames, [(1, 0)] * 3, "the other side may be 100 ms late")

    def test_lost_packets_are_silence(self) -> None:
        for side in Side:
            for sequence in (0, 3):
                self.add(side, sequence, 5)
        self.assertEqual(self.frames, [(5, 5), (0, 0), (0, 0), (5, 5)])

    def test_late_and_repeated_packets_are_dropped(self) -> None:
        for side in Side:
            for sequence, value in ((5, 1), (4, 2), (5, 3), (6, 4)):
                self.add(side, sequence, value)
        self.assertEqual(self.frames, [(1, 1), (4, 4)])

    def test_a_long_gap_and_another_source_are_new_beginnings(self) -> None:
        for side in Side:
            self.add(side, 0, 1)
            self.add(side, 1000, 2)
            self.add(side, 3, 3, source=2)
        self.assertEqual(self.frames, [(1, 1), (2, 2), (3, 3)])

    def test_packets_of_other_lengths(self) -> None:
        for side in Side:
            self.add(side, 0, 1, count=240)
            self.add(side, 1, 2, count=80)
        self.assertEqual(self.frames, [(1, 1), (1, 1)])
