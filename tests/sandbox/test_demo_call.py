"""Tests of voxrec.sandbox.demo_call without a call: measurements of generated recordings."""

from importlib import resources
from pathlib import Path

import numpy as np
import soundfile
from twisted.trial.unittest import SynchronousTestCase

from voxrec.sandbox import tones
from voxrec.sandbox.demo_call import (
    CALLEE_HZ,
    CALLER_HZ,
    LEFT,
    RIGHT,
    RecordingMeasurement,
    find_announcement,
    measure_recording,
)

RATE = 8000
SECONDS = 6
PACKET = RATE // 50  # samples


class MeasureRecordingTests(SynchronousTestCase):
    def setUp(self) -> None:
        time = np.arange(SECONDS * RATE) / RATE
        self.samples = 0.25 * np.stack([np.sin(2 * np.pi * hz * time) for hz in (CALLER_HZ, CALLEE_HZ)], axis=1)

    def announcement(self) -> tones.Samples:
        with resources.as_file(
            resources.files("voxrec.calls.announcements").joinpath("sounds", "announcement.wav")
        ) as path:
            announcement, rate = tones.load_audio(path)
        self.assertEqual(rate, RATE)
        return announcement[:, 0]

    def add(self, sound: tones.Samples, at: float) -> None:
        start = round(at * RATE)
        self.samples[start : start + len(sound), RIGHT] += 0.5 * sound

    def add_announcement(self, at: float) -> None:
        self.add(self.announcement(), at)

    def write(self) -> Path:
        path = Path(self.mktemp() + ".wav")
        soundfile.write(path, self.samples, RATE, subtype="PCM_16")
        return path

    def test_a_complete_recording_has_no_problems(self) -> None:
        self.add_announcement(0.5)
        measurement = measure_recording(self.write())
        self.assertEqual(measurement.problems(), [])
        self.assertEqual(measurement.seconds, SECONDS)
        self.assertAlmostEqual(measurement.announcement_at or 0.0, 0.5, places=2)

    def measure_with(self, *sounds: tones.Samples) -> RecordingMeasurement:
        """Measure the recording with these sounds one after the other, from 0.5 s, and remove them again."""
        complete = self.samples.copy()
        self.add(np.concatenate(sounds), 0.5)
        measurement = measure_recording(self.write())
        self.samples = complete
        return measurement

    def test_packets_of_the_announcement_that_a_busy_machine_delays_or_loses(self) -> None:
        first, second, third = np.split(self.announcement(), [40 * PACKET, 80 * PACKET])
        delay = np.zeros(PACKET)
        for sounds in (
            (first, delay, second, third),
            (first, second[PACKET:], third),
            (first, delay, second, delay, third),
        ):
            measurement = self.measure_with(*sounds)
            self.assertEqual(measurement.problems(), [])
            self.assertAlmostEqual(measurement.announcement_at or 0.0, 0.5, places=1)

    def test_half_of_the_announcement_is_a_problem(self) -> None:
        announcement = self.announcement()
        for half in (announcement[: 50 * PACKET], announcement[60 * PACKET :]):
            self.assertEqual(self.measure_with(half).problems(), ["the announcement is not in the recording"])

    def test_a_gap_of_one_side_is_a_problem(self) -> None:
        self.add_announcement(0.5)
        self.samples[4 * RATE : 4 * RATE + RATE // 10, LEFT] = 0
        measurement = measure_recording(self.write())
        (problem,) = measurement.problems()
        self.assertRegex(problem, "^(99|100|101) ms of the caller are missing on the left channel$")
        self.assertTrue(measurement.explained_by_lost_packets)

    def test_audio_on_the_other_channel_is_a_problem(self) -> None:
        self.add_announcement(0.5)
        self.samples[:, RIGHT] += 0.1 * self.samples[:, LEFT]
        measurement = measure_recording(self.write())
        self.assertEqual(measurement.problems(), ["the audio of one side is also on the other side's channel"])
        self.assertFalse(measurement.explained_by_lost_packets)

    def test_lost_packets_do_not_explain_audio_on_the_other_channel(self) -> None:
        self.samples[4 * RATE : 4 * RATE + RATE // 10, LEFT] = 0
        self.samples[:, RIGHT] += 0.1 * self.samples[:, LEFT]
        self.assertFalse(measure_recording(self.write()).explained_by_lost_packets)

    def test_a_missing_announcement_is_a_problem(self) -> None:
        path = self.write()
        measurement = measure_recording(path)
        self.assertEqual(measurement.problems(), ["the announcement is not in the recording"])
        self.assertFalse(measurement.explained_by_lost_packets)
        self.assertIsNone(find_announcement(path, RIGHT))
