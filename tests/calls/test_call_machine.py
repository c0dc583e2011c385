"""Tests of voxrec.calls.call_machine: the commands in every state of a call."""

from typing import Any
from uuid import UUID

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import INBOUND, SETTINGS, CallFixture
from voxrec.ari.transport import AriResponseError
from voxrec.calls.channels.takeover_state import CALL_VARIABLE, decode_takeover_state
from voxrec.calls.signalling.causes import Cause
from voxrec.calls.transfers.transfer_core import TransferRequest
from voxrec.model import RecordingState, RecordPrompt, Side

PLACE = ["POST bridges/voxrec-CALL-bridge", "POST channels/create"]
DIAL = ["POST bridges/voxrec-CALL-bridge/addChannel", "POST channels/voxrec-CALL-leg/dial"]
ANSWER = ["POST channels/CALLER/answer", "POST bridges/voxrec-CALL-bridge/addChannel"]
RECORD = ["MixMonitor CALLER"]
END_CALLER = ["DELETE channels/CALLER"]
END_LEG = ["DELETE channels/voxrec-CALL-leg"]
END_BRIDGE = ["DELETE bridges/voxrec-CALL-bridge"]
ANNOUNCE = ["POST bridges/voxrec-CALL-bridge/play/voxrec-CALL-announcement"]
WHISPER = [
    "POST channels/CALLER/snoop/voxrec-CALL-whisper",
    "POST channels/voxrec-CALL-whisper/play/voxrec-CALL-beep",
]


def variables_of(fixture: CallFixture) -> dict[str, str]:
    """Return the variables with which the leg was created."""
    body: Any = fixture.asterisk.bodies["POST channels/create"]
    return dict(body["variables"])


def placed(**fields: Any) -> CallFixture:
    fixture = CallFixture(**fields)
    fixture.call.inputs.begin()
    return fixture


def ringing(**fields: Any) -> CallFixture:
    fixture = placed(**fields)
    fixture.call.inputs.leg_entered()
    return fixture


def answered(**fields: Any) -> CallFixture:
    fixture = ringing(**fields)
    fixture.call.inputs.leg_answered()
    return fixture


def talking(**fields: Any) -> CallFixture:
    fixture = answered(**fields)
    if fixture.call.recorder is not None:
        fixture.files.create(fixture.call)
    fixture.take_requests()
    return fixture


class PlacingTests(SynchronousTestCase):
    def test_commands(self) -> None:
        fixture = placed()
        self.assertEqual(fixture.take_requests(), PLACE)
        fixture.call.inputs.leg_entered()
        self.assertEqual(fixture.take_requests(), DIAL)
        self.assertEqual(fixture.call.status, "ringing")

    def test_leg_calls_the_remote_sip_uri(self) -> None:
        query = placed().asterisk.queries["POST channels/create"]
        self.assertEqual(query["endpoint"], "PJSIP/trunk/sip:desk@192.0.2.7:5070")
        self.assertEqual(query["originator"], INBOUND.channel)

    def test_headers_for_the_far_end(self) -> None:
        fixture = placed()
        variables = variables_of(fixture)
        self.assertEqual(
            {name: value for name, value in variables.items() if name != CALL_VARIABLE},
            {
                "PJSIP_HEADER(add,X-Voxrec-Call)": str(fixture.call.id),
                "PJSIP_HEADER(add,X-Voxrec-Profile)": str(fixture.call.profile.id),
                "PJSIP_HEADER(add,X-Voxrec-Dialled)": "+4930222",
                "PJSIP_HEADER(add,X-Voxrec-Path)": str(fixture.call.profile.id),
                "PJSIP_HEADER(add,Max-Forwards)": "69",
                "CHANNEL(hangup_handler_push)": "voxrec-report,rtp,1",
                "TRANSFER_CONTEXT": "voxrec-transfer",
            },
        )

    def test_leg_has_all_that_another_process_needs(self) -> None:
        fixture = placed()
        known = decode_takeover_state(variables_of(fixture)[CALL_VARIABLE])
        assert known is not None
        self.assertEqual((known.call_id, known.recording_id), (fixture.call.id, fixture.call.recording_id))
        self.assertEqual(
            (known.caller, known.dialled, known.profile), (INBOUND.channel, "+4930222", fixture.call.profile)
        )

    def test_leg_that_cannot_be_created_is_503(self) -> None:
        fixture = CallFixture()
        fixture.asterisk.errors = {"channels/create": 500, "-leg": 404}
        fixture.call.inputs.begin()
        self.assertEqual(fixture.take_requests(), PLACE + END_CALLER + END_LEG)
        self.assertEqual(fixture.asterisk.queries["DELETE channels/1700.1"], {"reason": "congestion"})
        fixture.call.inputs.caller_hung_up(Cause.NORMAL)
        self.assertEqual(fixture.over, [fixture.call])

    def test_leg_that_does_not_enter_is_503(self) -> None:
        fixture = placed()
        fixture.take_requests()
        fixture.clock.advance(5)
        self.assertEqual(fixture.take_requests(), END_CALLER + END_LEG)
        self.assertEqual(fixture.asterisk.queries["DELETE channels/1700.1"], {"reason": "congestion"})


