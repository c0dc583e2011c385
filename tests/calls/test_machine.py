"""Each way through a call, step by step: what happens, and what Asterisk is asked then."""

from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.double import INCOMING, Stage
from voxrec.ari.transport import AriResponseError
from voxrec.calls import takeover_state as memory
from voxrec.calls.causes import Cause
from voxrec.errors import Conflict
from voxrec.model import PauseBehavior, Recording, RecordingState, RecordPrompt, Side

PLACE = ["POST bridges/voxrec-CALL-bridge", "POST channels/create"]
DIAL = ["POST bridges/voxrec-CALL-bridge/addChannel", "POST channels/voxrec-CALL-leg/dial"]
ANSWER = ["POST channels/CALLER/answer"]
RECORD = [
    "POST channels/CALLER/snoop/voxrec-CALL-snoop-caller",
    "POST channels/voxrec-CALL-snoop-caller/record",
    "POST channels/CALLER/snoop/voxrec-CALL-snoop-callee",
    "POST channels/voxrec-CALL-snoop-callee/record",
]
END_CALLER = ["DELETE channels/CALLER"]
END_LEG = ["DELETE channels/voxrec-CALL-leg"]
END_BRIDGE = ["DELETE bridges/voxrec-CALL-bridge"]
ANNOUNCE = ["POST bridges/voxrec-CALL-bridge/play/voxrec-CALL-announcement"]
WHISPER = [
    "POST channels/CALLER/snoop/voxrec-CALL-whisper",
    "POST channels/voxrec-CALL-whisper/play/voxrec-CALL-beep",
]


def variables_of(stage: Stage) -> dict[str, str]:
    """What the outgoing channel was made with."""
    body: Any = stage.asterisk.bodies["POST channels/create"]
    return dict(body["variables"])


def placed(**fields: Any) -> Stage:
    stage = Stage(**fields)
    stage.call.inputs.begin()
    return stage


def ringing(**fields: Any) -> Stage:
    stage = placed(**fields)
    stage.call.inputs.leg_entered()
    return stage


def answered(**fields: Any) -> Stage:
    stage = ringing(**fields)
    stage.call.inputs.leg_answered()
    return stage


def talking(**fields: Any) -> Stage:
    stage = answered(**fields)
    for side in Side:
        stage.call.recording_started(side)
    stage.took()
    return stage


class PlacingTests(SynchronousTestCase):
    def test_the_far_end_is_called_step_by_step(self) -> None:
        stage = placed()
        self.assertEqual(stage.took(), PLACE)
        stage.call.inputs.leg_entered()
        self.assertEqual(stage.took(), DIAL)
        self.assertEqual(stage.call.status, "ringing")

    def test_the_leg_is_made_for_the_remote_sip_uri(self) -> None:
        query = placed().asterisk.queries["POST channels/create"]
        self.assertEqual(query["endpoint"], "PJSIP/trunk/sip:desk@192.0.2.7:5070")
        self.assertEqual(query["originator"], INCOMING.channel)

    def test_the_far_end_learns_what_was_dialled(self) -> None:
        stage = placed()
        variables = variables_of(stage)
        self.assertEqual(
            {name: value for name, value in variables.items() if name != memory.CALL},
            {
                "PJSIP_HEADER(add,X-Voxrec-Call)": str(stage.call.id),
                "PJSIP_HEADER(add,X-Voxrec-Profile)": str(stage.call.profile.id),
                "PJSIP_HEADER(add,X-Voxrec-Dialled)": "+4930222",
                "TRANSFER_CONTEXT": "voxrec-transfer",
            },
        )

    def test_the_leg_knows_all_that_another_process_needs(self) -> None:
        stage = placed()
        known = memory.read_memory(variables_of(stage)[memory.CALL])
        assert known is not None
        self.assertEqual((known.call_id, known.recording_id), (stage.call.id, stage.call.recording_id))
        self.assertEqual(
            (known.caller, known.dialled, known.profile), (INCOMING.channel, "+4930222", stage.call.profile)
        )

    def test_asterisk_that_makes_no_leg_is_503_to_the_caller(self) -> None:
        stage = Stage()
        stage.asterisk.refuse = {"channels/create": 500, "-leg": 404}
        stage.call.inputs.begin()
        self.assertEqual(stage.took(), PLACE + END_CALLER + END_LEG)
        self.assertEqual(stage.asterisk.queries["DELETE channels/1700.1"], {"reason": "congestion"})
        stage.call.inputs.caller_left(Cause.NORMAL)
        self.assertEqual(stage.ended, [stage.call])

    def test_asterisk_that_never_enters_the_leg_is_503(self) -> None:
        stage = placed()
        stage.took()
        stage.clock.advance(5)
        self.assertEqual(stage.took(), END_CALLER + END_LEG)
        self.assertEqual(stage.asterisk.queries["DELETE channels/1700.1"], {"reason": "congestion"})


