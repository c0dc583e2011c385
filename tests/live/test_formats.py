"""Every recordFormat that is Asterisk's by name is Asterisk's by content: its own ``file convert`` reads it."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import soundfile
from twisted.internet.threads import deferToThread

from tests.audio.fixtures import Samples, amplitude_at, tone
from tests.live.gateway import GatewayTestCase, shared_stack
from voxrec.audio.formats import FORMATS, AudioFormat
from voxrec.audio.join import join
from voxrec.audio.reader import open_audio, read_blocks
from voxrec.model import RecordChannels
from voxrec.sandbox.asterisk import SandboxAsterisk
from voxrec.sandbox.rootfs import ASTERISK_16, ASTERISK_22, Recipe

# Read by Asterisk 20 ms at a time, each resampled by itself: 44.1 kHz comes out full of seams, its own files too.
UNEVEN = frozenset({"sln44"})
OURS = frozenset({"flac", "mp3", "vorbis", "opus"})  # opus is Asterisk's since 20; read, but at 48 kHz only
HERTZ, AMPLITUDE, SECONDS = 440, 8000, 2


class FormatTests(GatewayTestCase):
    async def test_asterisk_22(self) -> None:
        await self.converted(ASTERISK_22)

    async def test_asterisk_16(self) -> None:
        await self.converted(ASTERISK_16, without=frozenset({"slin"}))

    async def converted(self, recipe: Recipe, without: frozenset[str] = frozenset()) -> None:
        asterisk = (await shared_stack(recipe)).asterisk
        leg = self.directory / "leg.wav"
        soundfile.write(leg, tone(HERTZ, SECONDS, AMPLITUDE), 8000, subtype="PCM_16")
        wrong = {}
        for name, form in FORMATS.items():
            if name in OURS | without:
                continue
            if name in UNEVEN:
                continue
            given = asterisk.sounds_directory / f"made-{name}.{form.suffix}"
            join(leg, None, given, RecordChannels.MONO, form)
            heard = await deferToThread(self.heard, asterisk, given, form)
            if not self.sounds_right(heard):
                wrong[name] = len(heard), amplitude_at(heard, HERTZ)
        self.assertEqual(wrong, {})
        await self.made_by_asterisk(asterisk, leg)

    async def made_by_asterisk(self, asterisk: SandboxAsterisk, leg: Path) -> None:
        """What Asterisk writes under a name is what is read here under it."""
        source = asterisk.sounds_directory / "leg.wav"
        shutil.copyfile(leg, source)
        for name in ("gsm", "ulaw", "al", "sln", "sln16", "g722", "vox"):
            form = FORMATS[name]
            written = await deferToThread(self.file_convert, asterisk, source, f"asterisk-{name}.{form.suffix}")
            with open_audio(written, form) as sound:
                samples = np.concatenate(list(read_blocks(sound, written)))[:, 0]
            self.assertEqual(sound.samplerate, form.rate_for(8000))
            self.assertApproximates(len(samples) / sound.samplerate, SECONDS, 0.1, name)
            middle = samples[sound.samplerate // 2 : sound.samplerate * 3 // 2]
            self.assertApproximates(amplitude_at(middle, HERTZ, sound.samplerate), AMPLITUDE, AMPLITUDE / 10, name)

    def heard(self, asterisk: SandboxAsterisk, given: Path, form: AudioFormat) -> Samples:
        """What Asterisk makes of a file: samples at 8 kHz."""
        return np.fromfile(self.file_convert(asterisk, given, f"heard-{form.name}.sln"), dtype="<i2")

    def file_convert(self, asterisk: SandboxAsterisk, given: Path, name: str) -> Path:
        prefix = asterisk.sounds_prefix
        told = asterisk.console_command_line(f"file convert {prefix}/{given.name} {prefix}/{name}")
        done = subprocess.run(told, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
        self.assertIn("Converted", done.stdout, f"{given.name} to {name}: {done.stderr}")
        return given.with_name(name)

    def sounds_right(self, samples: Samples) -> bool:
        """As long as what was given, and the tone with next to nothing beside it."""
        if abs(len(samples) / 8000 - SECONDS) > 0.1:
            return False
        middle = samples[4000:12000].astype(np.float64)
        found = amplitude_at(samples[4000:12000], HERTZ)
        rest = np.mean(middle**2) - found**2 / 2
        return abs(found / AMPLITUDE - 1) < 0.08 and bool(rest < 0.02 * AMPLITUDE**2 / 2)