class RefusalTests(SynchronousTestCase):
    def assert_refused(self, fixture: CallFixture, reason: str) -> None:
        self.assertEqual(fixture.take_requests()[-1:], END_CALLER)
        self.assertEqual(fixture.asterisk.queries["DELETE channels/1700.1"], {"reason": reason})
        fixture.call.inputs.caller_hung_up(Cause.NORMAL)
        self.assertEqual(fixture.over, [fixture.call])
        self.assertEqual(fixture.take_requests(), END_BRIDGE)
        self.assertEqual(fixture.sink.recordings, [])

    def test_busy(self) -> None:
        fixture = ringing()
        fixture.call.inputs.leg_hung_up(Cause.BUSY)
        self.assert_refused(fixture, "busy")

    def test_leg_that_was_never_created_is_503_for_another_node(self) -> None:
        for fail in (lambda inputs: inputs.leg_hung_up(0), lambda inputs: inputs.setup_failed()):
            fixture = placed()
            fail(fixture.call.inputs)
            self.assertEqual(fixture.asterisk.queries["DELETE channels/1700.1"], {"reason": "congestion"})

    def test_a_failure_after_the_far_end_was_called_does_not_let_another_node_call_it(self) -> None:
        """The cause of this 503 is not 34, by which a SIP proxy passes the call to another node."""
        for fail in (lambda inputs: inputs.leg_hung_up(0), lambda inputs: inputs.setup_failed()):
            fixture = ringing()
            fail(fixture.call.inputs)
            self.assertEqual(fixture.asterisk.queries["POST channels/1700.1/continue"]["extension"], "503*42")

    def test_another_node_has_the_call(self) -> None:
        for make in (placed, ringing):
            fixture = make()
            fixture.call.inputs.superseded()
            self.assertEqual(fixture.asterisk.queries["POST channels/1700.1/continue"]["extension"], "482*25")
            self.assertEqual(fixture.call.status, "clearing")

    def test_leg_that_ends_before_it_enters(self) -> None:
        fixture = placed()
        fixture.call.inputs.leg_hung_up(Cause.UNALLOCATED)
        self.assert_refused(fixture, "unallocated")

    def test_no_answer(self) -> None:
        fixture = ringing()
        fixture.call.inputs.leg_rings()
        fixture.take_requests()
        fixture.clock.advance(19)
        self.assertEqual(fixture.take_requests(), [])
        fixture.clock.advance(1)
        self.assertEqual(fixture.take_requests(), END_CALLER + END_LEG)
        self.assertEqual(fixture.asterisk.queries["DELETE channels/1700.1"], {"reason": "no_answer"})

    def test_no_response(self) -> None:
        fixture = ringing()
        fixture.clock.advance(20)
        self.assertEqual(fixture.asterisk.queries["DELETE channels/1700.1"], {"reason": "timeout"})

    def test_announcement_without_answer(self) -> None:
        fixture = ringing()
        fixture.call.leg_progressed(fixture.call.leg)
        fixture.clock.advance(20)
        self.assertEqual(fixture.asterisk.queries["DELETE channels/1700.1"], {"reason": "no_answer"})

    def test_progress_without_media_is_a_ringing_tone_for_the_caller(self) -> None:
        for response, rings in (("SIP 183 Session Progress", 1), ("SIP 182 Queued", 1), ("SIP 100 Trying", 0), ("", 0)):
            fixture = ringing()
            fixture.call.leg_entered(fixture.call.leg, "PJSIP/trunk-1")
            variable = f"GET channels/{fixture.call.leg}/variable"
            fixture.asterisk.responses[variable] = msgspec.json.encode({"value": response})
            fixture.take_requests()
            fixture.clock.advance(0.9)
            self.assertEqual(fixture.take_requests(), [])
            fixture.clock.advance(0.1)
            self.assertEqual(fixture.take_requests().count("POST channels/CALLER/ring"), rings, response)
            fixture.clock.pump([1.0] * 5)
            self.assertEqual(fixture.take_requests().count("POST channels/CALLER/ring"), 0, response)

    def test_forwarding_is_reported_to_the_caller(self) -> None:
        fixture = ringing()
        fixture.call.leg_entered(fixture.call.leg, "PJSIP/trunk-1")
        variable = f"GET channels/{fixture.call.leg}/variable"
        fixture.asterisk.responses[variable] = msgspec.json.encode({"value": "SIP 181 Call Is Being Forwarded"})
        fixture.take_requests()
        fixture.clock.advance(1)
        requests = fixture.take_requests()
        self.assertEqual(requests[-2:], ["POST channels/CALLER/variable", "POST channels/CALLER/ring"])
        query = fixture.asterisk.queries["POST channels/1700.1/variable"]
        self.assertEqual(query, {"variable": "REDIRECTING(reason)", "value": "unknown"})

    def test_progress_after_some_seconds(self) -> None:
        fixture = ringing()
        fixture.call.leg_entered(fixture.call.leg, "PJSIP/trunk-1")
        fixture.clock.advance(1)
        variable = f"GET channels/{fixture.call.leg}/variable"
        fixture.asterisk.responses[variable] = b'{"value": "SIP 183 Session Progress"}'
        fixture.clock.advance(2)
        self.assertIn("POST channels/CALLER/ring", fixture.take_requests())

    def test_early_media_are_no_silence(self) -> None:
        fixture = ringing()
        fixture.call.leg_entered(fixture.call.leg, "PJSIP/trunk-1")
        fixture.call.leg_progressed(fixture.call.leg)
        fixture.take_requests()
        fixture.clock.pump([1.0] * 10)
        self.assertEqual(fixture.take_requests(), [])

    def test_far_end_that_rings_is_not_silent(self) -> None:
        fixture = ringing()
        fixture.call.inputs.leg_rings()
        fixture.take_requests()
        fixture.clock.pump([1.0] * 10)
        self.assertEqual(fixture.take_requests(), [])

    def test_caller_hangs_up_while_it_rings(self) -> None:
        fixture = ringing()
        fixture.take_requests()
        fixture.call.inputs.caller_hung_up(Cause.NORMAL)
        self.assertEqual(fixture.take_requests(), END_LEG)
        fixture.call.inputs.leg_hung_up(Cause.NORMAL)
        self.assertEqual(fixture.take_requests(), END_BRIDGE)
        self.assertEqual(fixture.over, [fixture.call])

    def test_leg_that_enters_after_the_caller_hung_up_is_ended(self) -> None:
        fixture = placed()
        fixture.call.inputs.caller_hung_up(Cause.NORMAL)
        fixture.take_requests()
        fixture.call.inputs.leg_entered()
        self.assertEqual(fixture.take_requests(), END_LEG)