class RefusalTests(SynchronousTestCase):
    def assert_refused(self, stage: Stage, reason: str) -> None:
        self.assertEqual(stage.took()[-1:], END_CALLER)
        self.assertEqual(stage.asterisk.queries["DELETE channels/1700.1"], {"reason": reason})
        stage.call.inputs.caller_left(Cause.NORMAL)
        self.assertEqual(stage.ended, [stage.call])
        self.assertEqual(stage.took(), END_BRIDGE)
        self.assertEqual(stage.ledger.entries, [])

    def test_busy_is_passed_back(self) -> None:
        stage = ringing()
        stage.call.inputs.leg_left(Cause.BUSY)
        self.assert_refused(stage, "busy")

    def test_a_far_end_that_cannot_be_reached_is_503(self) -> None:
        stage = ringing()
        stage.call.inputs.leg_left(0)
        self.assert_refused(stage, "congestion")

    def test_a_leg_that_ends_before_it_enters_is_passed_back(self) -> None:
        stage = placed()
        stage.call.inputs.leg_left(Cause.UNALLOCATED)
        self.assert_refused(stage, "unallocated")

    def test_no_answer_ends_both(self) -> None:
        stage = ringing()
        stage.took()
        stage.clock.advance(19)
        self.assertEqual(stage.took(), [])
        stage.clock.advance(1)
        self.assertEqual(stage.took(), END_CALLER + END_LEG)
        self.assertEqual(stage.asterisk.queries["DELETE channels/1700.1"], {"reason": "no_answer"})

    def test_the_caller_gives_up_while_it_rings(self) -> None:
        stage = ringing()
        stage.took()
        stage.call.inputs.caller_left(Cause.NORMAL)
        self.assertEqual(stage.took(), END_LEG)
        stage.call.inputs.leg_left(Cause.NORMAL)
        self.assertEqual(stage.took(), END_BRIDGE)
        self.assertEqual(stage.ended, [stage.call])

    def test_a_leg_that_enters_after_the_caller_gave_up_is_ended(self) -> None:
        stage = placed()
        stage.call.inputs.caller_left(Cause.NORMAL)
        stage.took()
        stage.call.inputs.leg_entered()
        self.assertEqual(stage.took(), END_LEG)


