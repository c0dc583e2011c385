"""Tests of voxrec.audio.peaks."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

import voxrec.audio.peaks as module
from tests.audio.tones import AudioTestCase, silence, tone
from voxrec.audio.peaks import peaks
from voxrec.audio.source import blocks
from voxrec.errors import AudioError


class PeaksTests(AudioTestCase):
    def test_each_channel_by_itself(self) -> None:
        left = np.concatenate((tone(440, 1, 32000), silence(1)))
        right = np.concatenate((silence(1), tone(440, 1, 16000)))
        path = self.write("a.wav", np.stack((left, right), axis=1))
        self.assertEqual(peaks(path, 2), [[(-125, 125), (0, 0)], [(0, 0), (-63, 62)]])

    def test_no_more_buckets_than_frames(self) -> None:
        path = self.write("a.wav", np.array([256, -256, 512], dtype=np.int16))
        self.assertEqual(peaks(path, 10), [[(1, 1), (-1, -1), (2, 2)]])
        self.assertEqual(peaks(self.write("b.wav", silence(0)), 10), [[]])

    def test_errors(self) -> None:
        self.assertRaises(AudioError, peaks, self.directory / "none.wav", 5)

    @settings(deadline=None)  # it writes files
    @given(
        samples=arrays.arrays(
            np.int16, st.tuples(st.integers(1, 90), st.integers(1, 2)), elements=st.integers(-32768, 32767)
        ),
        buckets=st.integers(1, 100),
        block=st.integers(1, 100),
    )
    def test_as_if_read_at_once(self, samples: NDArray[np.int16], buckets: int, block: int) -> None:
        path = self.write("a.wav", samples)
        self.patch(module, "blocks", lambda sound, path: blocks(sound, path, block))
        got = peaks(path, buckets)
        count = min(buckets, len(samples))
        for channel, told in enumerate(got):
            edges = [i * len(samples) // count for i in range(count + 1)]
            parts = [samples[a:b, channel] for a, b in pairwise(edges)]
            self.assertEqual(told, [(int(part.min()) >> 8, int(part.max()) >> 8) for part in parts])
