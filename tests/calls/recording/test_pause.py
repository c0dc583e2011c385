"""Tests of voxrec.calls.recording.pause.

They also cover late responses, missing responses and errors of Asterisk.
"""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import CallFixture, FakeAsterisk
from tests.calls.test_call_machine import WHISPER, answered, ringing, talking
from tests.calls.test_call_recording import timeline
from voxrec.ami.protocol import AmiResponseError
from voxrec.ari.transport import AriResponseError
from voxrec.calls.signalling.causes import Cause
from voxrec.errors import AsteriskUnavailable, Conflict
from voxrec.model import PauseBehavior, Recording, RecordingState

SET_VARIABLE = "POST channels/CALLER/variable"
MUTE = "MixMonitorMute CALLER"


def pause(fixture: CallFixture, seconds: float | None = None) -> Deferred[Recording]:
    return Deferred.fromCoroutine(fixture.call.pause(PauseBehavior.SILENCE, seconds))


def resume(fixture: CallFixture) -> Deferred[Recording]:
    return Deferred.fromCoroutine(fixture.call.resume())


def muted(fixture: CallFixture) -> bool:
    """Return what Asterisk was told last."""
    return fixture.asterisk.queries["MixMonitorMute 1700.1"]["State"] == "1"


def stored_pause(fixture: CallFixture) -> str:
    """Return the value of the variable that another process reads."""
    return fixture.asterisk.queries["POST channels/1700.1/variable"]["value"]


class PauseTests(SynchronousTestCase):
    def test_pause_and_resume(self) -> None:
        fixture = talking()
        fixture.clock.advance(2)
        paused = self.successResultOf(pause(fixture))
        self.assertEqual((fixture.take_requests(), muted(fixture)), ([SET_VARIABLE, MUTE], True))
        self.assertEqual(paused.state, RecordingState.PAUSED)
        self.assertEqual(fixture.sink.recordings[-1], paused)
        fixture.clock.advance(3)
        resumed = self.successResultOf(resume(fixture))
        self.assertEqual((fixture.take_requests(), muted(fixture)), ([SET_VARIABLE, MUTE], False))
        self.assertEqual(resumed.state, RecordingState.RECORDING)
        self.assertEqual(fixture.stored_timeline[1:], [(2.0, "paused"), (5.0, "resumed")])

    def test_resuming_a_recording_that_is_not_paused_does_nothing(self) -> None:
        fixture = talking()
        self.successResultOf(resume(fixture))
        self.assertEqual(fixture.take_requests(), [])

    def test_no_beeps_during_a_pause(self) -> None:
        fixture = talking(record_beep_interval=15)
        self.successResultOf(pause(fixture))
        fixture.take_requests()
        fixture.clock.advance(15)
        self.assertEqual(fixture.take_requests(), [])
        self.successResultOf(resume(fixture))
        fixture.take_requests()
        fixture.clock.advance(15)
        self.assertEqual(fixture.take_requests(), WHISPER)

    def test_states_that_conflict(self) -> None:
        for fixture in (ringing(), answered(), talking(record=False)):
            self.failureResultOf(pause(fixture), Conflict)

    def test_refused_pause_changes_nothing(self) -> None:
        fixture = talking()
        fixture.asterisk.refusals = {"MixMonitorMute": "refused by the test"}
        self.failureResultOf(pause(fixture), AmiResponseError)
        recording = fixture.recording
        self.assertEqual((recording.state, stored_pause(fixture)), (RecordingState.RECORDING, ""))

    def test_refused_resume_changes_nothing(self) -> None:
        fixture = talking()
        self.successResultOf(pause(fixture))
        fixture.asterisk.refusals = {"MixMonitorMute": "refused by the test"}
        self.failureResultOf(resume(fixture), AmiResponseError)
        self.assertEqual(fixture.recording.state, RecordingState.PAUSED)
        self.assertIn("silence", stored_pause(fixture))

    def test_recording_that_asterisk_has_ended(self) -> None:
        fixture = talking()
        fixture.asterisk.refusals = {"MixMonitorMute": "Cannot set mute flag"}
        paused = pause(fixture)
        self.assertNoResult(paused)  # something may be written until the files are closed
        fixture.files.close(fixture.call)
        self.assertEqual(self.successResultOf(paused).state, RecordingState.PAUSED)
        self.assertEqual([event for _, event in fixture.stored_timeline[-2:]], ["paused", "recording.suspended"])

    def test_channel_that_has_ended(self) -> None:
        fixture = talking()
        fixture.asterisk.refusals = {"MixMonitorMute": "No such channel"}
        self.failureResultOf(pause(fixture), Conflict)
        self.assertEqual(fixture.recording.state, RecordingState.RECORDING)


