"""Tests of voxrec.audio.source."""

import os
from pathlib import Path

import numpy as np

from tests.audio.tones import AudioTestCase, tone
from voxrec.audio.source import blocks, opened
from voxrec.errors import AudioError


class ReadingTests(AudioTestCase):
    def test_blocks_are_the_file_in_order(self) -> None:
        samples = tone(440, 1.0)
        path = self.write("a.wav", samples)
        with opened(path) as sound:
            got = list(blocks(sound, path, frames=3000))
        self.assertEqual([len(block) for block in got], [3000, 3000, 2000])
        np.testing.assert_array_equal(np.concatenate(got)[:, 0], samples)

    def test_a_refused_permission_is_not_the_files_fault(self) -> None:
        """Else a file that nobody may read would pass for one that holds nothing."""
        path = self.write("a.wav", tone(440, 0.1))
        self.patch(Path, "open", self._refuse)
        with self.assertRaises(PermissionError), opened(path):
            pass

    def test_the_systems_own_error_stays_one(self) -> None:
        with self.assertRaises(OSError) as caught, opened(self.directory):
            pass
        self.assertNotIsInstance(caught.exception, AudioError)

    def test_the_file_is_closed(self) -> None:
        path = self.write("a.wav", tone(440, 0.1))
        before = len(list(Path("/proc/self/fd").iterdir()))
        with opened(path):
            self.assertEqual(len(list(Path("/proc/self/fd").iterdir())), before + 1)
        self.assertEqual(len(list(Path("/proc/self/fd").iterdir())), before)

    def _refuse(self, *_: object, buffering: int = -1) -> None:
        raise PermissionError(13, os.strerror(13))