class RecordedCallTests(SynchronousTestCase):
    def test_the_answer_is_passed_on_before_the_recording_begins(self) -> None:
        stage = ringing()
        stage.took()
        stage.call.inputs.leg_answered()
        self.assertEqual(stage.took(), ANSWER + RECORD)

    def test_a_side_is_recorded_once_its_channel_is_there_or_had_its_time_to_be(self) -> None:
        stage = ringing()
        stage.asterisk.snoop_entered = lambda _channel: None
        stage.call.inputs.leg_answered()
        self.assertNotIn("record", " ".join(stage.took()))
        stage.call.helper_entered("snoop-caller")
        self.assertEqual(stage.took(), ["POST channels/voxrec-CALL-snoop-caller/record"])
        stage.clock.advance(2)
        self.assertEqual(stage.took(), ["POST channels/voxrec-CALL-snoop-callee/record"])

    def test_each_side_has_its_own_file(self) -> None:
        stage = answered()
        for side, spy in (("caller", "in"), ("callee", "out")):
            snoop = f"POST channels/1700.1/snoop/voxrec-{stage.call.id}-snoop-{side}"
            record = f"POST channels/voxrec-{stage.call.id}-snoop-{side}/record"
            self.assertEqual(stage.asterisk.queries[snoop]["spy"], spy)
            self.assertEqual(stage.asterisk.queries[snoop]["whisper"], "none")
            self.assertEqual(
                stage.asterisk.queries[record],
                {"name": f"voxrec-{stage.call.recording_id}-{side}", "format": "wav", "ifExists": "fail"},
            )

    def test_the_row_is_written_at_the_answer(self) -> None:
        stage = answered()
        (recording,) = stage.ledger.entries
        self.assertEqual(recording.state, RecordingState.RECORDING)
        self.assertEqual(
            (recording.from_, recording.from_name, recording.to, recording.channels, recording.remote_sip_uri),
            ("+4930111", "Alice", "+4930222", 2, "sip:desk@192.0.2.7:5070"),
        )

    def test_it_expires_as_the_profile_says(self) -> None:
        self.assertIsNone(answered().ledger.entries[0].expires_at)
        (recording,) = answered(retention_days=30).ledger.entries
        assert recording.expires_at is not None
        assert recording.started_at is not None
        self.assertEqual((recording.expires_at - recording.started_at).days, 30)

    def test_nothing_is_announced_before_both_files_are_open(self) -> None:
        stage = answered(record_prompt=RecordPrompt.DEFAULT)
        stage.took()
        stage.call.recording_started(Side.CALLER)
        self.assertEqual(stage.took(), [])
        stage.call.recording_started(Side.CALLEE)
        self.assertEqual(stage.took(), ANNOUNCE)

    def test_the_beep_follows_the_announcement(self) -> None:
        stage = talking(record_prompt=RecordPrompt.DEFAULT, record_beep_at_start=True)
        stage.clock.advance(2.5)
        stage.call.playback_ended("announcement", complete=True)
        self.assertEqual(stage.took(), WHISPER)
        stage.call.playback_ended("beep-1", complete=True)
        self.assertEqual(stage.took(), ["DELETE channels/voxrec-CALL-whisper"])
        stage.call.inputs.caller_left(Cause.NORMAL)
        stage.call.inputs.leg_left(Cause.NORMAL)
        for side in Side:
            stage.call.recording_ended(side)
        self.assertEqual(
            stage.events,
            [
                (0.0, "answered"),
                (0.0, "announcement.started"),
                (2.5, "announcement.finished"),
                (2.5, "beep"),
                (2.5, "hangup"),
            ],
        )

    def test_beeps_come_at_their_interval_over_one_channel(self) -> None:
        stage = talking(record_beep_interval=15)
        self.assertEqual(stage.took(), [])
        stage.clock.advance(15)
        self.assertEqual(stage.took(), WHISPER)
        stage.call.playback_ended("beep-1", complete=True)
        stage.clock.advance(15)
        self.assertEqual(stage.took(), ["POST channels/voxrec-CALL-whisper/play/voxrec-CALL-beep"])
        stage.call.inputs.caller_left(Cause.NORMAL)
        stage.took()
        stage.clock.advance(9)
        self.assertEqual(stage.took(), [])

    def test_the_call_is_over_when_both_parties_and_both_files_are(self) -> None:
        stage = talking()
        stage.clock.advance(60)
        stage.call.inputs.caller_left(Cause.NORMAL)
        self.assertEqual(stage.took(), END_LEG)
        stage.call.inputs.leg_left(Cause.NORMAL)
        stage.call.recording_ended(Side.CALLER)
        self.assertEqual(stage.ended, [])
        stage.call.recording_ended(Side.CALLEE)
        self.assertEqual(stage.ended, [stage.call])
        self.assertEqual(stage.took(), END_BRIDGE)
        last = stage.ledger.entries[-1]
        assert last.started_at is not None
        assert last.ended_at is not None
        self.assertEqual(last.state, RecordingState.PROCESSING)
        self.assertEqual((last.ended_at - last.started_at).total_seconds(), 60)
        self.assertEqual(last.hangup_cause, 16)
        self.assertEqual(last.timeline[-1].by, "caller")
        self.assertEqual(stage.clock.getDelayedCalls(), [])

    def test_the_far_end_hangs_up(self) -> None:
        stage = talking()
        stage.call.inputs.leg_left(Cause.NORMAL)
        self.assertEqual(stage.took(), END_CALLER)
        self.assertEqual(stage.call.status, "clearing")

    def test_a_file_that_asterisk_never_closes_is_handed_over_as_it_is(self) -> None:
        stage = talking()
        stage.call.inputs.caller_left(Cause.NORMAL)
        stage.call.inputs.leg_left(Cause.NORMAL)
        stage.clock.advance(10)
        self.assertEqual(stage.ended, [stage.call])
        self.assertEqual(stage.ledger.entries[-1].state, RecordingState.PROCESSING)

    def test_a_call_goes_on_where_asterisk_refuses_to_record(self) -> None:
        stage = ringing(record_prompt=RecordPrompt.DEFAULT)
        stage.asterisk.refuse = {"record": 500}
        stage.call.inputs.leg_answered()
        self.assertEqual(stage.call.status, "announcing")
        stage.call.playback_ended("announcement", complete=True)
        self.assertEqual(stage.call.status, "talking")
        recording = stage.call.recording
        assert recording is not None
        self.assertEqual(
            [(entry.event, entry.by) for entry in recording.timeline[1:3]],
            [("recording.failed", "caller"), ("recording.failed", "callee")],
        )

    def test_a_call_goes_on_where_asterisk_does_not_say_that_it_records(self) -> None:
        stage = answered()
        stage.clock.advance(3)
        self.assertEqual(stage.call.status, "talking")
        recording = stage.call.recording
        assert recording is not None
        self.assertEqual(recording.timeline[-1].event, "recording.unconfirmed")

    def test_an_announcement_that_cannot_be_played_is_told_and_the_call_goes_on(self) -> None:
        for how in ("refused", "failed", "forgotten"):
            stage = answered(record_prompt=RecordPrompt.DEFAULT)
            stage.asterisk.refuse = {"announcement": 500} if how == "refused" else {}
            for side in Side:
                stage.call.recording_started(side)
            if how == "failed":
                stage.call.playback_ended("announcement", complete=False)
            elif how == "forgotten":
                stage.clock.advance(120)
            self.assertEqual(stage.call.status, "talking", how)
            recording = stage.call.recording
            assert recording is not None
            self.assertEqual(recording.timeline[-1].event, "announcement.failed", how)

    def test_a_profile_has_its_own_announcement(self) -> None:
        stage = answered(record_prompt=RecordPrompt.CUSTOM, record_prompt_custom_id=UUID(int=1))
        stage.took()
        for side in Side:
            stage.call.recording_started(side)
        self.assertEqual(stage.took(), ANNOUNCE)
        (query,) = (query for request, query in stage.asterisk.queries.items() if "announcement" in request)
        self.assertEqual(query["media"], "sound:own")

    def test_an_announcement_that_is_not_there_is_told_and_the_call_goes_on(self) -> None:
        stage = answered(record_prompt=RecordPrompt.CUSTOM, record_prompt_custom_id=UUID(int=2))
        stage.took()
        for side in Side:
            stage.call.recording_started(side)
        self.assertEqual(stage.took(), [])
        self.assertEqual(stage.call.status, "talking")
        recording = stage.call.recording
        assert recording is not None
        self.assertEqual(recording.timeline[-1].event, "announcement.failed")

    def test_voxrec_can_end_a_call(self) -> None:
        stage = talking()
        stage.call.inputs.release(Cause.NORMAL)
        self.assertEqual(stage.took(), END_CALLER + END_LEG)
        recording = stage.call.recording
        assert recording is not None
        self.assertEqual(recording.timeline[-1].by, "voxrec")


