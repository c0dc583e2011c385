"""Tests of voxrec.audio.writer. The content of each format is tested in tests.audio.test_formats."""

import numpy as np
import soundfile

from tests.audio.fixtures import AudioTestCase, amplitude_at, tone
from voxrec.audio.formats import FORMATS
from voxrec.audio.writer import write_audio
from voxrec.errors import AudioError


class WriteAudioTests(AudioTestCase):
    def test_several_blocks_are_one_file(self) -> None:
        samples = tone(440, 1)[:, np.newaxis]
        for name in ("wav", "flac", "sln"):
            audio_format = FORMATS[name]
            output = self.directory / f"out.{audio_format.suffix}"
            write_audio(np.array_split(samples, 5), output, 8000, 1, audio_format)
            if audio_format.headerless:
                self.assertEqual(output.read_bytes(), samples.astype("<i2").tobytes())
            else:
                np.testing.assert_array_equal(self.read(output), samples)

    def test_no_blocks_is_a_file_without_frames(self) -> None:
        output = self.directory / "out.wav"
        write_audio([], output, 8000, 1, FORMATS["wav"])
        self.assertEqual(soundfile.info(output).frames, 0)

    def test_stereo_mp3_has_no_noise(self) -> None:
        """libsndfile up to 1.2.2 turns half of a stereo MP3 of 16-bit samples into noise (libsndfile#1106)."""
        samples = np.stack((tone(440, 2), tone(1000, 2)), axis=1)
        write_audio([samples], self.directory / "out.mp3", 8000, 2, FORMATS["mp3"])
        left, right = self.read(self.directory / "out.mp3")[4000:12000].T
        self.assertLess(amplitude_at(left, 1000), 80)
        self.assertLess(amplitude_at(right, 440), 80)

    def test_rate_that_the_format_does_not_support(self) -> None:
        blocks = [np.zeros((100, 1), np.int16)]
        with self.assertRaisesRegex(AudioError, "out.opus: "):
            write_audio(blocks, self.directory / "out.opus", 11025, 1, FORMATS["opus"])

    def test_missing_directory(self) -> None:
        for name in ("wav", "sln", "g722"):
            output = self.directory / "missing" / "out"
            self.assertRaises(OSError, write_audio, [], output, 8000, 1, FORMATS[name])
