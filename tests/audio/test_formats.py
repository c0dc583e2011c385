"""Tests of voxrec.audio.formats."""

import numpy as np
import soundfile

from tests.audio.tones import RATE, AudioTestCase, strength, tone
from voxrec.audio.formats import FORMATS, WAV, named
from voxrec.audio.join import join
from voxrec.audio.probe import probe
from voxrec.errors import FieldFault, InvalidInput
from voxrec.model import RecordChannels


class FormatTests(AudioTestCase):
    def test_wav_is_always_there(self) -> None:
        self.assertIs(named("wav"), WAV)
        self.assertEqual((WAV.subtype, WAV.suffix), ("PCM_16", "wav"))

    def test_the_libsndfile_of_the_wheel_writes_them_all(self) -> None:
        if soundfile.__libsndfile_version__ < "1.1":
            self.skipTest("MP3 came with libsndfile 1.1")
        self.assertEqual(list(FORMATS), ["wav", "flac", "ogg", "opus", "mp3", "ulaw", "alaw"])

    def test_unknown_names_are_refused_with_those_known(self) -> None:
        with self.assertRaises(InvalidInput) as caught:
            named("wax")
        (fault,) = caught.exception.faults
        self.assertEqual(fault, FieldFault("recordFormat", f"'wax' is not known; allowed: {', '.join(FORMATS)}"))

    def test_every_format_carries_both_sides(self) -> None:
        """Not merely a file that opens: libsndfile 1.2.2 has written stereo MP3 that was half noise."""
        caller = self.write("caller.wav", tone(440, 2.00025))
        callee = self.write("callee.wav", tone(1000, 1.5))
        for name, form in FORMATS.items():
            with self.subTest(name):
                output = self.directory / f"dual-{name}.{form.suffix}"
                join(caller, callee, output, RecordChannels.DUAL, form)
                info = probe(output)
                self.assertEqual((info.container, info.subtype), (form.container, form.subtype))
                self.assertEqual((info.frames, info.rate, info.channels), (16002, RATE, 2))
                left, right = self.read(output).T
                middle = slice(4000, 11000)
                self.assertApproximates(strength(left[middle], 440), 8000, 400)
                self.assertApproximates(strength(right[middle], 1000), 8000, 400)
                self.assertLess(strength(left[middle], 1000), 80)
                self.assertLess(strength(right[middle], 440), 80)
                # nothing but the tones: what is left after taking them out is codec noise
                for channel in (left, right):
                    power = float(np.mean(channel[middle].astype(np.float64) ** 2))
                    self.assertApproximates(power / (8000**2 / 2), 1, 0.1)

    def test_every_format_carries_the_mix(self) -> None:
        caller = self.write("caller.wav", tone(440, 2))
        for name, form in FORMATS.items():
            with self.subTest(name):
                output = self.directory / f"mono-{name}.{form.suffix}"
                self.assertEqual(join(caller, None, output, RecordChannels.MONO, form).frames, 16000)
                (mono,) = self.read(output).T
                self.assertApproximates(strength(mono[4000:12000], 440), 8000, 400)
