"""Tests of voxrec.calls.channels.caller_connection: what the caller gets before and at the answer."""

from dataclasses import replace
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import CallFixture
from tests.calls.test_call_machine import (
    ANNOUNCE,
    ANSWER,
    DIAL,
    END_BRIDGE,
    END_CALLER,
    END_LEG,
    PLACE,
    RECORD,
    answered,
    ringing,
    variables_of,
)
from voxrec.calls.signalling.causes import Cause
from voxrec.model import RecordPrompt

RING = ["POST channels/CALLER/ring"]
JOIN = ["POST bridges/voxrec-CALL-bridge/addChannel"]
EARLY_MEDIA = [
    "POST bridges/voxrec-CALL-bridge/play/voxrec-CALL-early",
    "POST channels/CALLER/play/voxrec-CALL-progress",
    *JOIN,
]
STOP_EARLY_MEDIA = ["DELETE playbacks/voxrec-CALL-early"]
WAIT = ["POST bridges/voxrec-CALL-waiting", "POST bridges/voxrec-CALL-waiting/addChannel"]
END_WAITING = ["DELETE bridges/voxrec-CALL-waiting"]


class CallerConnectionTests(SynchronousTestCase):
    def new_call(self, **profile: object) -> CallFixture:
        fixture = ringing(**profile)
        fixture.take_requests()
        return fixture

    def joined_channel(self, fixture: CallFixture) -> str:
        return fixture.asterisk.queries[f"POST bridges/voxrec-{fixture.call.id}-bridge/addChannel"]["channel"]

    def test_the_leg_is_alone_in_the_bridge_until_it_answers(self) -> None:
        fixture = ringing()
        self.assertEqual(self.joined_channel(fixture), f"voxrec-{fixture.call.id}-leg")
        fixture.take_requests()
        fixture.call.inputs.leg_answered()
        self.assertEqual(fixture.take_requests()[:2], ANSWER)
        self.assertEqual(self.joined_channel(fixture), "1700.1")

    def test_ringing_is_passed_once(self) -> None:
        fixture = self.new_call()
        fixture.call.inputs.leg_rings()
        fixture.call.inputs.leg_rings()
        self.assertEqual(fixture.take_requests(), RING)

    def test_early_media(self) -> None:
        fixture = self.new_call(record=False)
        fixture.call.inputs.leg_rings()
        fixture.call.leg_progressed(fixture.call.leg)
        fixture.call.leg_progressed(fixture.call.leg)
        self.assertEqual(fixture.take_requests(), RING + EARLY_MEDIA)
        self.assertEqual(self.joined_channel(fixture), "1700.1")
        fixture.call.inputs.leg_answered()
        self.assertEqual(fixture.take_requests()[:2], ANSWER[:1] + STOP_EARLY_MEDIA)

    def test_answer_while_early_media_begins(self) -> None:
        fixture = self.new_call(record=False)
        fixture.asterisk.delayed.add("voxrec-" + str(fixture.call.id) + "-early")
        fixture.call.leg_progressed(fixture.call.leg)
        fixture.call.inputs.leg_answered()
        fixture.asterisk.respond()
        requests = [request for request in fixture.take_requests() if "variable" not in request]
        self.assertEqual(requests, EARLY_MEDIA[:1] + ANSWER[:1] + EARLY_MEDIA[1:] + STOP_EARLY_MEDIA)

    def test_the_call_ends_while_early_media_begins(self) -> None:
        for end in ("caller_hung_up", "detach"):
            with self.subTest(end):
                fixture = self.new_call(record=False)
                fixture.asterisk.delayed.add(f"voxrec-{fixture.call.id}-early")
                fixture.call.leg_progressed(fixture.call.leg)
                if end == "detach":
                    fixture.call.inputs.detach()
                else:
                    fixture.call.inputs.caller_hung_up(16)
                    fixture.call.inputs.caller_left()
                fixture.take_requests()
                fixture.asterisk.respond()
                requests = fixture.take_requests()
                self.assertEqual([request for request in requests if request in EARLY_MEDIA], [])

    def test_early_media_that_fails(self) -> None:
        fixture = self.new_call(record=False)
        fixture.asterisk.errors = {"-early": 404}
        fixture.call.leg_progressed(fixture.call.leg)
        self.assertEqual(fixture.take_requests(), EARLY_MEDIA[:1])
        fixture.call.inputs.leg_answered()
        self.assertEqual(fixture.take_requests()[:3], ANSWER[:1] + STOP_EARLY_MEDIA + JOIN)

    def test_playbacks_of_early_media_are_no_beeps(self) -> None:
        fixture = self.new_call(record_beep_at_start=True)
        for role in ("early", "progress"):
            fixture.call.playback_finished(role, complete=True)
        self.assertEqual(fixture.take_requests(), [])

    def test_a_refused_caller_that_hears_early_media(self) -> None:
        """Its cause would be lost in the bridge, so that the dialplan refuses it."""
        for early_media in (False, True):
            fixture = self.new_call(record=False)
            if early_media:
                fixture.call.leg_progressed(fixture.call.leg)
            fixture.call.leg_refused(fixture.call.leg, 486)
            fixture.call.leg_destroyed(fixture.call.leg, 17)
            refusal = "POST channels/CALLER/continue" if early_media else "DELETE channels/CALLER"
            self.assertIn(refusal, fixture.take_requests())

    def test_the_announcement_waits_for_the_caller(self) -> None:
        fixture = self.new_call(record_prompt=RecordPrompt.DEFAULT)
        fixture.asterisk.delayed.add("addChannel")
        fixture.call.inputs.leg_answered()
        fixture.files.create(fixture.call)
        self.assertEqual(fixture.call.status, "announcing")
        self.assertEqual(fixture.take_requests(), ANSWER + RECORD)
        fixture.asterisk.respond()
        self.assertEqual(fixture.take_requests(), ANNOUNCE)

    def test_a_caller_that_cannot_be_connected_is_released(self) -> None:
        fixture = self.new_call()
        fixture.asterisk.errors = {"addChannel": 500}
        fixture.call.inputs.leg_answered()
        self.assertEqual(fixture.take_requests()[-2:], END_CALLER + END_LEG)
        self.assertEqual(fixture.call.representation().hangup_by, "voxrec")

    def test_jitter_buffers(self) -> None:
        for enabled, record in ((True, True), (True, False), (False, True)):
            fixture = CallFixture(record=record)
            fixture.call.data.settings = replace(fixture.call.data.settings, jitter_buffer=enabled)
            fixture.call.inputs.begin()
            fixture.call.inputs.leg_entered()
            fixture.call.inputs.leg_answered()
            self.assertEqual("JITTERBUFFER(adaptive)" in variables_of(fixture), enabled and record)
            commands = fixture.asterisk.queries.get("POST channels/1700.1/variable", {})
            self.assertEqual(commands.get("variable") == "JITTERBUFFER(adaptive)", enabled and record)

    def test_progress_after_the_answer_is_ignored(self) -> None:
        fixture = answered()
        fixture.take_requests()
        fixture.call.leg_progressed(fixture.call.leg)
        self.assertEqual(fixture.take_requests(), [])


