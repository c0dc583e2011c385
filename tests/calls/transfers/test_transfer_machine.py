"""Tests of transfers in every state of a call: what exists in Asterisk afterwards, and whether the call goes on."""

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import CallFixture
from tests.calls.test_call_machine import END_CALLER, END_LEG, answered, placed, ringing, talking
from voxrec.ari.transport import AriResponseError
from voxrec.calls.channels.takeover_state import CALL_VARIABLE, decode_takeover_state
from voxrec.calls.signalling.causes import Cause
from voxrec.calls.transfers.transfer_core import TransferRequest
from voxrec.errors import AsteriskUnavailable
from voxrec.model import RecordPrompt

REQUEST = TransferRequest("sip:third@192.0.2.9", "local;2")
SECOND_REQUEST = TransferRequest("sip:fourth@192.0.2.9", "local-2;2")
CREATE_LEG = ["POST channels/create"]
JOIN = ["POST bridges/voxrec-CALL-bridge/addChannel"]
DIAL_SECOND_LEG = ["POST channels/voxrec-CALL-leg2/dial"]
END_SECOND_LEG = ["DELETE channels/voxrec-CALL-leg2"]
END_PLACEHOLDER = ["DELETE channels/local;2"]
END_SECOND_PLACEHOLDER = ["DELETE channels/local-2;2"]
ERROR = AriResponseError("POST", 500, "refused by the test")


def announcing() -> CallFixture:
    fixture = answered(record_prompt=RecordPrompt.DEFAULT)
    fixture.files.create(fixture.call)
    return fixture


def leg_of(fixture: CallFixture, number: int = 2) -> str:
    return f"voxrec-{fixture.call.id}-leg{number}"


def requested(make: Callable[[], CallFixture] = talking) -> CallFixture:
    """Return a call whose transfer was requested: the leg to the target is being created."""
    fixture = make()
    fixture.take_requests()
    fixture.call.transferred(REQUEST)
    return fixture


def target_ringing(make: Callable[[], CallFixture] = talking) -> CallFixture:
    """Return a call whose transfer target rings."""
    fixture = requested(make)
    fixture.call.leg_entered(leg_of(fixture), "PJSIP/trunk-3")
    return fixture


def completed() -> CallFixture:
    """Return a call whose transfer target has answered."""
    fixture = target_ringing()
    fixture.call.inputs.leg_answered()
    fixture.call.leg_destroyed(f"voxrec-{fixture.call.id}-leg", Cause.NORMAL)
    fixture.take_requests()
    return fixture


def ending(make: Callable[[], CallFixture] = talking) -> CallFixture:
    fixture = make()
    fixture.call.inputs.release(Cause.NORMAL)
    return fixture


def over() -> CallFixture:
    fixture = ending()
    fixture.call.inputs.caller_hung_up(Cause.NORMAL)
    fixture.call.inputs.leg_hung_up(Cause.NORMAL)
    fixture.files.close(fixture.call)
    return fixture


class TransferTestCase(SynchronousTestCase):
    def end(self, fixture: CallFixture) -> None:
        """Let everything end that the call has hung up, and check that the call is over and nothing is left."""
        call = fixture.call
        for channel in [*call.former_legs, call.leg]:
            call.leg_destroyed(channel, Cause.NORMAL)
        call.inputs.caller_hung_up(Cause.NORMAL)
        fixture.files.close(call)
        self.assertEqual((fixture.over, fixture.clock.getDelayedCalls()), ([call], []))
        self.assertEqual(fixture.take_requests()[-1], "DELETE bridges/voxrec-CALL-bridge")


