"""Tests of voxrec.audio.formats."""

import numpy as np
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.audio.tones import RATE, AudioTestCase, strength, tone
from voxrec.audio.formats import _KNOWN, FORMATS, WAV, named
from voxrec.audio.join import join
from voxrec.audio.probe import probe
from voxrec.audio.sink import write
from voxrec.audio.source import blocks, opened
from voxrec.errors import AudioError, FieldError, InvalidInput
from voxrec.model import RecordChannels


class FormatTests(AudioTestCase):
    def test_wav_is_always_there(self) -> None:
        self.assertIs(named("wav"), WAV)
        self.assertEqual((WAV.subtype, WAV.suffix), ("PCM_16", "wav"))

    def test_the_libsndfile_of_the_wheel_writes_them_all(self) -> None:
        if soundfile.__libsndfile_version__ < "1.1":
            self.skipTest("MP3 came with libsndfile 1.1")
        self.assertEqual(list(FORMATS), [form.name for form in _KNOWN])

    def test_unknown_names_are_refused_with_those_known(self) -> None:
        with self.assertRaises(InvalidInput) as caught:
            named("wax")
        (fault,) = caught.exception.field_errors
        self.assertEqual(fault, FieldError("recordFormat", f"'wax' is not known; allowed: {', '.join(FORMATS)}"))

    def test_every_format_carries_both_sides(self) -> None:
        """Not merely a file that opens: libsndfile 1.2.2 has written stereo MP3 that was half noise."""
        caller = self.write("caller.wav", tone(440, 2.00025))
        callee = self.write("callee.wav", tone(1000, 1.5))
        for name, form in FORMATS.items():
            if form.channels == 1:
                continue
            with self.subTest(name):
                output = self.directory / f"dual-{name}.{form.suffix}"
                join(caller, callee, output, RecordChannels.DUAL, form)
                info = probe(output)
                self.assertEqual((info.container, info.subtype), (form.container, form.subtype))
                rate = form.rate_for(RATE)
                self.assertEqual((info.frames, info.rate, info.channels), (16002 * rate // RATE, rate, 2))
                left, right = self.read(output)[:: rate // RATE].T
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
                info = join(caller, None, output, RecordChannels.MONO, form)
                self.assertEqual(info.rate, form.rate_for(RATE))
                self.assertApproximates(info.duration, 2.0, 0.02)  # some codecs fill their last block
                with opened(output, form) as sound:
                    (mono,) = np.concatenate(list(blocks(sound, output))).T
                middle = mono[info.rate // 2 : info.rate * 3 // 2]
                self.assertApproximates(strength(middle, 440, info.rate), 8000, 400)
                power = float(np.mean(middle.astype(np.float64) ** 2))
                self.assertApproximates(power / (8000**2 / 2), 1, 0.1)

    def test_what_holds_one_channel_does_not_keep_the_sides_apart(self) -> None:
        caller = self.write("caller.wav", tone(440, 2))
        output = self.directory / "dual.gsm"
        with self.assertRaisesRegex(AudioError, "gsm holds one channel"):
            join(caller, caller, output, RecordChannels.DUAL, FORMATS["gsm"])
        self.assertFalse(output.exists())

    def test_wide_band_stays_wide_where_it_can(self) -> None:
        """A tone that no telephone of 8 kHz can carry: kept, or filtered away, and never folded back."""
        wide = self.write("wide.wav", tone(5000, 2, rate=16000) + tone(440, 2, rate=16000), 16000)
        for name, form in FORMATS.items():
            with self.subTest(name):
                output = self.directory / f"wide-{name}.{form.suffix}"
                info = join(wide, None, output, RecordChannels.MONO, form)
                with opened(output, form) as sound:
                    (mono,) = np.concatenate(list(blocks(sound, output))).T
                middle = mono[info.rate // 2 : info.rate * 3 // 2]
                self.assertApproximates(strength(middle, 440, info.rate), 8000, 500)
                if info.rate == 8000:
                    self.assertLess(strength(middle, 3000, info.rate), 150)
                else:
                    self.assertApproximates(strength(middle, 5000, info.rate), 8000, 800)

    def test_rates(self) -> None:
        self.assertEqual(WAV.rate_for(11025), 11025)
        self.assertEqual([FORMATS["gsm"].rate_for(rate) for rate in (8000, 16000)], [8000, 8000])
        self.assertEqual([FORMATS["opus"].rate_for(rate) for rate in (8000, 11025, 96000)], [8000, 12000, 48000])


class HeaderlessTests(AudioTestCase):
    """What libsndfile cannot tell the kind of is read back as it was written, in whatever pieces."""

    @settings(max_examples=25, deadline=None)
    @given(st.sampled_from(["g722", "g726-32"]), st.lists(st.integers(1, 9000), min_size=1, max_size=5))
    def test_the_pieces_do_not_show(self, name: str, lengths: list[int]) -> None:
        form = FORMATS[name]
        samples = tone(440, sum(lengths) / 8000)[:, np.newaxis]
        whole, pieces = self.directory / "whole", self.directory / "pieces"
        write([samples], whole, form.rates[0], 1, form)
        write(np.split(samples, np.cumsum(lengths)[:-1]), pieces, form.rates[0], 1, form)
        self.assertEqual(whole.read_bytes(), pieces.read_bytes())
        if len(samples) < 2:
            return
        with opened(whole, form) as at_once, opened(whole, form) as slowly:
            (all_of_it,) = blocks(at_once, whole)
            np.testing.assert_array_equal(np.concatenate(list(blocks(slowly, whole, 240))), all_of_it)