class AnsweredTests(SynchronousTestCase):
    def test_a_caller_who_was_answered_is_not_refused_whatever_the_cause(self) -> None:
        for end in (lambda inputs: inputs.leg_hung_up(42), lambda inputs: inputs.replacement_failed()):
            fixture = talking()
            end(fixture.call.inputs)
            self.assertIn("DELETE channels/CALLER", fixture.take_requests())

    def test_call_is_over_when_both_channels_and_both_files_are_closed(self) -> None:
        fixture = talking()
        fixture.clock.advance(60)
        fixture.call.inputs.caller_hung_up(Cause.NORMAL)
        self.assertEqual(fixture.take_requests(), END_LEG)
        fixture.call.inputs.leg_hung_up(Cause.NORMAL)
        self.assertEqual(fixture.over, [])
        fixture.files.close(fixture.call)
        self.assertEqual(fixture.over, [fixture.call])
        self.assertEqual(fixture.take_requests(), END_BRIDGE)
        last = fixture.sink.recordings[-1]
        assert last.started_at is not None
        assert last.ended_at is not None
        self.assertEqual(last.state, RecordingState.PROCESSING)
        self.assertEqual((last.ended_at - last.started_at).total_seconds(), 60)
        self.assertEqual(last.hangup_cause, 16)
        self.assertEqual(last.timeline[-1].by, "caller")
        self.assertEqual(fixture.clock.getDelayedCalls(), [])

    def test_far_end_hangs_up(self) -> None:
        fixture = talking()
        fixture.call.inputs.leg_hung_up(Cause.NORMAL)
        self.assertEqual(fixture.take_requests(), END_CALLER)
        self.assertEqual(fixture.call.status, "clearing")

    def test_release(self) -> None:
        fixture = talking()
        fixture.call.inputs.release(Cause.NORMAL)
        self.assertEqual(fixture.take_requests(), END_CALLER + END_LEG)
        recording = fixture.recording
        self.assertEqual(recording.timeline[-1].by, "voxrec")


