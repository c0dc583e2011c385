"""Tests of voxrec.audio.raw_codecs."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.audio.fixtures import AudioTestCase, tone
from voxrec.audio.formats import FORMATS
from voxrec.audio.reader import open_audio, read_blocks
from voxrec.audio.writer import write_audio


class RawCodecTests(AudioTestCase):
    @settings(max_examples=25, deadline=None)
    @given(st.sampled_from(["g722", "g726-32"]), st.lists(st.integers(1, 9000), min_size=1, max_size=5))
    def test_block_size_does_not_change_the_result(self, name: str, lengths: list[int]) -> None:
        audio_format = FORMATS[name]
        samples = tone(440, sum(lengths) / 8000)[:, np.newaxis]
        whole, pieces = self.directory / "whole", self.directory / "pieces"
        write_audio([samples], whole, audio_format.rates[0], 1, audio_format)
        write_audio(np.split(samples, np.cumsum(lengths)[:-1]), pieces, audio_format.rates[0], 1, audio_format)
        self.assertEqual(whole.read_bytes(), pieces.read_bytes())
        if len(samples) < 2:
            return
        with open_audio(whole, audio_format) as first_reader, open_audio(whole, audio_format) as second_reader:
            (expected,) = read_blocks(first_reader, whole)
            np.testing.assert_array_equal(np.concatenate(list(read_blocks(second_reader, whole, 240))), expected)
