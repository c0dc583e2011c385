"""Tests of voxrec.sandbox.chaos.phones that place no call, and of what is heard in a file."""

from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import soundfile
from twisted.trial.unittest import SynchronousTestCase

from voxrec.sandbox.chaos.phones import CALLEE_HZ, CALLER_HZ, Witnessed, caller_scenario, desk_scenario, witnessed
from voxrec.sandbox.chaos.tone_detection import seconds_of_tone, sides
from voxrec.sandbox.tones import Samples

CALLERS = """\
+491 invited 1700000000.000000 500000.000000
+492 invited 1700000001.000000 0.000000
+491 answered 1700000000.000000 600000.000000
+492 refused 1700000001.000000 20000.000000 503
+493 invited 1700000002.000000 0.000000
+491 hung-up 1700000005.000000 0.000000
+494 invited 1700000003.000000 0.000000
+494 answered 1700000003.000000 0.000000
+494 cut 1700000004.000000 0.000000
"""


class ScenarioTests(SynchronousTestCase):
    def test_every_label_that_is_jumped_to_is_there(self) -> None:
        for text in (caller_scenario("/mnt/tone.ul"), desk_scenario("/mnt/tone.ul")):
            scenario = ET.fromstring(text)  # noqa: S314
            labels = {label.get("id") for label in scenario.iter("label")}
            jumps = {element.get(name) for element in scenario.iter() for name in ("next", "ontimeout")} - {None}
            self.assertEqual(jumps - labels, set())

    def test_what_was_written_down_is_read(self) -> None:
        calls = {call.number: call for call in witnessed(CALLERS, "+491 far-ended 1700000005.000000 10000.000000\n")}
        self.assertEqual(
            calls["+491"],
            Witnessed("+491", 1700000000.5, 200, 1700000000.6, 1700000005.0, by_caller=True, far_ended=1700000005.01),
        )
        self.assertEqual((calls["+492"].code, calls["+492"].answered), (503, None))
        self.assertEqual((calls["+493"].code, calls["+493"].settled), (0, None))
        self.assertEqual((calls["+494"].by_caller, calls["+494"].ended), (False, 1700000004.0))


class ListeningTests(SynchronousTestCase):
    def tone(self, hz: float, seconds: float) -> Samples:
        return 0.25 * np.sin(2 * np.pi * hz * np.arange(round(8000 * seconds)) / 8000)

    def test_a_gap_is_not_counted(self) -> None:
        samples = self.tone(CALLER_HZ, 3.0)
        samples[8000:12000] = 0
        self.assertAlmostEqual(seconds_of_tone(samples, 8000, CALLER_HZ), 2.5, delta=0.021)

    def test_the_other_tone_and_silence_are_not_heard(self) -> None:
        self.assertEqual(seconds_of_tone(self.tone(CALLER_HZ, 1.0), 8000, CALLEE_HZ), 0.0)
        self.assertEqual(seconds_of_tone(np.zeros(8000), 8000, CALLER_HZ), 0.0)
        self.assertEqual(seconds_of_tone(np.zeros(0), 8000, CALLER_HZ), 0.0)

    def test_each_side_is_heard_on_its_own_channel(self) -> None:
        caller, callee = self.tone(CALLER_HZ, 2.0), self.tone(CALLEE_HZ, 2.0)
        callee[:8000] = 0
        path = Path(self.mktemp() + ".wav")
        soundfile.write(path, np.stack([caller, callee], axis=1), 8000)
        heard = sides(path)
        self.assertAlmostEqual(heard[0], 2.0, delta=0.001)
        self.assertAlmostEqual(heard[1], 1.0, delta=0.001)