class SlowResponseTests(SynchronousTestCase):
    """The responses to mute commands are late."""

    def setUp(self) -> None:
        self.fixture = talking()
        self.asterisk: FakeAsterisk = self.fixture.asterisk
        self.asterisk.delayed.add("MixMonitorMute")

    def test_concurrent_pauses_mute_once(self) -> None:
        fixture = self.fixture
        first, second = pause(fixture), pause(fixture, 5)
        self.assertNoResult(first)
        self.asterisk.respond()
        self.assertEqual(self.successResultOf(first).state, RecordingState.PAUSED)
        self.assertEqual(self.successResultOf(second).state, RecordingState.PAUSED)
        self.assertEqual(sum(request.startswith("MixMonitorMute") for request in self.asterisk.requests), 1)
        self.assertEqual([event for event, _ in timeline(fixture)].count("paused"), 1)

    def test_lost_response_of_a_pause_is_followed_by_the_command_to_record(self) -> None:
        fixture = self.fixture
        paused = pause(fixture)
        self.asterisk.fail_response(AsteriskUnavailable("lost"))
        self.asterisk.respond()
        self.failureResultOf(paused, AsteriskUnavailable)
        self.assertEqual((fixture.recording.state, stored_pause(fixture)), (RecordingState.RECORDING, ""))
        self.assertTrue(muted(fixture))
        fixture.call.manager_connected()
        self.assertFalse(muted(fixture))

    def test_after_a_lost_response_of_a_resume_it_is_not_paused(self) -> None:
        """Audio may be recorded, which it must not be during a pause."""
        fixture = self.fixture
        paused = pause(fixture)
        self.asterisk.respond()
        self.successResultOf(paused)
        self.asterisk.delayed.add("MixMonitorMute")
        resumed = resume(fixture)
        self.asterisk.fail_response(AsteriskUnavailable("lost"))
        self.asterisk.respond()
        self.successResultOf(resumed)
        self.assertEqual(fixture.recording.state, RecordingState.RECORDING)
        self.assertEqual([event for _, event in fixture.stored_timeline[-2:]], ["recording.failed", "resumed"])
        fixture.take_requests()
        fixture.clock.advance(2)  # without another connect
        self.assertEqual((fixture.take_requests()[-1], muted(fixture)), (MUTE, False))

    def test_call_ends_while_it_is_being_paused(self) -> None:
        fixture = self.fixture
        paused = pause(fixture, 5)
        fixture.call.inputs.caller_hung_up(Cause.NORMAL)
        fixture.call.inputs.leg_hung_up(Cause.NORMAL)
        fixture.files.close(fixture.call)
        self.asterisk.respond()
        self.successResultOf(paused)
        self.assertEqual(fixture.sink.recordings[-1].state, RecordingState.PROCESSING)
        self.assertEqual(fixture.clock.getDelayedCalls(), [])

    def test_detach_while_it_is_being_paused(self) -> None:
        fixture = self.fixture
        paused = pause(fixture, 5)
        fixture.call.inputs.detach()
        stored = len(fixture.sink.recordings)
        self.asterisk.respond()
        self.successResultOf(paused)
        fixture.clock.advance(10)
        self.assertEqual([request for request in self.asterisk.requests if request.startswith("DELETE")], [])
        self.assertEqual((len(fixture.sink.recordings), fixture.clock.getDelayedCalls()), (stored, []))


class TimedPauseTests(SynchronousTestCase):
    def test_timed_resume_is_retried(self) -> None:
        fixture = talking()
        self.successResultOf(pause(fixture, 5))
        fixture.asterisk.errors = {"variable": 500}
        fixture.clock.advance(5)
        self.assertEqual(fixture.recording.state, RecordingState.PAUSED)
        fixture.asterisk.errors = {}
        fixture.clock.advance(1)
        self.assertEqual(fixture.recording.state, RecordingState.RECORDING)
        self.assertEqual(fixture.recording.timeline[-1].by, "timer")

    def test_second_pause_changes_only_its_end(self) -> None:
        fixture = talking()
        self.successResultOf(pause(fixture, 5))
        self.successResultOf(pause(fixture, 50))
        fixture.take_requests()
        fixture.clock.advance(49)
        self.assertEqual(fixture.recording.state, RecordingState.PAUSED)
        fixture.clock.advance(1)
        self.assertEqual(fixture.recording.state, RecordingState.RECORDING)

    def test_failed_resume_keeps_the_end_of_the_pause(self) -> None:
        fixture = talking()
        self.successResultOf(pause(fixture, 5))
        fixture.asterisk.errors = {"variable": 500}
        self.failureResultOf(resume(fixture), AriResponseError)
        fixture.asterisk.errors = {}
        fixture.clock.advance(5)
        self.assertEqual(fixture.recording.state, RecordingState.RECORDING)
