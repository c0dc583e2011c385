"""Tests of voxrec.audio.join."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

import voxrec.audio.join as module
from tests.audio.tones import AudioTestCase, constant, silence, tone
from voxrec.audio.formats import Format
from voxrec.audio.join import join, mixed
from voxrec.audio.meter import Meter, block_of
from voxrec.audio.probe import AudioInfo, probe
from voxrec.audio.source import blocks
from voxrec.errors import AudioError
from voxrec.model import RecordChannels, Side

LOW, HIGH = -32768, 32767
legs = arrays.arrays(np.int16, st.integers(0, 60), elements=st.integers(LOW, HIGH))
sample = st.integers(LOW, HIGH)


def mix(a: int, b: int) -> int:
    return int(mixed(np.array([a], dtype=np.int32), np.array([b], dtype=np.int32))[0])


class MixedTests(AudioTestCase):
    @given(sample)
    def test_one_talker_passes_unchanged(self, a: int) -> None:
        self.assertEqual((mix(a, 0), mix(0, a)), (a, a))

    @given(sample, sample)
    def test_never_clips_or_wraps(self, a: int, b: int) -> None:
        got = mix(a, b)
        self.assertEqual(got, mix(b, a))
        self.assertTrue(LOW <= got <= HIGH)
        if a * b <= 0:
            self.assertEqual(got, a + b)
        else:
            self.assertTrue(max(abs(a), abs(b)) <= abs(got) <= abs(a + b))

    @given(st.integers(-8192, 8192), st.integers(-8192, 8192))
    def test_usual_levels_are_a_pure_sum(self, a: int, b: int) -> None:
        self.assertEqual(mix(a, b), a + b)

    @given(sample, st.integers(LOW, HIGH - 1))
    def test_louder_in_is_never_softer_out(self, a: int, b: int) -> None:
        """No folding anywhere: the way from in to out only rises and never in leaps."""
        self.assertTrue(0 <= mix(a, b + 1) - mix(a, b) <= 1)

    def test_the_extremes(self) -> None:
        self.assertEqual(mix(HIGH, HIGH), HIGH)
        self.assertEqual(mix(LOW, LOW), LOW)
        self.assertEqual(mix(LOW, HIGH), -1)


class JoinTests(AudioTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.output = self.directory / "joined.wav"

    def joined(self, caller: Path | None, callee: Path | None, channels: RecordChannels) -> NDArray[np.int16]:
        info = join(caller, callee, self.output, channels)
        self.assertEqual(info, probe(self.output))
        return self.read(self.output)

    def test_dual_puts_the_caller_left(self) -> None:
        a, b = tone(440, 1), tone(880, 1)
        got = self.joined(self.write("a.wav", a), self.write("b.wav", b), RecordChannels.DUAL)
        np.testing.assert_array_equal(got, np.stack((a, b), axis=1))

    def test_the_result_is_8_khz_pcm(self) -> None:
        path = self.write("a.wav", tone(440, 1))
        self.joined(path, path, RecordChannels.MONO)
        self.assertEqual(probe(self.output), AudioInfo(8000, 8000, 1, "WAV", "PCM_16"))

    def test_mono_of_two_who_take_turns_is_each_at_full_level(self) -> None:
        a = np.concatenate((tone(440, 0.5, 32767), silence(0.5)))
        b = np.concatenate((silence(0.5), tone(880, 0.5, 32767)))
        (got,) = self.joined(self.write("a.wav", a), self.write("b.wav", b), RecordChannels.MONO).T
        np.testing.assert_array_equal(got, a + b)

    def test_a_missing_or_empty_side_is_silent(self) -> None:
        a = tone(440, 1)
        present = self.write("a.wav", a)
        hollow = self.write("hollow.wav", silence(0))
        empty = self.directory / "empty.wav"
        empty.touch()
        for absent in (None, self.directory / "nowhere.wav", empty, hollow):
            with self.subTest(absent):
                got = self.joined(present, absent, RecordChannels.DUAL)
                np.testing.assert_array_equal(got, np.stack((a, 0 * a), axis=1))
                got = self.joined(absent, present, RecordChannels.DUAL)
                np.testing.assert_array_equal(got, np.stack((0 * a, a), axis=1))
                got = self.joined(absent, present, RecordChannels.MONO)
                np.testing.assert_array_equal(got[:, 0], a)

    def test_nothing_on_either_side(self) -> None:
        with self.assertRaisesRegex(AudioError, "nothing to join"):
            join(None, self.write("a.wav", silence(0)), self.output, RecordChannels.MONO)
        self.assertFalse(self.output.exists())

    def test_different_rates_are_refused(self) -> None:
        a, b = self.write("a.wav", tone(440, 1)), self.write("b.wav", tone(440, 1), rate=16000)
        with self.assertRaisesRegex(AudioError, "caller 8000 Hz, callee 16000 Hz"):
            join(a, b, self.output, RecordChannels.DUAL)
        self.assertFalse(self.output.exists())

    def test_a_side_with_two_channels_is_refused(self) -> None:
        path = self.write("a.wav", np.stack((tone(440, 1),) * 2, axis=1))
        with self.assertRaisesRegex(AudioError, "has 2 channels"):
            join(path, None, self.output, RecordChannels.DUAL)

    def test_meters_hear_each_side_once_and_whole(self) -> None:
        """Over several blocks, with sides of different lengths, and without what the other one's length adds."""
        sides = {Side.CALLER: tone(440, 70, 3000), Side.CALLEE: tone(880, 33, 32767)}
        caller, callee = (self.write(f"{side}.wav", samples) for side, samples in sides.items())
        for channels in RecordChannels:
            meters = {side: Meter(8000) for side in Side}
            join(caller, callee, self.output, channels, meters=meters)
            for side, samples in sides.items():
                alone = Meter(8000)
                for start in range(0, len(samples), block_of(8000)):
                    alone.feed(samples[start : start + block_of(8000)])
                self.assertEqual(vars(meters[side]) | {"_full_tail": None}, vars(alone) | {"_full_tail": None})
            self.assertEqual([meter.duration for meter in meters.values()], [70.0, 33.0])

    def test_a_side_that_is_not_there_is_not_heard(self) -> None:
        meters = {side: Meter(8000) for side in Side}
        join(None, self.write("a.wav", tone(440, 1)), self.output, RecordChannels.DUAL, meters=meters)
        self.assertEqual([meter.frames for meter in meters.values()], [0, 8000])

    def test_an_unreadable_side_is_not_taken_for_a_silent_one(self) -> None:
        path = self.directory / "noise.wav"
        path.write_bytes(os.urandom(999))
        with self.assertRaises(AudioError):
            join(self.write("a.wav", tone(440, 1)), path, self.output, RecordChannels.DUAL)

    def test_a_short_write_is_noticed_and_leaves_nothing(self) -> None:
        path = self.write("a.wav", tone(440, 1))

        def short(path: Path, _: Format | None = None) -> AudioInfo:
            return AudioInfo(8000 if path.name == "a.wav" else 7000, 8000, 1, "", "")

        self.patch(module, "probe", short)
        with self.assertRaisesRegex(AudioError, "0.88 of 1.00 seconds"):
            join(path, None, self.output, RecordChannels.MONO)
        self.assertFalse(self.output.exists())

    def test_a_full_disk_is_an_oserror_and_leaves_nothing(self) -> None:
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
        """Also across blocks: the longer side whole, the shorter one padded with silence, sample for sample."""
        self.patch(module, "blocks", lambda sound, path, _: blocks(sound, path, 7))
        length = max(len(caller), len(callee))
        paths = self.write("a.wav", caller), self.write("b.wav", callee)
        if length == 0:
            self.assertRaises(AudioError, join, *paths, self.output, RecordChannels.DUAL)
            return
        expected = np.zeros((length, 2), dtype=np.int16)
        expected[: len(caller), 0] = caller
        expected[: len(callee), 1] = callee
        np.testing.assert_array_equal(self.joined(*paths, RecordChannels.DUAL), expected)
        wide = expected.astype(np.int32)
        np.testing.assert_array_equal(self.joined(*paths, RecordChannels.MONO)[:, 0], mixed(wide[:, 0], wide[:, 1]))

    def test_memory_does_not_grow_with_the_call(self) -> None:
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

        def peak_kilobytes(seconds: int) -> int:
            leg = self.write("leg.wav", constant(1000, seconds))
            ran = subprocess.run(  # noqa: S603
                [sys.executable, "-c", program, str(leg), str(self.output)],
                check=True,
                capture_output=True,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            )
            return int(ran.stdout)

        growth = peak_kilobytes(3600) - peak_kilobytes(90)
        self.assertLess(growth, 8 * 1024)  # the hour holds 58 MB of samples a leg