class WaitingCallerTests(SynchronousTestCase):
    """Versions of Asterisk in which a channel that is in no bridge executes commands with a delay."""

    def new_call(self, **profile: Any) -> CallFixture:
        fixture = CallFixture(**profile)
        fixture.asterisk.responses["GET asterisk/info"] = b'{"system": {"version": "16.28.0~dfsg"}}'
        self.successResultOf(ensureDeferred(fixture.client.detect_capabilities()))
        fixture.take_requests()
        return fixture

    def ringing(self, **profile: Any) -> CallFixture:
        fixture = self.new_call(**profile)
        fixture.call.inputs.begin()
        fixture.call.inputs.leg_entered()
        fixture.take_requests()
        return fixture

    def hang_up(self, fixture: CallFixture) -> None:
        fixture.call.inputs.caller_hung_up(Cause.NORMAL)
        fixture.call.leg_destroyed(fixture.call.leg, Cause.NORMAL)

    def test_the_caller_waits_in_a_bridge_of_its_own(self) -> None:
        fixture = self.new_call()
        fixture.call.inputs.begin()
        self.assertEqual(fixture.take_requests(), WAIT + PLACE)
        inside = fixture.asterisk.queries[f"POST bridges/voxrec-{fixture.call.id}-waiting/addChannel"]
        self.assertEqual(inside, {"channel": "1700.1"})

    def test_the_bridge_is_destroyed_when_the_caller_has_left_it(self) -> None:
        fixture = self.ringing()
        fixture.asterisk.delayed.add("addChannel")
        fixture.call.inputs.leg_answered()
        self.assertEqual(fixture.take_requests(), ANSWER + RECORD)
        fixture.asterisk.respond()
        self.assertEqual(fixture.take_requests(), END_WAITING)

    def test_the_bridge_is_destroyed_once(self) -> None:
        fixture = self.ringing(record=False)
        fixture.call.inputs.leg_answered()
        fixture.take_requests()
        self.hang_up(fixture)
        self.assertEqual(fixture.take_requests(), END_LEG + END_BRIDGE)

    def test_the_bridge_is_destroyed_with_a_call_that_is_not_answered(self) -> None:
        fixture = self.ringing()
        self.hang_up(fixture)
        self.assertEqual(fixture.take_requests(), END_LEG + END_BRIDGE + END_WAITING)

    def test_the_far_end_is_dialled_when_the_caller_waits(self) -> None:
        fixture = self.new_call()
        fixture.asterisk.delayed.add("addChannel")
        fixture.call.inputs.begin()
        fixture.call.inputs.leg_entered()
        self.assertEqual(fixture.take_requests(), WAIT + PLACE + DIAL[:1])
        fixture.asterisk.responses_due.pop().callback(None)  # the leg is in its bridge
        self.assertEqual(fixture.take_requests(), [])
        fixture.asterisk.respond()
        self.assertEqual(fixture.take_requests(), DIAL[1:])

    def test_a_call_that_ends_before_the_caller_waits(self) -> None:
        fixture = self.new_call()
        fixture.asterisk.delayed.add(f"voxrec-{fixture.call.id}-waiting")
        fixture.call.inputs.begin()
        self.hang_up(fixture)
        self.assertNotIn(END_WAITING[0], fixture.take_requests())
        fixture.asterisk.respond()
        self.assertEqual(fixture.take_requests(), END_WAITING)  # the caller's channel does not exist any more

    def test_another_process_has_the_call_before_the_caller_waits(self) -> None:
        fixture = self.new_call()
        fixture.asterisk.delayed.add(f"voxrec-{fixture.call.id}-waiting")
        fixture.call.inputs.begin()
        fixture.call.inputs.detach()
        fixture.take_requests()
        fixture.asterisk.respond()
        self.assertEqual(fixture.take_requests(), [])

    def test_a_waiting_caller_is_refused_by_the_dialplan(self) -> None:
        fixture = self.ringing()
        fixture.call.leg_refused(fixture.call.leg, 486)
        fixture.call.leg_destroyed(fixture.call.leg, 17)
        self.assertEqual(fixture.take_requests(), ["POST channels/CALLER/continue"])
        self.assertEqual(fixture.asterisk.queries["POST channels/1700.1/continue"]["extension"], "486*17")

    def test_a_caller_that_cannot_wait_is_called_for_nevertheless(self) -> None:
        fixture = self.new_call()
        fixture.asterisk.errors = {"-waiting": 500}
        fixture.call.inputs.begin()
        fixture.call.inputs.leg_entered()
        self.assertEqual(fixture.take_requests(), WAIT[:1] + PLACE + DIAL)
        fixture.call.inputs.leg_answered()
        self.assertEqual(fixture.take_requests()[:2], ANSWER)

    def test_early_media(self) -> None:
        fixture = self.ringing(record=False)
        fixture.call.leg_progressed(fixture.call.leg)
        self.assertEqual(fixture.take_requests(), EARLY_MEDIA)
        fixture.call.inputs.leg_answered()
        requests = [request for request in fixture.take_requests() if "variable" not in request]
        self.assertEqual(requests, ANSWER[:1] + STOP_EARLY_MEDIA + END_WAITING)

    def test_a_caller_whose_connection_is_not_known_stays_in_the_bridge(self) -> None:
        fixture = self.ringing(record=False)
        fixture.asterisk.lost.add("addChannel")
        fixture.call.inputs.leg_answered()
        self.assertNotIn(END_WAITING[0], fixture.take_requests())
        self.hang_up(fixture)
        self.assertEqual(fixture.take_requests(), END_LEG + END_BRIDGE + END_WAITING)