class SuccessTests(TransferTestCase):
    def test_commands(self) -> None:
        fixture = requested()
        self.assertEqual(fixture.take_requests(), CREATE_LEG)
        self.assertEqual(fixture.asterisk.queries["POST channels/create"]["endpoint"], f"PJSIP/trunk/{REQUEST.callee}")
        fixture.call.leg_entered(leg_of(fixture), "PJSIP/trunk-3")
        self.assertEqual(fixture.take_requests(), JOIN + DIAL_SECOND_LEG)
        fixture.call.inputs.leg_answered()
        fixture.clock.advance(100)
        self.assertEqual((fixture.take_requests(), fixture.call.status), ([], "talking"))
        self.assertEqual(fixture.call.representation().remote_sip_uri, REQUEST.callee)
        entry = fixture.recording.timeline[-1]
        self.assertEqual((entry.event, entry.by, entry.detail), ("transferred", "callee", REQUEST.callee))

    def test_placeholder_stays_in_a_recorded_call_until_it_ends(self) -> None:
        fixture = completed()
        self.assertEqual(fixture.call.placeholders, [REQUEST.placeholder])
        fixture.call.inputs.release(Cause.NORMAL)
        self.assertEqual(fixture.take_requests(), END_CALLER + END_SECOND_LEG + END_PLACEHOLDER)
        self.end(fixture)

    def test_placeholder_is_removed_from_a_call_that_is_not_recorded(self) -> None:
        fixture = requested(lambda: answered(record=False))
        fixture.take_requests()
        fixture.call.leg_entered(leg_of(fixture), "PJSIP/trunk-3")
        self.assertEqual(fixture.take_requests(), END_PLACEHOLDER + JOIN + DIAL_SECOND_LEG)
        fixture.call.inputs.release(Cause.NORMAL)
        self.assertNotIn(END_PLACEHOLDER[0], fixture.take_requests())

    def test_new_leg_has_all_that_another_process_needs(self) -> None:
        fixture = requested()
        body: Any = fixture.asterisk.bodies["POST channels/create"]
        state = decode_takeover_state(body["variables"][CALL_VARIABLE])
        assert state is not None
        self.assertEqual((state.leg, state.placeholder), (leg_of(fixture), REQUEST.placeholder))

    def test_call_continues_in_every_state_after_the_answer(self) -> None:
        for make, state in ((answered, "connecting"), (announcing, "announcing"), (talking, "talking")):
            fixture = target_ringing(make)
            self.assertEqual(fixture.call.status, state)
            fixture.call.inputs.leg_answered()
            fixture.call.leg_destroyed(f"voxrec-{fixture.call.id}-leg", Cause.NORMAL)
            self.assertEqual(fixture.call.status, state)

    def test_while_the_far_end_rings_its_answer_is_still_to_come(self) -> None:
        """The events about the answer and the transfer concern different channels, and can arrive in any order."""
        fixture = requested(ringing)
        self.assertEqual(fixture.take_requests(), CREATE_LEG)
        fixture.call.leg_entered(leg_of(fixture), "PJSIP/trunk-3")
        self.assertEqual(fixture.take_requests(), END_PLACEHOLDER + JOIN + DIAL_SECOND_LEG)
        fixture.call.inputs.leg_answered()
        self.assertIn("POST channels/CALLER/answer", fixture.take_requests())
        self.assertEqual(fixture.call.status, "connecting")

    def test_second_transfer_after_the_first(self) -> None:
        fixture = completed()
        fixture.call.transferred(SECOND_REQUEST)
        self.assertEqual(fixture.take_requests(), CREATE_LEG)
        fixture.call.leg_entered(leg_of(fixture, 3), "PJSIP/trunk-4")
        self.assertEqual(fixture.take_requests()[:2], END_PLACEHOLDER + JOIN)
        self.assertEqual(fixture.call.placeholders, [SECOND_REQUEST.placeholder])

    def test_target_that_transfers_before_its_answer_is_reported(self) -> None:
        fixture = target_ringing()
        fixture.take_requests()
        fixture.call.transferred(SECOND_REQUEST)
        self.assertEqual(fixture.take_requests(), CREATE_LEG)
        self.assertEqual(fixture.call.leg, leg_of(fixture, 3))

    def test_replaced_leg_that_hangs_up(self) -> None:
        for make in (requested, target_ringing):
            fixture = make()
            fixture.call.leg_destroyed(f"voxrec-{fixture.call.id}-leg", Cause.NORMAL)
            self.assertEqual((fixture.call.status, fixture.call.former_legs), ("talking", []))

    def test_replaced_leg_that_does_not_hang_up_is_ended_with_the_call(self) -> None:
        fixture = target_ringing()
        fixture.take_requests()
        fixture.call.inputs.release(Cause.NORMAL)
        self.assertEqual(fixture.take_requests(), END_CALLER + END_LEG + END_SECOND_LEG + END_PLACEHOLDER)
        self.end(fixture)

    def test_beeps_continue(self) -> None:
        for in_recording, snoops in ((False, 0), (True, 1)):
            fixture = talking(record_beep_interval=15, record_beep_in_recording=in_recording)
            fixture.clock.advance(15)
            fixture.call.transferred(REQUEST)
            fixture.call.leg_entered(leg_of(fixture), "PJSIP/trunk-3")
            fixture.call.inputs.leg_answered()
            fixture.take_requests()
            fixture.clock.advance(15)
            requests = fixture.take_requests()
            self.assertEqual([request.endswith("beep") for request in requests].count(True), 1)
            self.assertEqual(sum("snoop" in request for request in requests), snoops)


