"""Tests of voxrec.calls.recording.pause_codes and voxrec.calls.announcements.confirmations, in a call."""

from dataclasses import replace
from typing import Any, Final

from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import CallFixture
from tests.calls.recording.test_pause import MUTE
from tests.calls.test_call_machine import ANNOUNCE, answered, placed, ringing, talking
from tests.calls.test_call_recording import announcing, end, timeline
from voxrec.calls.signalling.causes import Cause
from voxrec.calls.transfers.transfer_core import TransferRequest
from voxrec.errors import AsteriskUnavailable
from voxrec.model import RecordingState, RecordPrompt, Side

PAUSE_AND_RESUME: Final[dict[str, Any]] = {"record_pause_code": "*1", "record_resume_code": "*2"}
TOGGLE: Final[dict[str, Any]] = {"record_pause_code": "*1"}


def press(fixture: CallFixture, digits: str, side: Side = Side.CALLER) -> None:
    for digit in digits:
        fixture.call.digit_received(side, digit)


def mute_requests(fixture: CallFixture) -> list[str]:
    return [request for request in fixture.take_requests() if request == MUTE]


class CodeTests(SynchronousTestCase):
    def test_same_code_toggles_the_pause(self) -> None:
        for fields in ({}, {"record_resume_code": "*1"}):
            fixture = talking(record_pause_code="*1", **fields)
            states = []
            for _ in range(3):
                press(fixture, "*1", Side.CALLEE)
                states.append(fixture.recording.state.value)
            self.assertEqual(states, ["paused", "recording", "paused"])
            self.assertEqual(fixture.codes, [("pause", "done"), ("resume", "done"), ("pause", "done")])

    def test_code_twice_before_asterisk_responds_toggles_twice(self) -> None:
        fixture = talking(**TOGGLE)
        fixture.asterisk.delayed = {"MixMonitorMute"}
        press(fixture, "*1", Side.CALLER)
        press(fixture, "*1", Side.CALLEE)
        fixture.asterisk.respond()
        self.assertEqual(fixture.recording.state, RecordingState.RECORDING)
        changes = [(entry.event, entry.by) for entry in fixture.recording.timeline if entry.event != "dtmf"]
        self.assertEqual(changes[1:], [("paused", "caller"), ("resumed", "callee")])

    def test_codes_that_change_nothing(self) -> None:
        fixture = talking(**PAUSE_AND_RESUME)
        press(fixture, "*2")
        self.assertEqual(fixture.recording.state, RecordingState.RECORDING)
        press(fixture, "*1*1")
        self.assertEqual(fixture.recording.state, RecordingState.PAUSED)
        self.assertEqual([event for event, _ in timeline(fixture)].count("paused"), 1)
        self.assertEqual(fixture.codes, [("resume", "done"), ("pause", "done"), ("pause", "done")])

    def test_timeline_does_not_contain_the_digit(self) -> None:
        fixture = talking(record_pause_code="*1")
        press(fixture, "7")
        self.assertEqual(timeline(fixture)[-1], ("dtmf", None))

    def test_code_of_the_party_that_a_transfer_has_added(self) -> None:
        fixture = talking(**TOGGLE)
        press(fixture, "*", Side.CALLEE)
        fixture.call.transferred(TransferRequest("sip:other@192.0.2.8", "1700.9"))
        press(fixture, "1", Side.CALLEE)
        self.assertEqual(fixture.recording.state, RecordingState.RECORDING)
        press(fixture, "*1", Side.CALLEE)
        self.assertEqual(fixture.recording.state, RecordingState.PAUSED)


