"""Tests of voxrec.calls.caller_connection: what the caller gets before and at the answer."""

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import CallFixture
from tests.calls.test_call_machine import ANNOUNCE, ANSWER, END_CALLER, END_LEG, RECORD, answered, ringing, variables_of
from voxrec.model import RecordPrompt

RING = ["POST channels/CALLER/ring"]
JOIN = ["POST bridges/voxrec-CALL-bridge/addChannel"]
EARLY_MEDIA = [
    "POST bridges/voxrec-CALL-bridge/play/voxrec-CALL-early",
    "POST channels/CALLER/play/voxrec-CALL-progress",
    *JOIN,
]
STOP_EARLY_MEDIA = ["DELETE playbacks/voxrec-CALL-early"]


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
