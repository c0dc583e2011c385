"""Tests of voxrec.sandbox.chaos.verification: which deviations are violations, and which are allowed."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from voxrec.sandbox.chaos.outages import TAKEOVER, AllowedEffects, Outage
from voxrec.sandbox.chaos.phones import ObservedCall
from voxrec.sandbox.chaos.verification import (
    DELAYED,
    FULL,
    KILLED,
    STALLED,
    START_SECONDS,
    UNWRITTEN_SECONDS,
    FoundRecording,
    Report,
    Verification,
)

ALLOWED_EFFECTS = AllowedEffects(
    call_rejected=frozenset({"voxrec-down", TAKEOVER}),
    call_dropped=frozenset({"asterisk-killed"}),
    recording_disk_full=frozenset({"disk-full"}),
    recording_delayed=frozenset({"ami-down"}),
    asterisk_stalled=frozenset({"asterisk-stalled"}),
    hangup_delayed=frozenset({"voxrec-stalled"}),
    mail_duplicated=frozenset({"voxrec-down"}),
)
CALL = ObservedCall("1", 100.0, 200, 100.1, 110.1, by_caller=True, far_ended=110.2)
COMPLETE = FoundRecording("r1", "1", "completed", 9.9, 9.9)


def changed_call(call: ObservedCall = CALL, **fields: Any) -> ObservedCall:
    return ObservedCall(**{**{name: getattr(call, name) for name in call.__slots__}, **fields})


def verify(
    call: ObservedCall = CALL,
    *recordings: FoundRecording,
    mails: Counter[str] | None = None,
    outages: tuple[Outage, ...] = (),
    mailed_at: dict[str, list[float]] | None = None,
) -> Report:
    found = {recording.id for recording in recordings if recording.state == "completed"}
    return Verification(
        90.0,
        [call],
        recordings,
        Counter(found) if mails is None else mails,
        outages,
        ALLOWED_EFFECTS,
        mailed_at or {},
    ).report()


def dropped(call: ObservedCall, outages: tuple[Outage, ...]) -> float:
    return verify(call, COMPLETE, outages=outages).figures["calls dropped"]


class CallTests(SynchronousTestCase):
    def test_a_complete_call_has_no_violation(self) -> None:
        report = verify(CALL, COMPLETE)
        self.assertEqual(report.violations, [])
        self.assertEqual(report.figures["recordings found"], 1)
        self.assertAlmostEqual(report.figures["seconds of audio expected"], 20.0)
        self.assertAlmostEqual(report.figures["seconds at call start and end, not counted"], 0.2)

    def test_a_far_end_that_was_called_twice_is_a_violation(self) -> None:
        self.assertEqual(verify(changed_call(far_end_calls=1), COMPLETE).violations, [])
        report = verify(changed_call(far_end_calls=2), COMPLETE)
        self.assertEqual(report.violations, ["call 1 at 10.0 s: the far end was called twice (no fault near it)"])

    def test_a_hangup_not_by_the_caller_is_a_violation(self) -> None:
        report = verify(changed_call(by_caller=False), COMPLETE)
        self.assertEqual(report.figures["calls dropped"], 1)
        self.assertEqual(report.violations, ["call 1 at 10.0 s: dropped after 10.0 s (no fault near it)"])

    def test_a_hangup_of_the_far_end_before_the_caller_is_a_violation(self) -> None:
        self.assertEqual(verify(changed_call(far_ended=105.0), COMPLETE).figures["calls dropped"], 1)
        self.assertEqual(verify(changed_call(far_ended=None), COMPLETE).figures["calls dropped"], 1)

    def test_an_outage_of_voxrec_may_delay_the_far_ends_hangup(self) -> None:
        down = (Outage("voxrec-down", 109.0, 115.0),)
        self.assertEqual(dropped(changed_call(far_ended=118.0), down), 0)
        self.assertEqual(dropped(changed_call(far_ended=121.0), down), 1)

    def test_outages_that_touch_each_other_delay_the_far_ends_hangup_as_one(self) -> None:
        """The second one begins before voxrec must have hung up after the first one, which ends at 115 s."""
        down = Outage("voxrec-down", 109.0, 115.0)
        for begin, expected in ((115.0, 0), (119.9, 0), (120.1, 1)):
            again = Outage("voxrec-down", begin, begin + 10)
            self.assertEqual(dropped(changed_call(far_ended=begin + 14.9), (again, down)), expected, begin)
        third = Outage("voxrec-stalled", 127.0, 140.0)
        chain = (down, Outage("voxrec-down", 117.0, 125.0), third)
        self.assertEqual(dropped(changed_call(far_ended=144.9), chain), 0)
        self.assertEqual(dropped(changed_call(far_ended=145.1), chain), 1)
        self.assertEqual(dropped(changed_call(far_ended=144.9), (down, third)), 1, "it begins too late")

    def test_an_outage_that_begins_after_the_far_end_was_to_be_hung_up_delays_nothing(self) -> None:
        later = (Outage("voxrec-down", 110.5, 115.0),)
        self.assertEqual(dropped(changed_call(far_ended=112.0), later), 1)

    def test_a_stall_of_voxrec_may_delay_the_far_ends_hangup(self) -> None:
        late = changed_call(far_ended=112.0)
        self.assertEqual(dropped(late, (Outage("voxrec-stalled", 109.0, 111.5),)), 0)
        self.assertEqual(dropped(late, (Outage("disk-full", 109.0, 111.5),)), 1)

    def test_a_kill_of_asterisk_may_end_a_call(self) -> None:
        found = FoundRecording("r1", "1", "completed", 3.0, 3.0)
        report = verify(changed_call(far_ended=None), found, outages=(Outage("asterisk-killed", 105.1, 111.0),))
        self.assertEqual(report.violations, [])
        self.assertEqual(report.figures["calls ended by a kill of Asterisk"], 1)
        self.assertAlmostEqual(report.figures["seconds of audio expected"], 10.0)
        self.assertAlmostEqual(report.figures[KILLED], 2 * (2.0 - START_SECONDS))

    def test_an_asterisk_killed_before_it_was_to_hang_up_the_far_end_sends_no_bye(self) -> None:
        unended, down = changed_call(far_ended=None), Outage("voxrec-down", 109.0, 115.0)
        for killed_at, expected in ((109.9, 0), (110.5, 0), (119.9, 0), (120.1, 1)):
            kill = Outage("asterisk-killed", killed_at, killed_at + 3)
            self.assertEqual(dropped(unended, (down, kill)), expected, killed_at)
        self.assertEqual(dropped(unended, (Outage("asterisk-killed", 111.2, 114.0),)), 1)
        self.assertEqual(dropped(unended, (down,)), 1)

    def test_a_rejection_needs_an_outage(self) -> None:
        rejected = changed_call(code=503, settled=100.1, ended=None, far_ended=None)
        self.assertIn("rejected with 503", verify(rejected).violations[0])
        self.assertEqual(verify(rejected, outages=(Outage("voxrec-down", 95.0, 100.05),)).violations, [])
        self.assertEqual(len(verify(rejected, outages=(Outage("disk-full", 95.0, 120.0),)).violations), 1)
        # voxrec is connected to the new Asterisk long before it is ready, if PostgreSQL is away
        self.assertEqual(len(verify(rejected, outages=(Outage("asterisk-killed", 95.0, 160.0),)).violations), 1)

    def test_a_call_without_a_response_is_a_violation(self) -> None:
        unanswered = changed_call(code=0, settled=None, ended=None, far_ended=None)
        self.assertIn("rejected with no response", verify(unanswered).violations[0])


class AudioTests(SynchronousTestCase):
    def test_missing_audio_of_one_side_is_lost(self) -> None:
        report = verify(CALL, COMPLETE._replace(callee=8.7))
        self.assertEqual(
            report.violations, ["call 1 at 10.0 s: 1.00 s of the callee lost, of 10.00 s (no fault near it)"]
        )
        self.assertAlmostEqual(report.figures["seconds of audio lost"], 1.0)

    def test_a_kill_explains_only_what_asterisk_holds_in_memory(self) -> None:
        kill = Outage("asterisk-killed", 110.0, 115.0)
        expected = 9.9 - START_SECONDS
        self.assertEqual(
            verify(CALL, COMPLETE._replace(caller=expected - UNWRITTEN_SECONDS), outages=(kill,)).violations, []
        )
        lost = verify(CALL, COMPLETE._replace(caller=expected - UNWRITTEN_SECONDS - 0.5), outages=(kill,))
        self.assertAlmostEqual(lost.figures["seconds of audio lost"], 0.5)

    def test_a_full_disk_explains_the_loss_of_everything_after_it(self) -> None:
        full = (Outage("disk-full", 105.1, 107.0),)
        report = verify(CALL, COMPLETE._replace(caller=3.0, callee=3.0), outages=full)
        self.assertEqual(report.violations, [])
        self.assertAlmostEqual(report.figures[FULL], 2 * (7.0 - START_SECONDS))
        self.assertAlmostEqual(
            verify(CALL, COMPLETE._replace(caller=1.0), outages=full).figures["seconds of audio lost"], 1.6
        )

    def test_a_stall_of_asterisk_explains_a_loss_of_its_length(self) -> None:
        report = verify(CALL, COMPLETE._replace(caller=7.0), outages=(Outage("asterisk-stalled", 103.0, 105.0),))
        self.assertAlmostEqual(report.figures[STALLED], 2.0)
        self.assertAlmostEqual(report.figures["seconds of audio lost"], 0.7)


class RecordingTests(SynchronousTestCase):
    def test_a_loss_without_ami_must_be_in_the_timeline(self) -> None:
        late = FoundRecording("r1", "1", "completed", 6.7, 6.7)
        down = (Outage("ami-down", 99.0, 103.0),)
        report = verify(CALL, late._replace(unrecorded=3.0), outages=down)
        self.assertEqual((report.violations, report.figures["seconds of audio lost"]), ([], 0.0))
        self.assertAlmostEqual(report.figures[DELAYED], 6.0)
        self.assertEqual(len(verify(CALL, late, outages=down).violations), 2)
        self.assertEqual(len(verify(CALL, late._replace(unrecorded=2.0), outages=down).violations), 2)
        self.assertEqual(len(verify(CALL, late._replace(unrecorded=3.0)).violations), 2)
        self.assertEqual(
            len(verify(CALL, late._replace(unrecorded=3.0), outages=(down[0]._replace(begin=104),)).violations), 2
        )

    def test_a_call_that_was_never_recorded_without_ami_has_an_absent_recording_that_says_so(self) -> None:
        down = (Outage("ami-down", 99.0, 111.0),)
        absent = FoundRecording("r1", "1", "absent", unrecorded=float("inf"))
        self.assertEqual(verify(CALL, absent, outages=down).violations, [])
        self.assertEqual(len(verify(CALL, absent._replace(unrecorded=0.0), outages=down).violations), 1)
        self.assertEqual(len(verify(CALL, outages=down).violations), 1)

    def test_a_missing_recording_is_a_violation_that_names_other_states(self) -> None:
        self.assertIn("no recording: none found", verify(CALL).violations[0])
        self.assertIn("no recording: r1 absent", verify(CALL, COMPLETE._replace(state="absent")).violations[0])

    def test_a_full_disk_allows_an_absent_recording(self) -> None:
        self.assertEqual(verify(CALL, outages=(Outage("disk-full", 99.0, 120.0),)).violations, [])

    def test_after_a_full_disk_a_recording_may_be_absent_but_not_partial(self) -> None:
        full = (Outage("disk-full", 85.0, 92.0),)
        self.assertEqual(
            verify(CALL, COMPLETE._replace(state="absent", caller=0, callee=0), outages=full).violations, []
        )
        self.assertEqual(len(verify(CALL, COMPLETE._replace(caller=5.0), outages=full).violations), 1)
        self.assertEqual(len(verify(CALL, outages=(Outage("disk-full", 80.0, 87.0),)).violations), 1)

    def test_two_recordings_of_one_call_are_a_violation(self) -> None:
        self.assertIn("2 recordings", verify(CALL, COMPLETE, COMPLETE._replace(id="r2")).violations[0])

    def test_a_recording_without_a_call_is_a_violation(self) -> None:
        self.assertIn(
            "belongs to no call", verify(CALL, COMPLETE, FoundRecording("r2", "2", "completed")).violations[0]
        )


class MailTests(SynchronousTestCase):
    def test_a_recording_without_a_mail_is_a_violation(self) -> None:
        self.assertIn("no mail with recording r1", verify(CALL, COMPLETE, mails=Counter()).violations[0])

    def test_a_second_mail_is_allowed_only_with_an_outage_at_the_first(self) -> None:
        twice = Counter({"r1": 2})
        times = {"r1": [120.0, 140.0]}
        report = verify(CALL, COMPLETE, mails=twice, mailed_at=times)
        self.assertEqual(report.figures["mails sent more than once"], 1)
        self.assertIn("mailed 2 times", report.violations[0])
        during_first = (Outage("voxrec-down", 119.0, 121.0),)
        self.assertEqual(verify(CALL, COMPLETE, mails=twice, mailed_at=times, outages=during_first).violations, [])
        during_last = (Outage("voxrec-down", 139.0, 141.0),)
        self.assertEqual(len(verify(CALL, COMPLETE, mails=twice, mailed_at=times, outages=during_last).violations), 1)


class StoreTests(SynchronousTestCase):
    def verify(self, stored: Mapping[str, str] | None) -> Report:
        found = Counter([COMPLETE.id])
        return Verification(90.0, [CALL], [COMPLETE], found, (), ALLOWED_EFFECTS, stored=stored).report()

    def test_recordings_owed_and_found(self) -> None:
        report = self.verify({"r1": ""})
        self.assertEqual(report.violations, [])
        self.assertEqual(report.figures["recordings owed to the store"], 1)
        self.assertEqual(report.figures["recordings found in the store"], 1)

    def test_a_missing_object_is_a_violation(self) -> None:
        report = self.verify({"r1": "the store has no object"})
        self.assertEqual(report.violations, ["recording r1: the store has no object"])
        self.assertEqual(report.figures["recordings found in the store"], 0)

    def test_without_a_store(self) -> None:
        self.assertNotIn("recordings owed to the store", self.verify(None).figures)


class TakeoverTests(SynchronousTestCase):
    def test_a_standby_takes_over_within_two_seconds(self) -> None:
        self.assertEqual(verify(CALL, COMPLETE, outages=(Outage(TAKEOVER, 105.0, 106.9),)).violations, [])
        slow = Outage(TAKEOVER, 105.0, 107.5)
        report = verify(CALL, COMPLETE, outages=(slow,))
        self.assertEqual(report.violations, ["the standby took over after 2.50 s, at 15.0 s"])
        self.assertEqual(report.figures["take-overs by a standby"], 1)
        self.assertAlmostEqual(report.figures["seconds of the slowest one"], 2.5)

    def test_an_asterisk_that_does_not_respond_delays_it(self) -> None:
        outages = (Outage("asterisk-stalled", 104.0, 106.0), Outage(TAKEOVER, 105.0, 107.5))
        self.assertEqual(verify(CALL, COMPLETE, outages=outages).violations, [])


class NodesTests(SynchronousTestCase):
    """Two nodes, each of which can take any call."""

    nodes: Mapping[int, str] = {5070: "berlin", 5080: "munich"}

    def verify(self, call: ObservedCall, *outages: Outage, found: FoundRecording = COMPLETE) -> Report:
        return Verification(
            90.0, [call], [found], Counter([found.id]), outages, ALLOWED_EFFECTS, nodes=self.nodes
        ).report()

    def test_a_call_may_be_refused_only_if_no_node_can_take_it(self) -> None:
        rejected = changed_call(code=503, settled=100.1, ended=None, far_ended=None)
        berlin = Outage("voxrec-down", 95.0, 105.0, "berlin")
        for outages, expected in (
            ((), 1),
            ((berlin,), 1),
            ((berlin, berlin), 1),
            ((berlin, Outage("voxrec-down", 99.0, 100.05, "munich")), 0),
            ((berlin, Outage("voxrec-down", 100.5, 105.0, "munich")), 1),
        ):
            report = self.verify(rejected, *outages)
            self.assertEqual(report.figures["calls rejected without an outage"], expected, outages)

    def test_a_call_that_a_node_had_when_its_asterisk_was_killed_may_be_refused(self) -> None:
        rejected = changed_call(code=408, settled=120.0, ended=None, far_ended=None)
        for begin, expected in ((100.5, 0), (99.5, 1)):
            report = self.verify(rejected, Outage("asterisk-killed", begin, 104.0, "berlin"))
            self.assertEqual(report.figures["calls rejected without an outage"], expected, begin)

    def test_a_kill_ends_only_the_calls_of_its_node(self) -> None:
        call = changed_call(by_caller=False, node_port=5080)
        for node, dropped_calls in (("berlin", 1), ("munich", 0)):
            report = self.verify(call, Outage("asterisk-killed", 105.0, 111.0, node))
            self.assertEqual(report.figures["calls dropped"], dropped_calls, node)
            self.assertEqual(report.figures["calls ended by a kill of Asterisk"], 1 - dropped_calls, node)

    def test_a_kill_explains_only_the_losses_of_its_node(self) -> None:
        call, found = changed_call(node_port=5070), COMPLETE._replace(caller=4.0, callee=4.0)
        for node, lost in (("berlin", False), ("munich", True)):
            report = self.verify(call, Outage("asterisk-killed", 105.0, 111.0, node), found=found)
            self.assertEqual(report.figures["seconds of audio lost"] > 0, lost, node)

    def test_the_calls_of_each_node_are_counted_and_violations_name_it(self) -> None:
        report = self.verify(changed_call(by_caller=False, node_port=5080))
        self.assertEqual([report.figures[f"calls of node {name}"] for name in ("berlin", "munich")], [0, 1])
        self.assertTrue(report.violations[0].startswith("call 1 of node munich at"), report.violations)