class EarlyCodeTests(SynchronousTestCase):
    """Codes that are pressed before the parties talk."""

    def start(self, fixture: CallFixture) -> None:
        fixture.files.create(fixture.call)
        fixture.clock.advance(0)

    def test_code_during_the_announcement(self) -> None:
        fixture = announcing(**PAUSE_AND_RESUME)
        press(fixture, "*1")
        self.assertEqual(mute_requests(fixture), [MUTE])
        self.assertEqual((fixture.call.status, fixture.recording.state), ("announcing", RecordingState.PAUSED))
        fixture.call.playback_finished("announcement", complete=True)
        self.assertEqual((fixture.call.status, fixture.recording.state), ("talking", RecordingState.PAUSED))
        press(fixture, "*2")
        self.assertEqual(fixture.recording.state, RecordingState.RECORDING)

    def test_code_before_asterisk_records_is_carried_out_when_it_does(self) -> None:
        for begin in (placed, ringing, answered):
            fixture = begin(record_prompt=RecordPrompt.DEFAULT, **TOGGLE)
            press(fixture, "*1", Side.CALLEE)
            if begin is placed:
                fixture.call.inputs.leg_entered()
            if begin is not answered:
                fixture.call.inputs.leg_answered()
            self.assertEqual((fixture.call.status, mute_requests(fixture)), ("connecting", []), begin)
            self.start(fixture)
            requests = fixture.take_requests()
            self.assertEqual([one for one in requests if one in (MUTE, *ANNOUNCE)], [*ANNOUNCE, MUTE], begin)
            self.assertEqual(fixture.recording.state, RecordingState.PAUSED, begin)
            self.assertEqual(fixture.codes, [("pause", "done")], begin)

    def test_code_that_is_taken_back_before_asterisk_records(self) -> None:
        for fields, digits in ((TOGGLE, "*1*1"), (PAUSE_AND_RESUME, "*1*2")):
            fixture = answered(**fields)
            press(fixture, digits)
            self.start(fixture)
            self.assertEqual((mute_requests(fixture), fixture.recording.state), ([], RecordingState.RECORDING))

    def test_code_while_a_recording_on_demand_starts(self) -> None:
        fixture = answered(record=False, **TOGGLE)
        fixture.call.record()
        press(fixture, "*1")
        self.start(fixture)
        self.assertEqual(fixture.recording.state, RecordingState.PAUSED)

    def test_code_before_a_recording_on_demand_does_not_pause_it(self) -> None:
        fixture = ringing(record=False, **TOGGLE)
        press(fixture, "*1")
        fixture.call.inputs.leg_answered()
        fixture.call.record()
        self.start(fixture)
        self.assertEqual(fixture.recording.state, RecordingState.RECORDING)
        self.assertEqual(fixture.codes, [("pause", "not_recording")])

    def test_call_that_is_not_answered(self) -> None:
        fixture = ringing(**TOGGLE)
        press(fixture, "*1")
        end(fixture)
        self.assertEqual((fixture.over, fixture.codes), ([fixture.call], []))


class IgnoredCodeTests(SynchronousTestCase):
    def test_code_that_asterisk_refuses(self) -> None:
        for code, change in (("*1", "pause"), ("*2", "resume")):
            fixture = talking(**PAUSE_AND_RESUME)
            if change == "resume":
                press(fixture, "*1")
            fixture.asterisk.refusals = {"MixMonitorMute": "refused by the test"}
            press(fixture, code, Side.CALLEE)
            entry = next(entry for entry in fixture.recording.timeline if entry.event == f"{change}.failed")
            self.assertEqual(entry.by, Side.CALLEE)
            self.assertIn("refused by the test", entry.detail or "")
            self.assertEqual(fixture.codes[-1], (change, "failed"))

    def test_code_whose_outcome_is_not_known(self) -> None:
        fixture = talking(**TOGGLE)
        fixture.asterisk.delayed = {"MixMonitorMute"}
        press(fixture, "*1")
        fixture.asterisk.fail_response(AsteriskUnavailable("no response"))
        self.assertIn("pause.failed", [event for event, _ in timeline(fixture)])
        self.assertEqual(fixture.codes, [("pause", "failed")])

    def test_code_without_a_recording(self) -> None:
        fixture = talking(record=False, record_pause_code="1")
        press(fixture, "1")
        self.assertEqual((fixture.take_requests(), fixture.codes), ([], [("pause", "not_recording")]))

    def test_code_after_the_end_of_the_recording(self) -> None:
        fixture = talking(max_duration_seconds=5, **TOGGLE)
        fixture.clock.advance(5)
        fixture.files.close(fixture.call)
        press(fixture, "*1")
        self.assertEqual((mute_requests(fixture), fixture.codes), ([], [("pause", "not_recording")]))

    def test_profile_without_codes(self) -> None:
        fixture = talking()
        press(fixture, "*1")
        self.assertEqual((fixture.take_requests(), fixture.codes), ([], []))


