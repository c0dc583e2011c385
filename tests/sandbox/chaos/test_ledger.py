"""Tests of voxrec.sandbox.chaos.ledger: what counts as broken, and what as excused."""

from collections import Counter
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from voxrec.sandbox.chaos.ledger import (
    FULL,
    KILLED,
    STALLED,
    START_SECONDS,
    UNWRITTEN_SECONDS,
    Excuses,
    Found,
    Judgement,
    Ledger,
    Outage,
)
from voxrec.sandbox.chaos.phones import Witnessed

EXCUSES = Excuses(
    refused=frozenset({"gone"}),
    cut=frozenset({"killed"}),
    unwritable=frozenset({"full"}),
    stalled=frozenset({"stalled"}),
    late=frozenset({"late"}),
    resend=frozenset({"gone"}),
)
CALL = Witnessed("1", 100.0, 200, 100.1, 110.1, by_caller=True, far_ended=110.2)
GOOD = Found("r1", "1", "completed", 9.9, 9.9)


def changed(call: Witnessed = CALL, **fields: Any) -> Witnessed:
    return Witnessed(**{**{name: getattr(call, name) for name in call.__slots__}, **fields})


def judge(
    call: Witnessed = CALL,
    *recordings: Found,
    mails: Counter[str] | None = None,
    outages: tuple[Outage, ...] = (),
    mailed_at: dict[str, list[float]] | None = None,
) -> Judgement:
    found = {recording.id for recording in recordings if recording.state == "completed"}
    return Ledger(
        90.0,
        [call],
        recordings,
        Counter(found) if mails is None else mails,
        outages,
        EXCUSES,
        mailed_at or {},
    ).judge()


class CallTests(SynchronousTestCase):
    def test_a_call_that_went_well_breaks_nothing(self) -> None:
        judgement = judge(CALL, GOOD)
        self.assertEqual(judgement.violations, [])
        self.assertEqual(judgement.figures["recordings found"], 1)
        self.assertAlmostEqual(judgement.figures["seconds of audio owed"], 20.0)
        self.assertAlmostEqual(judgement.figures["seconds at the ends, not counted"], 0.2)

    def test_a_call_that_was_hung_up_on_was_cut(self) -> None:
        judgement = judge(changed(by_caller=False), GOOD)
        self.assertEqual(judgement.figures["calls cut"], 1)
        self.assertEqual(judgement.violations, ["call 1 at 10.0 s: cut after 10.0 s (with no fault near)"])

    def test_a_far_end_that_goes_before_the_caller_was_left_alone(self) -> None:
        self.assertEqual(judge(changed(far_ended=105.0), GOOD).figures["calls cut"], 1)
        self.assertEqual(judge(changed(far_ended=None), GOOD).figures["calls cut"], 1)

    def test_a_far_end_waits_for_a_voxrec_that_is_away(self) -> None:
        self.assertEqual(
            judge(changed(far_ended=118.0), GOOD, outages=(Outage("gone", 109.0, 115.0),)).figures["calls cut"], 0
        )
        self.assertEqual(
            judge(changed(far_ended=121.0), GOOD, outages=(Outage("gone", 109.0, 115.0),)).figures["calls cut"], 1
        )

    def test_a_far_end_waits_for_a_voxrec_that_stands_still(self) -> None:
        late = changed(far_ended=112.0)
        self.assertEqual(judge(late, GOOD, outages=(Outage("late", 109.0, 111.5),)).figures["calls cut"], 0)
        self.assertEqual(judge(late, GOOD, outages=(Outage("full", 109.0, 111.5),)).figures["calls cut"], 1)

    def test_a_kill_of_asterisk_ends_a_call_without_blame(self) -> None:
        found = Found("r1", "1", "completed", 3.0, 3.0)
        judgement = judge(changed(far_ended=None), found, outages=(Outage("killed", 105.1, 111.0),))
        self.assertEqual(judgement.violations, [])
        self.assertEqual(judgement.figures["calls ended by a kill of Asterisk"], 1)
        self.assertAlmostEqual(judgement.figures["seconds of audio owed"], 10.0)
        self.assertAlmostEqual(judgement.figures[KILLED], 2 * (2.0 - START_SECONDS))

    def test_a_refusal_needs_somebody_to_be_away(self) -> None:
        refused = changed(code=503, settled=100.1, ended=None, far_ended=None)
        self.assertIn("refused with 503", judge(refused).violations[0])
        self.assertEqual(judge(refused, outages=(Outage("gone", 95.0, 100.05),)).violations, [])
        self.assertEqual(len(judge(refused, outages=(Outage("full", 95.0, 120.0),)).violations), 1)

    def test_a_call_that_nobody_ever_answered_is_told(self) -> None:
        silent = changed(code=0, settled=None, ended=None, far_ended=None)
        self.assertIn("refused with no response", judge(silent).violations[0])