class DurationTests(SynchronousTestCase):
    def test_ring_timeout_of_the_profile(self) -> None:
        fixture = ringing(ring_timeout_seconds=7)
        fixture.take_requests()
        fixture.clock.advance(6.9)
        self.assertEqual(fixture.take_requests(), [])
        fixture.clock.advance(0.1)
        self.assertEqual(fixture.take_requests(), END_CALLER + END_LEG)

    def test_maximum_duration_counts_from_the_answer(self) -> None:
        fixture = ringing(max_call_seconds=60, record=False)
        fixture.clock.advance(10)
        fixture.call.inputs.leg_answered()
        fixture.clock.advance(59)
        self.assertEqual(fixture.call.status, "talking")
        fixture.clock.advance(1)
        self.assertEqual((fixture.call.status, fixture.call.representation().hangup_by), ("clearing", "voxrec"))

    def test_maximum_duration_is_reached_before_the_parties_talk(self) -> None:
        fixture = answered(max_call_seconds=2)
        self.assertEqual(fixture.call.status, "connecting")
        fixture.clock.advance(2)
        self.assertEqual((fixture.call.status, fixture.call.representation().hangup_by), ("clearing", "voxrec"))
        fixture = talking(max_call_seconds=60, record_prompt=RecordPrompt.DEFAULT)
        fixture.clock.advance(59)
        self.assertEqual(fixture.call.status, "announcing")
        fixture.clock.advance(1)
        self.assertEqual(fixture.call.status, "clearing")

    def test_recording_on_demand_does_not_extend_the_maximum_duration(self) -> None:
        fixture = answered(max_call_seconds=60, record=False, record_prompt=RecordPrompt.DEFAULT)
        fixture.clock.advance(59)
        fixture.call.record()
        fixture.files.create(fixture.call)
        self.assertEqual(fixture.call.status, "announcing")
        fixture.clock.advance(1)
        self.assertEqual(fixture.call.status, "clearing")

    def test_settings_limit_the_maximum_duration(self) -> None:
        fixture = talking(max_call_seconds=99_999)
        fixture.clock.advance(SETTINGS.max_call)
        self.assertEqual(fixture.call.status, "clearing")


class UnrecordedCallTests(SynchronousTestCase):
    def test_call_without_recording(self) -> None:
        fixture = answered(record=False, record_prompt=RecordPrompt.DEFAULT, record_beep_at_start=True)
        # the time of the answer is kept in Asterisk, because no recording says it
        self.assertEqual(fixture.take_requests(), PLACE + DIAL + ANSWER + ["POST channels/CALLER/variable"])
        self.assertEqual(fixture.call.status, "talking")
        fixture.call.inputs.caller_hung_up(Cause.NORMAL)
        fixture.call.inputs.leg_hung_up(Cause.NORMAL)
        self.assertEqual(fixture.over, [fixture.call])
        self.assertEqual(fixture.sink.recordings, [])
        self.assertEqual(fixture.clock.getDelayedCalls(), [])


