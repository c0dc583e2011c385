"""Tests of voxrec.audio.formats."""

import numpy as np
import soundfile

from tests.audio.fixtures import RATE, AudioTestCase, amplitude_at, tone
from voxrec.audio.formats import _ALL_FORMATS, FORMATS, WAV, find_format, get_format, media_type_of
from voxrec.audio.join import join
from voxrec.audio.probe import probe
from voxrec.audio.reader import open_audio, read_blocks
from voxrec.error_codes import FieldErrorCode
from voxrec.errors import AudioError, FieldError, InvalidInput
from voxrec.model import RecordChannels


class FormatTests(AudioTestCase):
    def test_wav_is_always_available(self) -> None:
        self.assertIs(get_format("wav"), WAV)
        self.assertEqual((WAV.subtype, WAV.suffix), ("PCM_16", "wav"))

    def test_bundled_libsndfile_supports_all_formats(self) -> None:
        if soundfile.__libsndfile_version__ < "1.1":
            self.skipTest("MP3 came with libsndfile 1.1")
        self.assertEqual(list(FORMATS), [audio_format.name for audio_format in _ALL_FORMATS])

    def test_unknown_name_is_refused_with_the_allowed_names(self) -> None:
        with self.assertRaises(InvalidInput) as caught:
            get_format("wax")
        (error,) = caught.exception.field_errors
        expected = f"unknown format 'wax'; expected one of {', '.join(FORMATS)}"
        self.assertEqual(
            error, FieldError("recordFormat", expected, FieldErrorCode.NOT_ONE_OF, {"allowed": [*FORMATS]})
        )

    def test_every_stereo_format_preserves_both_sides(self) -> None:
        """Check the audio, because libsndfile 1.2.2 writes stereo MP3 of 16-bit samples that is half noise."""
        caller = self.write("caller.wav", tone(440, 2.00025))
        callee = self.write("callee.wav", tone(1000, 1.5))
        for name, audio_format in FORMATS.items():
            if audio_format.channels == 1:
                continue
            with self.subTest(name):
                output = self.directory / f"dual-{name}.{audio_format.suffix}"
                join(caller, callee, output, RecordChannels.DUAL, audio_format)
                info = probe(output)
                self.assertEqual((info.container, info.subtype), (audio_format.container, audio_format.subtype))
                rate = audio_format.rate_for(RATE)
                self.assertEqual((info.frames, info.rate, info.channels), (16002 * rate // RATE, rate, 2))
                left, right = self.read(output)[:: rate // RATE].T
                middle = slice(4000, 11000)
                self.assertApproximates(amplitude_at(left[middle], 440), 8000, 400)
                self.assertApproximates(amplitude_at(right[middle], 1000), 8000, 400)
                self.assertLess(amplitude_at(left[middle], 1000), 80)
                self.assertLess(amplitude_at(right[middle], 440), 80)
                # the power is that of the tone alone, so there is no noise
                for channel in (left, right):
                    power = float(np.mean(channel[middle].astype(np.float64) ** 2))
                    self.assertApproximates(power / (8000**2 / 2), 1, 0.1)

    def test_every_format_preserves_the_mix(self) -> None:
        caller = self.write("caller.wav", tone(440, 2))
        for name, audio_format in FORMATS.items():
            with self.subTest(name):
                output = self.directory / f"mono-{name}.{audio_format.suffix}"
                info = join(caller, None, output, RecordChannels.MONO, audio_format)
                self.assertEqual(info.rate, audio_format.rate_for(RATE))
                self.assertApproximates(info.duration, 2.0, 0.02)  # some codecs pad their last block
                with open_audio(output, audio_format) as reader:
                    (mono,) = np.concatenate(list(read_blocks(reader, output))).T
                middle = mono[info.rate // 2 : info.rate * 3 // 2]
                self.assertApproximates(amplitude_at(middle, 440, info.rate), 8000, 400)
                power = float(np.mean(middle.astype(np.float64) ** 2))
                self.assertApproximates(power / (8000**2 / 2), 1, 0.1)

    def test_dual_is_refused_for_mono_formats(self) -> None:
        caller = self.write("caller.wav", tone(440, 2))
        output = self.directory / "dual.gsm"
        with self.assertRaisesRegex(AudioError, "gsm supports one channel only"):
            join(caller, caller, output, RecordChannels.DUAL, FORMATS["gsm"])
        self.assertFalse(output.exists())

    def test_wide_band_audio_is_kept_or_filtered_but_not_aliased(self) -> None:
        wide = self.write("wide.wav", tone(5000, 2, rate=16000) + tone(440, 2, rate=16000), 16000)
        for name, audio_format in FORMATS.items():
            with self.subTest(name):
                output = self.directory / f"wide-{name}.{audio_format.suffix}"
                info = join(wide, None, output, RecordChannels.MONO, audio_format)
                with open_audio(output, audio_format) as reader:
                    (mono,) = np.concatenate(list(read_blocks(reader, output))).T
                middle = mono[info.rate // 2 : info.rate * 3 // 2]
                self.assertApproximates(amplitude_at(middle, 440, info.rate), 8000, 500)
                if info.rate == 8000:
                    self.assertLess(amplitude_at(middle, 3000, info.rate), 150)
                else:
                    self.assertApproximates(amplitude_at(middle, 5000, info.rate), 8000, 800)

    def test_rate_for(self) -> None:
        self.assertEqual(WAV.rate_for(11025), 11025)
        self.assertEqual([FORMATS["gsm"].rate_for(rate) for rate in (8000, 16000)], [8000, 8000])
        self.assertEqual([FORMATS["opus"].rate_for(rate) for rate in (8000, 11025, 96000)], [8000, 12000, 48000])


class FindFormatTests(AudioTestCase):
    def test_every_format_with_a_header_is_found(self) -> None:
        for audio_format in FORMATS.values():
            if audio_format.headerless:
                continue
            path = self.directory / f"a.{audio_format.suffix}"
            soundfile.write(path, tone(440, 1), 8000, format=audio_format.container, subtype=audio_format.subtype)
            info = soundfile.info(path)
            found = find_format(info.format, info.subtype)
            assert found is not None
            self.assertEqual((found.container, found.subtype), (audio_format.container, audio_format.subtype))
            self.assertEqual(media_type_of(info.format), audio_format.media_type.partition(";")[0])

    def test_other_containers_and_subtypes(self) -> None:
        self.assertEqual(find_format("WAV", "PCM_24"), WAV)
        self.assertIsNone(find_format("AIFF", "PCM_16"))
        self.assertEqual(media_type_of("AIFF"), "application/octet-stream")
