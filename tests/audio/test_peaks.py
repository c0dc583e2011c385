"""Tests of voxrec.audio.peaks."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

import voxrec.audio.peaks as module
from tests.audio.fixtures import AudioTestCase, silence, tone
from voxrec.audio.peaks import compute_peaks
from voxrec.audio.reader import read_blocks
from voxrec.errors import AudioError


class PeaksTests(AudioTestCase):
    def test_channels_are_separate(self) -> None:
        left = np.concatenate((tone(440, 1, 32000), silence(1)))
        right = np.concatenate((silence(1), tone(440, 1, 16000)))
        path = self.write("a.wav", np.stack((left, right), axis=1))
        self.assertEqual(compute_peaks(path, 2), [[(-125, 125), (0, 0)], [(0, 0), (-63, 62)]])

    def test_at_most_one_bucket_per_frame(self) -> None:
        path = self.write("a.wav", np.array([256, -256, 512], dtype=np.int16))
        self.assertEqual(compute_peaks(path, 10), [[(1, 1), (-1, -1), (2, 2)]])
        self.assertEqual(compute_peaks(self.write("b.wav", silence(0)), 10), [[]])

    def test_missing_file(self) -> None:
        self.assertRaises(AudioError, compute_peaks, self.directory / "none.wav", 5)

    @settings(deadline=None)  # it writes files
    @given(
        samples=arrays.arrays(
            np.int16, st.tuples(st.integers(1, 90), st.integers(1, 2)), elements=st.integers(-32768, 32767)
        ),
        buckets=st.integers(1, 100),
        block=st.integers(1, 100),
    )
    def test_block_size_does_not_change_the_result(self, samples: NDArray[np.int16], buckets: int, block: int) -> None:
        path = self.write("a.wav", samples)
        self.patch(module, "read_blocks", lambda reader, path: read_blocks(reader, path, block))
        peaks = compute_peaks(path, buckets)
        count = min(buckets, len(samples))
        for channel, actual in enumerate(peaks):
            edges = [i * len(samples) // count for i in range(count + 1)]
            parts = [samples[a:b, channel] for a, b in pairwise(edges)]
            self.assertEqual(actual, [(int(part.min()) >> 8, int(part.max()) >> 8) for part in parts])