class AudioTests(SynchronousTestCase):
    def test_what_one_side_lacks_is_lost(self) -> None:
        judgement = judge(CALL, GOOD._replace(callee=8.7))
        self.assertEqual(
            judgement.violations, ["call 1 at 10.0 s: 1.00 s of the callee lost, of 10.00 s (with no fault near)"]
        )
        self.assertAlmostEqual(judgement.figures["seconds of audio lost"], 1.0)

    def test_a_kill_excuses_no_more_than_asterisk_keeps_in_memory(self) -> None:
        kill = Outage("killed", 110.0, 115.0)
        owed = 9.9 - START_SECONDS
        self.assertEqual(judge(CALL, GOOD._replace(caller=owed - UNWRITTEN_SECONDS), outages=(kill,)).violations, [])
        lost = judge(CALL, GOOD._replace(caller=owed - UNWRITTEN_SECONDS - 0.5), outages=(kill,))
        self.assertAlmostEqual(lost.figures["seconds of audio lost"], 0.5)

    def test_a_full_disk_excuses_what_comes_after_it(self) -> None:
        full = (Outage("full", 105.1, 107.0),)
        judgement = judge(CALL, GOOD._replace(caller=3.0, callee=3.0), outages=full)
        self.assertEqual(judgement.violations, [])
        self.assertAlmostEqual(judgement.figures[FULL], 2 * (7.0 - START_SECONDS))
        self.assertAlmostEqual(
            judge(CALL, GOOD._replace(caller=1.0), outages=full).figures["seconds of audio lost"], 1.6
        )

    def test_a_stall_excuses_its_own_length(self) -> None:
        judgement = judge(CALL, GOOD._replace(caller=7.0), outages=(Outage("stalled", 103.0, 105.0),))
        self.assertAlmostEqual(judgement.figures[STALLED], 2.0)
        self.assertAlmostEqual(judgement.figures["seconds of audio lost"], 0.7)


class RecordingTests(SynchronousTestCase):
    def test_no_recording_is_told_with_what_there_is_instead(self) -> None:
        self.assertIn("no recording: there is none", judge(CALL).violations[0])
        self.assertIn("no recording: r1 absent", judge(CALL, GOOD._replace(state="absent")).violations[0])

    def test_a_call_for_which_there_was_no_room_owes_none(self) -> None:
        self.assertEqual(judge(CALL, outages=(Outage("full", 99.0, 120.0),)).violations, [])

    def test_room_that_is_there_again_may_be_noticed_late_but_no_recording_may_be_partial(self) -> None:
        full = (Outage("full", 85.0, 92.0),)
        self.assertEqual(judge(CALL, GOOD._replace(state="absent", caller=0, callee=0), outages=full).violations, [])
        self.assertEqual(len(judge(CALL, GOOD._replace(caller=5.0), outages=full).violations), 1)
        self.assertEqual(len(judge(CALL, outages=(Outage("full", 80.0, 87.0),)).violations), 1)

    def test_two_recordings_of_one_call_are_one_too_many(self) -> None:
        self.assertIn("2 recordings", judge(CALL, GOOD, GOOD._replace(id="r2")).violations[0])

    def test_a_recording_of_no_call_is_told(self) -> None:
        self.assertIn("belongs to no call", judge(CALL, GOOD, Found("r2", "2", "completed")).violations[0])


class MailTests(SynchronousTestCase):
    def test_a_recording_without_a_mail_is_told(self) -> None:
        self.assertIn("no mail about recording r1", judge(CALL, GOOD, mails=Counter()).violations[0])

    def test_twice_is_excused_only_while_somebody_was_away(self) -> None:
        twice = Counter({"r1": 2})
        times = {"r1": [120.0, 140.0]}
        judgement = judge(CALL, GOOD, mails=twice, mailed_at=times)
        self.assertEqual(judgement.figures["mails sent twice"], 1)
        self.assertIn("mailed 2 times", judgement.violations[0])
        away = (Outage("gone", 119.0, 121.0),)
        self.assertEqual(judge(CALL, GOOD, mails=twice, mailed_at=times, outages=away).violations, [])
        later = (Outage("gone", 139.0, 141.0),)
        self.assertEqual(len(judge(CALL, GOOD, mails=twice, mailed_at=times, outages=later).violations), 1)
