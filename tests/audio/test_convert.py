"""Tests of voxrec.audio.convert."""

import errno
import os

import numpy as np
import soundfile

from tests.audio.tones import AudioTestCase, silence, strength, tone
from voxrec.audio.convert import Channel, convert, measured, telephone
from voxrec.audio.formats import FORMATS, WAV, media_type, recognised
from voxrec.errors import AudioError


class ConvertTests(AudioTestCase):
    def test_every_format_at_every_rate(self) -> None:
        for rate in (8000, 11025, 44100, 96000):
            source = self.write(
                f"{rate}.wav", np.stack([tone(440, 1, rate=rate), tone(1000, 1, rate=rate)], axis=1), rate
            )
            for form in FORMATS.values():
                for channel in (*([None] if form.channels == 2 else []), *Channel):
                    written = convert(source, self.directory / f"out.{form.suffix}", form, channel)
                    self.assertApproximates(written.duration, 1.0, 0.1)
                    self.assertEqual(written.channels, 2 if channel is None else 1)

    def test_what_is_headerless_is_read_when_it_is_said_what_it_is(self) -> None:
        source = self.write("a.wav", tone(440, 1))
        for form in FORMATS.values():
            stored = self.directory / f"stored-{form.name}"
            convert(source, stored, form)
            written = convert(stored, self.directory / "back.wav", WAV, source_form=form)
            heard = self.read(self.directory / "back.wav")[:, 0]
            self.assertApproximates(strength(heard, 440, written.rate), 8000, 500, form.name)

    def test_two_channels_do_not_fit_into_one(self) -> None:
        source = self.write("two.wav", np.stack([tone(440, 1), tone(1000, 1)], axis=1))
        with self.assertRaisesRegex(AudioError, "gsm holds 1"):
            convert(source, self.directory / "out.gsm", FORMATS["gsm"])

    def test_nothing_remains_of_what_fails(self) -> None:
        output = self.directory / "out.wav"
        with self.assertRaisesRegex(AudioError, "has 1 channels"):
            convert(self.write("one.wav", tone(440, 1)), output, WAV, Channel.MIX)
        self.assertFalse(output.exists())

    def test_a_long_file_has_no_seams(self) -> None:
        """More than one block at another rate: the tone goes on through it."""
        source = self.write("long.wav", tone(440, 40, rate=44100), 44100)
        telephone(source, self.directory / "out.wav", 8000)
        heard = self.read(self.directory / "out.wav")[:, 0]
        self.assertEqual(len(heard), 40 * 8000)
        for second in range(1, 39):
            self.assertApproximates(strength(heard[second * 8000 : (second + 1) * 8000], 440), 8000, 40)

    def test_what_a_telephone_cannot_say_is_filtered_and_not_folded_back(self) -> None:
        source = self.write("high.wav", tone(6000, 2, rate=48000) + tone(1000, 2, rate=48000), 48000)
        telephone(source, self.directory / "out.wav", 8000)
        heard = self.read(self.directory / "out.wav")[4000:12000, 0]
        self.assertLess(strength(heard, 2000), 8)
        self.assertApproximates(strength(heard, 1000), 8000, 40)

    def test_channels_are_averaged_for_the_telephone(self) -> None:
        source = self.write("two.wav", np.stack([tone(440, 1), silence(1)], axis=1))
        telephone(source, self.directory / "out.wav", 8000)
        heard = self.read(self.directory / "out.wav")
        self.assertEqual(heard.shape, (8000, 1))
        self.assertApproximates(strength(heard[:, 0], 440), 4000, 20)

    def test_what_asterisk_plays_is_on_the_disk_and_nothing_of_it_where_that_is_full(self) -> None:
        source, output = self.write("a.wav", tone(440, 1)), self.directory / "out.wav"
        synced = []
        self.patch(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
        telephone(source, output, 8000)
        self.assertEqual(synced, [output.stat().st_size])

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        self.patch(os, "fsync", full)
        self.assertRaises(OSError, telephone, source, output, 8000)
        self.assertFalse(output.exists())


class MeasuredTests(AudioTestCase):
    def test_seconds(self) -> None:
        self.assertEqual(measured(self.write("a.wav", tone(440, 2)), 10), 2)

    def test_errors(self) -> None:
        with self.assertRaisesRegex(AudioError, "longer than 1 seconds"):
            measured(self.write("a.wav", tone(440, 2)), 1)
        with self.assertRaisesRegex(AudioError, "holds no sound"):
            measured(self.write("b.wav", tone(440, 0)), 1)
        cut = self.write("c.flac", tone(440, 20))
        cut.write_bytes(cut.read_bytes()[:-30_000])
        with self.assertRaises(AudioError):
            measured(cut, 100)


class RecognisedTests(AudioTestCase):
    def test_what_is_written_is_recognised(self) -> None:
        for form in FORMATS.values():
            if form.headerless:
                continue
            path = self.directory / f"a.{form.suffix}"
            soundfile.write(path, tone(440, 1), 8000, format=form.container, subtype=form.subtype)
            info = soundfile.info(path)
            found = recognised(info.format, info.subtype)
            assert found is not None
            self.assertEqual((found.container, found.subtype), (form.container, form.subtype))
            self.assertEqual(media_type(info.format), form.media_type.partition(";")[0])

    def test_others(self) -> None:
        self.assertEqual(recognised("WAV", "PCM_24"), WAV)
        self.assertIsNone(recognised("AIFF", "PCM_16"))
        self.assertEqual(media_type("AIFF"), "application/octet-stream")
