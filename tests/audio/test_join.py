"""Tests of voxrec.audio.join."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

import voxrec.audio.join as module
from tests.audio.fixtures import AudioTestCase, constant, silence, tone
from voxrec.audio import pcm_wav
from voxrec.audio.formats import AudioFormat
from voxrec.audio.join import join, mix
from voxrec.audio.meter import Meter, frames_per_block
from voxrec.audio.probe import AudioInfo, probe
from voxrec.audio.reader import read_blocks
from voxrec.errors import AudioError
from voxrec.model import RecordChannels, Side

LOW, HIGH = -32768, 32767
legs = arrays.arrays(np.int16, st.integers(0, 60), elements=st.integers(LOW, HIGH))
sample = st.integers(LOW, HIGH)


def mix_samples(a: int, b: int) -> int:
    return int(mix(np.array([a], dtype=np.int32), np.array([b], dtype=np.int32))[0])


class MixTests(AudioTestCase):
    @given(sample)
    def test_single_talker_is_unchanged(self, a: int) -> None:
        self.assertEqual((mix_samples(a, 0), mix_samples(0, a)), (a, a))

    @given(sample, sample)
    def test_mix_does_not_clip_or_overflow(self, a: int, b: int) -> None:
        got = mix_samples(a, b)
        self.assertEqual(got, mix_samples(b, a))
        self.assertTrue(LOW <= got <= HIGH)
        if a * b <= 0:
            self.assertEqual(got, a + b)
        else:
            self.assertTrue(max(abs(a), abs(b)) <= abs(got) <= abs(a + b))

    @given(st.integers(-8192, 8192), st.integers(-8192, 8192))
    def test_mix_of_usual_levels_is_the_sum(self, a: int, b: int) -> None:
        self.assertEqual(mix_samples(a, b), a + b)

    @given(sample, st.integers(LOW, HIGH - 1))
    def test_mix_is_monotonic(self, a: int, b: int) -> None:
        """A louder input never makes the output softer, and the output has no steps."""
        self.assertTrue(0 <= mix_samples(a, b + 1) - mix_samples(a, b) <= 1)

    def test_extreme_values(self) -> None:
        self.assertEqual(mix_samples(HIGH, HIGH), HIGH)
        self.assertEqual(mix_samples(LOW, LOW), LOW)
        self.assertEqual(mix_samples(LOW, HIGH), -1)


class JoinTests(AudioTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.output = self.directory / "joined.wav"

    def join(self, caller: Path | None, callee: Path | None, channels: RecordChannels) -> NDArray[np.int16]:
        info = join(caller, callee, self.output, channels)
        self.assertEqual(info, probe(self.output))
        return self.read(self.output)

    def test_dual_has_the_caller_on_the_left(self) -> None:
        a, b = tone(440, 1), tone(880, 1)
        got = self.join(self.write("a.wav", a), self.write("b.wav", b), RecordChannels.DUAL)
        np.testing.assert_array_equal(got, np.stack((a, b), axis=1))

    def test_default_format_is_pcm_wav_at_the_rate_of_the_legs(self) -> None:
        path = self.write("a.wav", tone(440, 1))
        self.join(path, path, RecordChannels.MONO)
        self.assertEqual(probe(self.output), AudioInfo(8000, 8000, 1, "WAV", "PCM_16"))

    def test_what_a_wav_file_cannot_hold_becomes_rf64(self) -> None:
        """Two channels at 16 kHz reach 4 GiB after 18.6 hours, and a call may last a day; here the limit is lower."""
        self.patch(pcm_wav, "MAX_DATA_SIZE", 100_000)
        self.patch(module, "_RESAMPLING_MARGIN", 0)
        for seconds, container in ((1.5, "WAV"), (1.6, "RF64")):
            caller = self.write("caller.wav", tone(440, seconds, rate=16000), 16000)
            callee = self.write("callee.wav", tone(880, 1.0, rate=16000), 16000)
            output = self.directory / f"{container}.wav"
            written = join(caller, callee, output, RecordChannels.DUAL)
            with soundfile.SoundFile(output) as file:
                self.assertEqual((file.format, file.subtype, file.samplerate), (container, "PCM_16", 16000))
                samples = file.read(dtype="int16")
            self.assertEqual((written.frames, written.channels), (round(seconds * 16000), 2))
            np.testing.assert_array_equal(samples[:, 0], soundfile.read(caller, dtype="int16")[0])

    def test_mono_of_alternating_talkers_has_both_at_full_level(self) -> None:
        a = np.concatenate((tone(440, 0.5, 32767), silence(0.5)))
        b = np.concatenate((silence(0.5), tone(880, 0.5, 32767)))
        (got,) = self.join(self.write("a.wav", a), self.write("b.wav", b), RecordChannels.MONO).T
        np.testing.assert_array_equal(got, a + b)

    def test_missing_or_empty_leg_is_silent(self) -> None:
        a = tone(440, 1)
        present = self.write("a.wav", a)
        without_frames = self.write("without-frames.wav", silence(0))
        empty = self.directory / "empty.wav"
        empty.touch()
        for absent in (None, self.directory / "nowhere.wav", empty, without_frames):
            with self.subTest(absent):
                got = self.join(present, absent, RecordChannels.DUAL)
                np.testing.assert_array_equal(got, np.stack((a, 0 * a), axis=1))
                got = self.join(absent, present, RecordChannels.DUAL)
                np.testing.assert_array_equal(got, np.stack((0 * a, a), axis=1))
                got = self.join(absent, present, RecordChannels.MONO)
                np.testing.assert_array_equal(got[:, 0], a)

    def test_two_empty_legs_are_refused(self) -> None:
        with self.assertRaisesRegex(AudioError, "neither leg of the call contains audio"):
            join(None, self.write("a.wav", silence(0)), self.output, RecordChannels.MONO)
        self.assertFalse(self.output.exists())

    def test_legs_with_different_rates_are_refused(self) -> None:
        a, b = self.write("a.wav", tone(440, 1)), self.write("b.wav", tone(440, 1), rate=16000)
        with self.assertRaisesRegex(AudioError, "caller 8000 Hz, callee 16000 Hz"):
            join(a, b, self.output, RecordChannels.DUAL)
        self.assertFalse(self.output.exists())

    def test_leg_with_two_channels_is_refused(self) -> None:
        path = self.write("a.wav", np.stack((tone(440, 1),) * 2, axis=1))
        with self.assertRaisesRegex(AudioError, "has 2 channels"):
            join(path, None, self.output, RecordChannels.DUAL)

    def test_meters_are_fed_with_all_samples_of_their_side(self) -> None:
        """Also over several blocks, with legs of different lengths; the padding of the shorter leg is not measured."""
        sides = {Side.CALLER: tone(440, 70, 3000), Side.CALLEE: tone(880, 33, 32767)}
        caller, callee = (self.write(f"{side}.wav", samples) for side, samples in sides.items())
        for channels in RecordChannels:
            meters = {side: Meter(8000) for side in Side}
            join(caller, callee, self.output, channels, meters=meters)
            for side, samples in sides.items():
                expected = Meter(8000)
                for start in range(0, len(samples), frames_per_block(8000)):
                    expected.feed(samples[start : start + frames_per_block(8000)])
                self.assertEqual(
                    vars(meters[side]) | {"_last_full_scale": None}, vars(expected) | {"_last_full_scale": None}
                )
            self.assertEqual([meter.duration for meter in meters.values()], [70.0, 33.0])

    def test_meter_of_a_missing_leg_is_not_fed(self) -> None:
        meters = {side: Meter(8000) for side in Side}
        join(None, self.write("a.wav", tone(440, 1)), self.output, RecordChannels.DUAL, meters=meters)
        self.assertEqual([meter.frames for meter in meters.values()], [0, 8000])

    def test_unreadable_leg_is_refused(self) -> None:
        path = self.directory / "noise.wav"
        path.write_bytes(os.urandom(999))
        with self.assertRaises(AudioError):
            join(self.write("a.wav", tone(440, 1)), path, self.output, RecordChannels.DUAL)

    def test_incomplete_output_is_detected_and_removed(self) -> None:
        path = self.write("a.wav", tone(440, 1))

        def probe_short_output(path: Path, _: AudioFormat | None = None) -> AudioInfo:
            return AudioInfo(8000 if path.name == "a.wav" else 7000, 8000, 1, "", "")

        self.patch(module, "probe", probe_short_output)
        with self.assertRaisesRegex(AudioError, "0.88 of 1.00 seconds"):
            join(path, None, self.output, RecordChannels.MONO)
        self.assertFalse(self.output.exists())

    def test_full_disk_raises_oserror_and_output_is_removed(self) -> None:
        path = self.write("a.wav", tone(440, 60))
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, limits)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        with self.assertRaises(OSError):
            join(path, path, self.output, RecordChannels.DUAL)
        self.assertFalse(self.output.exists())

    @settings(deadline=None)  # it writes files
    @given(caller=legs, callee=legs)
    def test_any_lengths(self, caller: NDArray[np.int16], callee: NDArray[np.int16]) -> None:
        """The longer leg is complete, the shorter one padded with silence, also over several blocks."""
        self.patch(module, "read_blocks", lambda reader, path, _: read_blocks(reader, path, 7))
        length = max(len(caller), len(callee))
        paths = self.write("a.wav", caller), self.write("b.wav", callee)
        if length == 0:
            self.assertRaises(AudioError, join, *paths, self.output, RecordChannels.DUAL)
            return
        expected = np.zeros((length, 2), dtype=np.int16)
        expected[: len(caller), 0] = caller
        expected[: len(callee), 1] = callee
        np.testing.assert_array_equal(self.join(*paths, RecordChannels.DUAL), expected)
        wide = expected.astype(np.int32)
        np.testing.assert_array_equal(self.join(*paths, RecordChannels.MONO)[:, 0], mix(wide[:, 0], wide[:, 1]))

    def test_memory_use_does_not_depend_on_the_duration(self) -> None:
        program = (
            "import resource, sys\n"
            "from pathlib import Path\n"
            "from voxrec.audio.join import join\n"
            "from voxrec.audio.meter import Meter\n"
            "from voxrec.model import RecordChannels, Side\n"
            "leg, output = Path(sys.argv[1]), Path(sys.argv[2])\n"
            "join(leg, leg, output, RecordChannels.DUAL, meters={side: Meter(8000) for side in Side})\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
        )

        def peak_memory_kilobytes(seconds: int) -> int:
            leg = self.write("leg.wav", constant(1000, seconds))
            ran = subprocess.run(  # noqa: S603
                [sys.executable, "-c", program, str(leg), str(self.output)],
                check=True,
                capture_output=True,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            )
            return int(ran.stdout)

        growth = peak_memory_kilobytes(3600) - peak_memory_kilobytes(90)
        self.assertLess(growth, 8 * 1024)  # each leg of an hour has 58 MB of samples
