"""Tests of voxrec.audio.resample."""

from pathlib import Path

import numpy as np

from tests.audio.fixtures import AudioTestCase, amplitude_at, tone
from voxrec.audio.probe import AudioInfo, probe
from voxrec.audio.resample import resample_blocks, resample_to_common_rate
from voxrec.errors import AudioError
from voxrec.model import Side


class ResampleBlocksTests(AudioTestCase):
    def test_same_rate_returns_the_blocks_themselves(self) -> None:
        blocks = [tone(440, 1)[:, np.newaxis]]
        self.assertEqual([id(block) for block in resample_blocks(blocks, 8000, 8000)], [id(blocks[0])])

    def test_block_size_does_not_change_the_result(self) -> None:
        samples = np.stack((tone(440, 1), tone(880, 1)), axis=1)
        expected = np.concatenate(list(resample_blocks([samples], 8000, 16000)))
        self.assertEqual(expected.shape, (16000, 2))
        actual = np.concatenate(list(resample_blocks(np.array_split(samples, 7), 8000, 16000)))
        self.assertEqual(actual.shape, expected.shape)
        difference = np.abs(actual.astype(np.int32) - expected)
        self.assertLessEqual(int(difference.max()), 4, "soxr dithers, so the last bits vary")
        self.assertApproximates(amplitude_at(actual[4000:12000, 0], 440, 16000), 8000, 40)
        self.assertApproximates(amplitude_at(actual[4000:12000, 1], 880, 16000), 8000, 40)

    def test_no_blocks(self) -> None:
        self.assertEqual(list(resample_blocks([], 8000, 16000)), [])


class ResampleToCommonRateTests(AudioTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.new_files: list[Path] = []

    def new_file(self, name: str) -> Path:
        self.new_files.append(self.directory / name)
        return self.new_files[-1]

    def test_leg_with_the_lower_rate_is_resampled(self) -> None:
        narrow = self.write("narrow.wav", tone(440, 1))
        wide = self.write("wide.wav", tone(440, 1, rate=16000), 16000)
        legs = resample_to_common_rate({Side.CALLER: narrow, Side.CALLEE: wide}, self.new_file)
        (resampled,) = self.new_files
        self.assertEqual(resampled.name, "resampled-caller.wav")
        self.assertEqual(legs, {Side.CALLER: resampled, Side.CALLEE: wide})
        self.assertEqual(probe(resampled), AudioInfo(16000, 16000, 1, "WAV", "PCM_16"))
        self.assertApproximates(amplitude_at(self.read(resampled)[4000:12000, 0], 440, 16000), 8000, 40)

    def test_legs_with_one_rate_are_returned_unchanged(self) -> None:
        leg = self.write("a.wav", tone(440, 1))
        for legs in ({}, {Side.CALLER: leg}, {Side.CALLER: leg, Side.CALLEE: leg}):
            self.assertEqual(resample_to_common_rate(legs, self.new_file), legs)
        self.assertEqual(self.new_files, [])

    def test_missing_leg(self) -> None:
        legs = {Side.CALLER: self.directory / "missing.wav"}
        self.assertRaises(AudioError, resample_to_common_rate, legs, self.new_file)