class PauseTests(SynchronousTestCase):
    MUTE = ("recordings/live/voxrec-REC-caller/mute", "recordings/live/voxrec-REC-callee/mute")

    KEEP = ("POST channels/CALLER/variable",)

    def steer(self, stage: Stage, state: RecordingState) -> Deferred[Recording]:
        paused = state is RecordingState.PAUSED
        return Deferred.fromCoroutine(stage.call.pause(PauseBehavior.SILENCE, None) if paused else stage.call.resume())

    def test_pausing_and_resuming(self) -> None:
        stage = talking()
        stage.clock.advance(2)
        paused = self.successResultOf(self.steer(stage, RecordingState.PAUSED))
        self.assertCountEqual(stage.took(), [*self.KEEP, *self.KEEP, *(f"POST {path}" for path in self.MUTE)])
        self.assertEqual(paused.state, RecordingState.PAUSED)
        self.assertEqual(stage.ledger.entries[-1], paused)
        stage.clock.advance(3)
        resumed = self.successResultOf(self.steer(stage, RecordingState.RECORDING))
        self.assertCountEqual(stage.took(), [*self.KEEP, *self.KEEP, *(f"DELETE {path}" for path in self.MUTE)])
        self.assertEqual(resumed.state, RecordingState.RECORDING)
        self.assertEqual(stage.events[1:], [(2.0, "paused"), (5.0, "resumed")])

    def test_again_does_nothing(self) -> None:
        stage = talking()
        self.successResultOf(self.steer(stage, RecordingState.RECORDING))
        self.assertEqual(stage.took(), [])

    def test_no_beeps_while_paused(self) -> None:
        stage = talking(record_beep_interval=15)
        self.successResultOf(self.steer(stage, RecordingState.PAUSED))
        stage.took()
        stage.clock.advance(15)
        self.assertEqual(stage.took(), [])
        self.successResultOf(self.steer(stage, RecordingState.RECORDING))
        stage.took()
        stage.clock.advance(15)
        self.assertEqual(stage.took(), WHISPER)

    def test_where_it_cannot_be(self) -> None:
        for stage in (ringing(), answered(), talking(record=False)):
            self.failureResultOf(self.steer(stage, RecordingState.PAUSED), Conflict)

    def test_asterisk_that_refuses_leaves_it_as_it_was(self) -> None:
        stage = talking()
        stage.asterisk.refuse = {"mute": 500}
        self.failureResultOf(self.steer(stage, RecordingState.PAUSED), AriResponseError)
        recording = stage.call.recording
        assert recording is not None
        self.assertEqual(recording.state, RecordingState.RECORDING)