class ConfirmationTests(SynchronousTestCase):
    def confirming(self, pause_sound: str = "sound:paused", **fields: Any) -> CallFixture:
        fixture = talking(**PAUSE_AND_RESUME, **fields)
        settings = replace(fixture.call.data.settings, pause_sound=pause_sound, resume_sound="sound:resumed")
        fixture.call.data.settings = settings
        return fixture

    def whispers(self, fixture: CallFixture) -> list[tuple[str, str, str]]:
        """Return the channel, the direction and the sound of each confirmation, in order."""
        snoops, sounds = [], []
        for request, query in fixture.asterisk.queries.items():
            if "/snoop/" in request and "-confirm-" in request:
                self.assertEqual(query["spy"], "none")
                snoops.append((request.split("/")[1], query["whisper"]))
            elif "/play/" in request and "-confirm-" in request:
                sounds.append(query["media"])
        return [(*snoop, sound) for snoop, sound in zip(snoops, sounds, strict=True)]

    def test_only_the_party_that_pressed_hears_it(self) -> None:
        for side in Side:
            fixture = self.confirming()
            press(fixture, "*1", side)
            press(fixture, "*2", side)
            channel = "1700.1" if side is Side.CALLER else fixture.call.leg
            self.assertEqual(
                self.whispers(fixture), [(channel, "out", "sound:paused"), (channel, "out", "sound:resumed")]
            )

    def test_it_is_played_when_the_recording_is_paused(self) -> None:
        fixture = self.confirming()
        fixture.asterisk.delayed = {"MixMonitorMute"}
        press(fixture, "*1")
        self.assertEqual(self.whispers(fixture), [])
        fixture.asterisk.respond()
        self.assertEqual(len(self.whispers(fixture)), 1)

    def test_pause_that_failed_is_not_confirmed(self) -> None:
        fixture = self.confirming()
        fixture.asterisk.refusals = {"MixMonitorMute": "refused by the test"}
        press(fixture, "*1")
        self.assertEqual(self.whispers(fixture), [])

    def test_channel_ends_with_the_sound(self) -> None:
        fixture = self.confirming()
        press(fixture, "*1")
        (play,) = [request for request in fixture.take_requests() if "/play/" in request]
        role = play.rsplit("CALL-", 1)[1]
        fixture.call.playback_finished(role, complete=True)
        self.assertEqual(fixture.take_requests(), [f"DELETE channels/voxrec-CALL-{role}"])
        fixture.clock.advance(10)
        self.assertEqual(fixture.take_requests(), [])

    def test_tone_without_an_end_is_ended(self) -> None:
        fixture = self.confirming(pause_sound="tone:!880/120")
        press(fixture, "*1")
        fixture.take_requests()
        fixture.clock.advance(0.6)
        (request,) = fixture.take_requests()
        self.assertTrue(request.startswith("DELETE channels/voxrec-CALL-confirm-caller-"), request)

    def test_sound_that_cannot_be_played_changes_nothing(self) -> None:
        fixture = self.confirming()
        fixture.asterisk.errors = {"snoop": 500}
        fixture.asterisk.on_snoop = lambda _channel: None
        press(fixture, "*1")
        self.assertEqual(fixture.recording.state, RecordingState.PAUSED)

    def test_call_ends_during_the_sound(self) -> None:
        fixture = self.confirming(pause_sound="tone:!880/120")
        press(fixture, "*1")
        fixture.call.inputs.caller_hung_up(Cause.NORMAL)
        end(fixture)
        self.assertEqual(fixture.over, [fixture.call])
        fixture.take_requests()
        fixture.clock.advance(10)
        self.assertEqual((fixture.take_requests(), fixture.clock.getDelayedCalls()), ([], []))
