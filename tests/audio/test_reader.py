"""Tests of voxrec.audio.reader."""

import os
from pathlib import Path

import numpy as np

from tests.audio.fixtures import AudioTestCase, tone
from voxrec.audio.reader import open_audio, read_blocks
from voxrec.errors import AudioError


class ReaderTests(AudioTestCase):
    def test_blocks_are_in_order(self) -> None:
        samples = tone(440, 1.0)
        path = self.write("a.wav", samples)
        with open_audio(path) as reader:
            blocks = list(read_blocks(reader, path, frames=3000))
        self.assertEqual([len(block) for block in blocks], [3000, 3000, 2000])
        np.testing.assert_array_equal(np.concatenate(blocks)[:, 0], samples)

    def test_permission_error_is_not_an_audio_error(self) -> None:
        """Otherwise an unreadable file would be taken for one without audio."""
        path = self.write("a.wav", tone(440, 0.1))
        self.patch(os, "open", self._refuse)
        with self.assertRaises(PermissionError), open_audio(path):
            pass

    def test_error_of_the_operating_system_is_an_oserror(self) -> None:
        with self.assertRaises(OSError) as caught, open_audio(self.directory / ("x" * 300)):
            pass
        self.assertNotIsInstance(caught.exception, AudioError)

    def test_file_is_closed(self) -> None:
        path = self.write("a.wav", tone(440, 0.1))
        before = len(list(Path("/proc/self/fd").iterdir()))
        with open_audio(path):
            self.assertEqual(len(list(Path("/proc/self/fd").iterdir())), before + 1)
        self.assertEqual(len(list(Path("/proc/self/fd").iterdir())), before)

    def _refuse(self, *_: object) -> None:
        raise PermissionError(13, os.strerror(13))
