"""Tests of voxrec.sandbox.chaos.phones without a call: the scenarios and the parsing of their logs."""

from xml.etree import ElementTree as ET

from twisted.trial.unittest import SynchronousTestCase

from voxrec.sandbox.chaos.phones import (
    ObservedCall,
    callee_scenario,
    caller_scenario,
    parse_call_logs,
)

CALLERS = """\
+491 invited 1700000000.000000 500000.000000
+492 invited 1700000001.000000 0.000000
+491 answered 1700000000.000000 600000.000000
+492 rejected 1700000001.000000 20000.000000 503
+493 invited 1700000002.000000 0.000000
+491 hung-up 1700000005.000000 0.000000
+494 invited 1700000003.000000 0.000000
+494 answered 1700000003.000000 0.000000
+494 dropped 1700000004.000000 0.000000
"""


CALLEES = """\
+491 called 1700000000.000000 550000.000000 5070
+491 far-ended 1700000005.000000 10000.000000
+494 called 1700000003.000000 0.000000 5070
+494 called 1700000003.000000 0.000000 5071
"""


class ScenarioTests(SynchronousTestCase):
    def test_every_jump_has_a_label(self) -> None:
        for text in (caller_scenario("/mnt/tone.ul"), callee_scenario("/mnt/tone.ul")):
            scenario = ET.fromstring(text)  # noqa: S314
            labels = {label.get("id") for label in scenario.iter("label")}
            jumps = {element.get(name) for element in scenario.iter() for name in ("next", "ontimeout")} - {None}
            self.assertEqual(jumps - labels, set())

    def test_logs_are_parsed(self) -> None:
        calls = {call.number: call for call in parse_call_logs(CALLERS, CALLEES)}
        self.assertEqual(
            calls["+491"],
            ObservedCall(
                "+491",
                1700000000.5,
                200,
                1700000000.6,
                1700000005.0,
                by_caller=True,
                far_ended=1700000005.01,
                node_port=5070,
                far_end_calls=1,
            ),
        )
        self.assertEqual((calls["+492"].code, calls["+492"].answered), (503, None))
        self.assertEqual((calls["+493"].code, calls["+493"].settled), (0, None))
        self.assertEqual([calls[f"+49{number}"].far_end_calls for number in (2, 4)], [0, 2])
        self.assertEqual((calls["+494"].by_caller, calls["+494"].ended), (False, 1700000004.0))