class RefusedTests(TransferTestCase):
    """A transfer that is not carried out removes its placeholder, and creates no leg."""

    def test_states_in_which_it_is_refused(self) -> None:
        for make in (placed, ending, lambda: ending(ringing), over):
            fixture = requested(make)
            self.assertEqual(fixture.take_requests(), END_PLACEHOLDER)

    def test_second_transfer_while_the_first_is_in_progress(self) -> None:
        fixture = requested()
        fixture.take_requests()
        fixture.call.transferred(SECOND_REQUEST)
        self.assertEqual(fixture.take_requests(), END_SECOND_PLACEHOLDER)
        fixture.asterisk.delayed.add("addChannel")
        fixture.call.leg_entered(leg_of(fixture), "PJSIP/trunk-3")
        fixture.take_requests()
        fixture.call.transferred(SECOND_REQUEST)
        self.assertEqual(fixture.take_requests(), END_SECOND_PLACEHOLDER)
        fixture.asterisk.respond()
        self.assertEqual(fixture.take_requests(), DIAL_SECOND_LEG)

    def test_new_call_that_ends_before_its_state_is_known(self) -> None:
        fixture = CallFixture()
        fixture.call.transferred(REQUEST)
        self.assertEqual((fixture.take_requests(), fixture.call.placeholders), ([], [REQUEST.placeholder]))
        fixture.call.inputs.found_placing()
        self.assertEqual((fixture.take_requests(), fixture.call.placeholders), (END_PLACEHOLDER, []))