class DetachTests(SynchronousTestCase):
    def test_no_leg_is_created_when_the_bridge_exists_late(self) -> None:
        """Over HTTP, the leg is created when Asterisk has confirmed the bridge."""
        for end in (lambda call: call.inputs.detach(), lambda call: call.inputs.caller_hung_up(16)):
            fixture = CallFixture()
            fixture.asterisk.delayed.add(f"voxrec-{fixture.call.id}-bridge")
            fixture.call.inputs.begin()
            end(fixture.call)
            fixture.asterisk.respond()
            self.assertNotIn("POST channels/create", fixture.take_requests())

    def test_recording_that_was_started_is_left_to_the_next_process(self) -> None:
        for delayed in (False, True):
            fixture = ringing()
            fixture.asterisk.delayed.update(["MixMonitor"] if delayed else [])
            fixture.call.inputs.leg_answered()
            fixture.take_requests()
            fixture.call.inputs.detach()
            fixture.asterisk.respond()
            fixture.clock.advance(60)
            self.assertEqual((fixture.take_requests(), fixture.clock.getDelayedCalls()), ([], []))
            self.assertEqual(fixture.sink.recordings[-1].state, RecordingState.RECORDING)

    def test_recording_that_could_not_start_is_left_to_the_next_process(self) -> None:
        """There is no file, but the row: the next process begins to record as soon as AMI is connected."""
        fixture = ringing()
        fixture.asterisk.ready = False
        fixture.call.inputs.leg_answered()
        fixture.call.inputs.detach()
        last = fixture.sink.recordings[-1]
        self.assertEqual(last.state, RecordingState.RECORDING)
        self.assertEqual([entry.event for entry in last.timeline], ["answered", "recording.failed"])
        self.assertEqual(fixture.clock.getDelayedCalls(), [])

    def test_refused_command_does_not_end_the_call(self) -> None:
        fixture = CallFixture()
        fixture.asterisk.delayed.add("create")
        fixture.call.inputs.begin()
        fixture.call.inputs.detach()
        fixture.asterisk.fail_response(AriResponseError("POST channels/create", 500, "refused by the test"))
        self.assertEqual([request for request in fixture.asterisk.requests if request.startswith("DELETE")], [])
        self.assertEqual((fixture.over, fixture.clock.getDelayedCalls()), ([], []))


class DuplicateInputTests(SynchronousTestCase):
    """Events that are duplicated, late or out of order neither raise nor repeat a command."""

    INPUTS = (
        lambda fixture: fixture.call.inputs.leg_entered(),
        lambda fixture: fixture.call.inputs.leg_answered(),
        lambda fixture: fixture.call.inputs.leg_hung_up(16),
        lambda fixture: fixture.call.inputs.caller_hung_up(16),
        lambda fixture: fixture.call.inputs.setup_failed(),
        lambda fixture: fixture.call.inputs.release(16),
        lambda fixture: fixture.call.inputs.superseded(),
        lambda fixture: fixture.files.create(fixture.call),
        lambda fixture: fixture.files.create(fixture.call, [Side.CALLER]),
        lambda fixture: fixture.files.close(fixture.call),
        lambda fixture: fixture.call.stop_recording("disk-full"),
        lambda fixture: fixture.call.manager_connected(),
        lambda fixture: fixture.call.playback_finished("announcement", complete=True),
        lambda fixture: fixture.call.playback_finished("beep-1", complete=True),
    )

    def test_every_input_twice_in_every_state(self) -> None:
        for make in (placed, ringing, answered, talking):
            for first in self.INPUTS:
                for second in self.INPUTS:
                    fixture = make(record_prompt=RecordPrompt.DEFAULT, record_beep_at_start=True)
                    first(fixture)
                    second(fixture)
                    first(fixture)
                    self.end(fixture)

    def end(self, fixture: CallFixture) -> None:
        fixture.call.inputs.caller_hung_up(16)
        fixture.call.inputs.leg_hung_up(16)
        fixture.clock.advance(10)
        self.assertEqual(fixture.over, [fixture.call])
        self.assertEqual(fixture.clock.getDelayedCalls(), [])
        self.assertEqual(fixture.take_requests().count(END_BRIDGE[0]), 1)

    def test_transfer_twice_in_every_state(self) -> None:
        for make in (placed, ringing, answered, talking):
            for other in self.INPUTS:
                fixture = make()
                fixture.call.transferred(TransferRequest("sip:third@192.0.2.9", "local;2"))
                other(fixture)
                fixture.call.transferred(TransferRequest("sip:fourth@192.0.2.9", "local-2;2"))
                other(fixture)
                for leg in (*fixture.call.former_legs, fixture.call.leg):
                    fixture.call.leg_destroyed(leg, 16)
                self.end(fixture)
                self.assertEqual(fixture.call.former_legs, [])

    def test_ids_are_unique(self) -> None:
        self.assertNotEqual(CallFixture().call.id, CallFixture().call.id)
        self.assertIsInstance(CallFixture().call.id, UUID)
