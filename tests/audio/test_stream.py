"""Tests of voxrec.audio.stream."""

from pathlib import Path

import numpy as np
import soundfile
from twisted.trial.unittest import SynchronousTestCase

from tests.subtest import subtest
from voxrec.audio.convert import AudioChannel, convert
from voxrec.audio.formats import FORMATS
from voxrec.audio.stream import convert_in_parts, is_streamable
from voxrec.errors import AudioError


class ConvertInPartsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.source = Path(self.mktemp())
        seconds = np.arange(8000 * 5) / 8000
        left, right = (0.3 * np.sin(2 * np.pi * hertz * seconds) for hertz in (440, 1000))
        soundfile.write(self.source, np.stack([left, right], axis=1), 8000, format="WAV")

    def test_the_result_is_that_of_a_file(self) -> None:
        streamable = [audio_format for audio_format in FORMATS.values() if is_streamable(audio_format)]
        self.assertGreater(len(streamable), 20)
        for audio_format in streamable:
            with subtest(audio_format.name):
                channel = AudioChannel.CALLER if audio_format.channels == 1 else None
                parts = [*convert_in_parts(self.source, audio_format, channel)]
                self.assertGreater(len(parts), 2)
                output = Path(self.mktemp())
                convert(self.source, output, audio_format, channel)
                expected = output.read_bytes()
                received = b"".join(parts)
                if audio_format.container == "OGG":  # whose serial number is random
                    output.write_bytes(received)
                    samples, _ = soundfile.read(output)
                    self.assertApproximates(len(samples), 40_000, 400)
                    self.assertApproximates(len(received), len(expected), len(expected) // 20)
                    continue
                self.assertEqual(len(received), len(expected))
                if audio_format.rate_for(8000) == 8000:  # a resampler's rounding depends on the blocks
                    self.assertTrue(received == expected)

    def test_parts_are_small(self) -> None:
        for part in convert_in_parts(self.source, FORMATS["sln192"], AudioChannel.MIX):
            self.assertLess(len(part), 1_000_000)

    def test_the_first_part_of_a_wav_file_can_be_abandoned(self) -> None:
        def check() -> None:
            raise InterruptedError

        parts = convert_in_parts(self.source, FORMATS["wav16"], AudioChannel.MIX, check=check)
        self.assertRaises(InterruptedError, next, parts)

    def test_errors(self) -> None:
        self.source.write_bytes(b"RIFF")
        self.assertRaises(AudioError, next, convert_in_parts(self.source, FORMATS["sln"]))