class FailureTests(TransferTestCase):
    """A transfer that fails ends the call: the far end that requested it is gone."""

    def assert_ends(self, fixture: CallFixture, *commands: str) -> None:
        self.assertEqual(fixture.call.status, "clearing")
        requests = fixture.take_requests()
        self.assertEqual([request for request in requests if request.startswith("DELETE")], list(commands))
        self.end(fixture)

    def test_new_leg_hangs_up(self) -> None:
        for make in (requested, target_ringing):
            for cause in (Cause.BUSY, Cause.NORMAL, Cause.NO_ANSWER):
                fixture = make()
                fixture.call.leg_destroyed(leg_of(fixture), cause)
                self.assertEqual(fixture.call.representation().hangup_cause, cause)
                self.assert_ends(fixture, *END_CALLER, *END_LEG, *END_PLACEHOLDER)

    def test_new_leg_does_not_enter(self) -> None:
        fixture = requested()
        fixture.clock.advance(5)
        self.assert_ends(fixture, *END_CALLER, *END_LEG, *END_SECOND_LEG, *END_PLACEHOLDER)

    def test_target_does_not_answer_and_asterisk_does_not_report_it(self) -> None:
        fixture = target_ringing()
        fixture.clock.advance(24)
        self.assertEqual(fixture.call.status, "talking")
        fixture.clock.advance(1)
        self.assert_ends(fixture, *END_CALLER, *END_LEG, *END_SECOND_LEG, *END_PLACEHOLDER)

    def test_command_is_refused(self) -> None:
        for command in ("channels/create", "addChannel", "dial"):
            fixture = talking()
            fixture.asterisk.errors = {command: 500}
            fixture.call.transferred(REQUEST)
            if command != "channels/create":
                fixture.call.leg_entered(leg_of(fixture), "PJSIP/trunk-3")
            self.assert_ends(fixture, *END_CALLER, *END_LEG, *END_SECOND_LEG, *END_PLACEHOLDER)

    def test_leg_that_was_not_created_is_not_waited_for(self) -> None:
        fixture = talking()
        fixture.asterisk.errors = {"channels/create": 500, "-leg2": 404}
        fixture.call.transferred(REQUEST)
        fixture.call.leg_destroyed(f"voxrec-{fixture.call.id}-leg", Cause.NORMAL)
        fixture.call.inputs.caller_hung_up(Cause.NORMAL)
        fixture.files.close(fixture.call)
        self.assertEqual(fixture.over, [fixture.call])

    def test_response_is_lost(self) -> None:
        fixture = talking()
        fixture.asterisk.delayed.add("create")
        fixture.call.transferred(REQUEST)
        fixture.asterisk.fail_response(AsteriskUnavailable("lost"))
        self.assert_ends(fixture, *END_CALLER, *END_LEG, *END_SECOND_LEG, *END_PLACEHOLDER)


class EndOfCallTests(TransferTestCase):
    """The call ends, or another process continues it, while a transfer is in progress."""

    def at_each_step(self) -> list[CallFixture]:
        """Return calls whose transfer waits for the response to each of its commands."""
        fixtures = []
        for command in ("create", "addChannel", "dial"):
            fixture = talking()
            fixture.asterisk.delayed.add(command)
            fixture.call.transferred(REQUEST)
            fixture.call.leg_entered(leg_of(fixture), "PJSIP/trunk-3")
            fixture.take_requests()
            fixtures.append(fixture)
        return fixtures

    def test_caller_hangs_up(self) -> None:
        for fixture in self.at_each_step():
            fixture.call.inputs.caller_hung_up(Cause.NORMAL)
            self.assertEqual(fixture.take_requests(), END_LEG + END_SECOND_LEG + END_PLACEHOLDER)
            fixture.asterisk.respond()
            fixture.clock.advance(9)
            self.assertEqual(fixture.take_requests(), [])
            self.end(fixture)

    def test_caller_hangs_up_and_the_command_fails(self) -> None:
        for fixture in self.at_each_step():
            fixture.call.inputs.caller_hung_up(Cause.NORMAL)
            fixture.take_requests()
            fixture.asterisk.fail_response(ERROR)
            self.assertEqual(fixture.take_requests(), [])
            self.end(fixture)

    def test_detach(self) -> None:
        for fixture in self.at_each_step():
            fixture.call.inputs.detach()
            fixture.asterisk.respond()
            fixture.clock.advance(60)
            self.assertEqual((fixture.take_requests(), fixture.clock.getDelayedCalls()), ([], []))

    def test_detach_and_the_command_fails(self) -> None:
        for fixture in self.at_each_step():
            fixture.call.inputs.detach()
            fixture.asterisk.fail_response(ERROR)
            self.assertEqual((fixture.take_requests(), fixture.clock.getDelayedCalls()), ([], []))

    def test_new_leg_that_enters_late_is_hung_up_again(self) -> None:
        fixture = requested()
        fixture.call.inputs.caller_hung_up(Cause.NORMAL)
        fixture.take_requests()
        fixture.call.leg_entered(leg_of(fixture), "PJSIP/trunk-3")
        self.assertEqual(fixture.take_requests(), END_SECOND_LEG)
        self.end(fixture)