class UnrecordedCallTests(SynchronousTestCase):
    def test_it_is_bridged_and_nothing_else(self) -> None:
        stage = answered(record=False, record_prompt=RecordPrompt.DEFAULT, record_beep_at_start=True)
        self.assertEqual(stage.took(), PLACE + DIAL + ANSWER)
        self.assertEqual(stage.call.status, "talking")
        stage.call.inputs.caller_left(Cause.NORMAL)
        stage.call.inputs.leg_left(Cause.NORMAL)
        self.assertEqual(stage.ended, [stage.call])
        self.assertEqual(stage.ledger.entries, [])
        self.assertEqual(stage.clock.getDelayedCalls(), [])


class LateAndDoubleTests(SynchronousTestCase):
    """What comes twice, late or in an odd order neither raises nor does a thing twice."""

    INPUTS = (
        lambda stage: stage.call.inputs.leg_entered(),
        lambda stage: stage.call.inputs.leg_answered(),
        lambda stage: stage.call.inputs.leg_left(16),
        lambda stage: stage.call.inputs.caller_left(16),
        lambda stage: stage.call.inputs.setup_failed(),
        lambda stage: stage.call.inputs.release(16),
        lambda stage: stage.call.recording_started(Side.CALLER),
        lambda stage: stage.call.recording_started(Side.CALLEE),
        lambda stage: stage.call.recording_ended(Side.CALLER),
        lambda stage: stage.call.recording_ended(Side.CALLEE),
        lambda stage: stage.call.playback_ended("announcement", complete=True),
        lambda stage: stage.call.playback_ended("beep-1", complete=True),
    )

    def test_every_input_in_every_state(self) -> None:
        for build in (placed, ringing, answered, talking):
            for first in self.INPUTS:
                for second in self.INPUTS:
                    stage = build(record_prompt=RecordPrompt.DEFAULT, record_beep_at_start=True)
                    first(stage)
                    second(stage)
                    first(stage)
                    self.end(stage)

    def end(self, stage: Stage) -> None:
        stage.call.inputs.caller_left(16)
        stage.call.inputs.leg_left(16)
        stage.clock.advance(10)
        self.assertEqual(stage.ended, [stage.call])
        self.assertEqual(stage.clock.getDelayedCalls(), [])
        self.assertEqual(stage.took().count(END_BRIDGE[0]), 1)

    def test_ids_of_calls_differ(self) -> None:
        self.assertNotEqual(Stage().call.id, Stage().call.id)
        self.assertIsInstance(Stage().call.id, UUID)
