"""Each recordFormat with the name of an Asterisk format is readable by Asterisk's ``file convert``, and vice versa."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import soundfile
from twisted.internet.threads import deferToThread

from tests.audio.fixtures import Samples, amplitude_at, tone
from tests.live.live_test_case import LiveTestCase, shared_stack
from voxrec.audio.formats import FORMATS, AudioFormat
from voxrec.audio.join import join
from voxrec.audio.reader import open_audio, read_blocks
from voxrec.model import RecordChannels
from voxrec.sandbox.asterisk import SandboxAsterisk
from voxrec.sandbox.rootfs import ASTERISK_16, ASTERISK_22, Recipe

# Asterisk resamples each 20 ms separately; at 44.1 kHz that causes discontinuities, also in its own files.
UNEVEN = frozenset({"sln44"})
OURS = frozenset({"flac", "mp3", "vorbis", "opus"})  # Asterisk has opus since version 20, but reads only 48 kHz
HERTZ, AMPLITUDE, SECONDS = 440, 8000, 2


class FormatTests(LiveTestCase):
    async def test_asterisk_22(self) -> None:
        await self.assert_formats_convert(ASTERISK_22)

    async def test_asterisk_16(self) -> None:
        await self.assert_formats_convert(ASTERISK_16, without=frozenset({"slin"}))

    async def assert_formats_convert(self, recipe: Recipe, without: frozenset[str] = frozenset()) -> None:
        asterisk = (await shared_stack(recipe)).asterisk
        leg = self.directory / "leg.wav"
        soundfile.write(leg, tone(HERTZ, SECONDS, AMPLITUDE), 8000, subtype="PCM_16")
        wrong = {}
        for name, form in FORMATS.items():
            if name in OURS | without:
                continue
            if name in UNEVEN:
                continue
            path = self.exchange_directory(asterisk) / f"made-{name}.{form.suffix}"
            join(leg, None, path, RecordChannels.MONO, form)
            samples = await deferToThread(self.convert_to_samples, asterisk, path, form)
            if not self.is_expected_tone(samples):
                wrong[name] = len(samples), amplitude_at(samples, HERTZ)
        self.assertEqual(wrong, {})
        await self.assert_asterisks_files_are_readable(asterisk, leg)

    async def assert_asterisks_files_are_readable(self, asterisk: SandboxAsterisk, leg: Path) -> None:
        """Assert that voxrec reads files that Asterisk has written."""
        source = self.exchange_directory(asterisk) / "leg.wav"
        shutil.copyfile(leg, source)
        for name in ("gsm", "ulaw", "al", "sln", "sln16", "g722", "vox"):
            form = FORMATS[name]
            written = await deferToThread(self.file_convert, asterisk, source, f"asterisk-{name}.{form.suffix}")
            with open_audio(written, form) as audio_file:
                samples = np.concatenate(list(read_blocks(audio_file, written)))[:, 0]
            self.assertEqual(audio_file.samplerate, form.rate_for(8000))
            self.assertApproximates(len(samples) / audio_file.samplerate, SECONDS, 0.1, name)
            middle = samples[audio_file.samplerate // 2 : audio_file.samplerate * 3 // 2]
            self.assertApproximates(amplitude_at(middle, HERTZ, audio_file.samplerate), AMPLITUDE, AMPLITUDE / 10, name)

    def exchange_directory(self, asterisk: SandboxAsterisk) -> Path:
        """Return a directory to which this process and Asterisk, which has another account, can write."""
        directory = asterisk.directory / "exchange"
        directory.mkdir(exist_ok=True)
        directory.chmod(0o777)
        return directory

    def convert_to_samples(self, asterisk: SandboxAsterisk, path: Path, form: AudioFormat) -> Samples:
        """Return the samples at 8 kHz that Asterisk reads from a file."""
        return np.fromfile(self.file_convert(asterisk, path, f"converted-{form.name}.sln"), dtype="<i2")

    def file_convert(self, asterisk: SandboxAsterisk, path: Path, name: str) -> Path:
        prefix = asterisk.path_inside(path.parent)
        command = asterisk.console_command_line(f"file convert {prefix}/{path.name} {prefix}/{name}")
        completed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
        self.assertIn("Converted", completed.stdout, f"{path.name} to {name}: {completed.stderr}")
        return path.with_name(name)

    def is_expected_tone(self, samples: Samples) -> bool:
        """Return whether the samples have the expected length and hardly anything besides the tone."""
        if abs(len(samples) / 8000 - SECONDS) > 0.1:
            return False
        middle = samples[4000:12000].astype(np.float64)
        amplitude = amplitude_at(samples[4000:12000], HERTZ)
        rest = np.mean(middle**2) - amplitude**2 / 2
        return abs(amplitude / AMPLITUDE - 1) < 0.08 and bool(rest < 0.02 * AMPLITUDE**2 / 2)
