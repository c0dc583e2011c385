"""Tests of voxrec.calls.call_recording: what a Profile requires of a recording."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import SETTINGS, CallFixture
from tests.calls.test_call_machine import (
    ANNOUNCE,
    ANSWER,
    RECORD,
    WHISPER,
    answered,
    placed,
    ringing,
    talking,
)
from voxrec.calls.live_call import LiveCall
from voxrec.calls.signalling.causes import Cause
from voxrec.errors import Conflict
from voxrec.model import RecordingState, RecordPrompt
from voxrec.model.reasons import DISK_FULL

STOP: Final = ["POST channels/CALLER/variable", "StopMixMonitor CALLER"]
FULL_DISK: Final = replace(SETTINGS, has_disk_space=lambda: False)


def connecting() -> CallFixture:
    """Return a call whose files are about to be opened, with an announcement that its Profile requires."""
    return answered(record_prompt=RecordPrompt.DEFAULT, record_prompt_required=True)


def announcing(**fields: Any) -> CallFixture:
    """Return a recorded call that plays an announcement that its Profile requires."""
    return talking(record_prompt=RecordPrompt.DEFAULT, record_prompt_required=True, **fields)


def end(fixture: CallFixture) -> None:
    """Let Asterisk end everything that is left of a call."""
    fixture.call.inputs.caller_hung_up(Cause.NORMAL)
    fixture.call.inputs.leg_hung_up(Cause.NORMAL)
    fixture.files.close(fixture.call)


def timeline(fixture: CallFixture) -> list[tuple[str, str | None]]:
    """Return event and detail of each entry of the timeline."""
    return [(entry.event, entry.detail) for entry in fixture.recording.timeline]


class RecordingTests(SynchronousTestCase):
    def test_caller_is_answered_before_recording_begins(self) -> None:
        fixture = ringing()
        fixture.take_requests()
        fixture.call.inputs.leg_answered()
        self.assertEqual(fixture.take_requests(), ANSWER + RECORD)

    def test_each_side_has_its_own_file(self) -> None:
        fixture = ringing()
        info = b'{"system": {"version": "22.10.1"}, "status": {"startup_time": "2026-11-23T11:00:00.000+0000"}}'
        fixture.asterisk.responses["GET asterisk/info"] = info
        fixture.asterisk.responses["GET asterisk/variable"] = b'{"value": "/var/spool/asterisk"}'
        self.successResultOf(ensureDeferred(fixture.client.detect_capabilities()))
        fixture.call.inputs.leg_answered()
        file = f"/var/spool/asterisk/recording/voxrec-{fixture.call.recording_id}"
        self.assertEqual(
            fixture.asterisk.queries["MixMonitor 1700.1"],
            {"Channel": "1700.1", "Options": f"r({file}-caller.wav)t({file}-callee.wav)i(VOXREC_MONITOR)"},
        )

    def test_recording_is_stored_at_the_answer(self) -> None:
        fixture = answered()
        (recording,) = fixture.sink.recordings
        self.assertEqual(recording.state, RecordingState.RECORDING)
        self.assertEqual(
            (recording.from_, recording.from_name, recording.to, recording.channels, recording.remote_sip_uri),
            ("+4930111", "Alice", "+4930222", 2, "sip:desk@192.0.2.7:5070"),
        )

    def test_expiry(self) -> None:
        self.assertIsNone(answered().sink.recordings[0].expires_at)
        (recording,) = answered(retention_days=30).sink.recordings
        assert recording.expires_at is not None
        assert recording.started_at is not None
        self.assertEqual((recording.expires_at - recording.started_at).days, 30)

    def test_file_that_is_never_closed_is_finished_as_it_is(self) -> None:
        fixture = talking()
        fixture.call.inputs.caller_hung_up(Cause.NORMAL)
        fixture.call.inputs.leg_hung_up(Cause.NORMAL)
        fixture.clock.advance(10)
        self.assertEqual(fixture.over, [fixture.call])
        self.assertEqual(fixture.sink.recordings[-1].state, RecordingState.PROCESSING)

    def test_call_continues_if_recording_is_refused(self) -> None:
        fixture = ringing(record_prompt=RecordPrompt.DEFAULT)
        fixture.asterisk.refusals = {"MixMonitor": "Could not start monitoring channel"}
        fixture.call.inputs.leg_answered()
        self.assertEqual(fixture.call.status, "announcing")
        fixture.call.playback_finished("announcement", complete=True)
        self.assertEqual(fixture.call.status, "talking")
        recording = fixture.recording
        self.assertEqual(
            [(entry.event, entry.by) for entry in recording.timeline[1:3]],
            [("recording.failed", None), ("announcement.started", None)],
        )
        self.assertEqual(len(fixture.failed_recordings), 1)

    def test_call_continues_if_recording_is_not_confirmed(self) -> None:
        fixture = answered()
        fixture.clock.advance(3)
        self.assertEqual(fixture.call.status, "talking")
        recording = fixture.recording
        self.assertEqual(recording.timeline[-1].event, "recording.unconfirmed")


class DurationTests(SynchronousTestCase):
    def test_recording_ends_at_its_maximum_duration(self) -> None:
        fixture = talking(max_duration_seconds=30, record_beep_interval=20)
        fixture.clock.advance(29)
        fixture.take_requests()
        fixture.clock.advance(1)
        self.assertEqual(fixture.take_requests(), STOP)
        self.assertEqual(timeline(fixture)[-1], ("recording.stopped", "max-duration"))
        fixture.files.close(fixture.call)
        self.assertEqual(fixture.sink.recordings[-1].state, RecordingState.PROCESSING)
        self.assertIsNone(fixture.sink.recordings[-1].hangup_cause)
        fixture.take_requests()
        fixture.clock.advance(60)
        self.assertEqual((fixture.take_requests(), fixture.call.status), ([], "talking"))


class OnDemandTests(SynchronousTestCase):
    def test_recording_begins_on_demand(self) -> None:
        fixture = talking(record=False, record_prompt=RecordPrompt.DEFAULT)
        fixture.clock.advance(40)
        fixture.call.record()
        self.assertEqual(fixture.take_requests(), RECORD)
        self.assertEqual(fixture.recording.started_at, fixture.call.representation().started_at + timedelta(seconds=40))
        fixture.files.create(fixture.call)
        self.assertEqual(fixture.take_requests(), ["POST bridges/voxrec-CALL-bridge/play/voxrec-CALL-announcement"])

    def test_recorded_call_is_not_changed(self) -> None:
        fixture = talking()
        fixture.call.record()
        self.assertEqual(fixture.take_requests(), [])

    def test_states_that_conflict(self) -> None:
        over = talking(max_duration_seconds=1)
        over.clock.advance(1)
        over.files.close(over.call)
        for fixture in (placed(record=False), ringing(record=False), over):
            with self.assertRaises(Conflict):
                fixture.call.record()

    def test_full_disk(self) -> None:
        fixture = CallFixture()
        fixture.call.data.settings = FULL_DISK
        fixture.call.inputs.begin()
        fixture.call.inputs.leg_entered()
        fixture.take_requests()
        fixture.call.inputs.leg_answered()
        self.assertEqual(fixture.take_requests(), ANSWER)
        self.assertEqual(fixture.call.status, "talking")
        absent = fixture.sink.recordings[-1]
        assert absent.verdict is not None
        self.assertEqual((absent.state, absent.verdict.reasons), (RecordingState.ABSENT, (DISK_FULL,)))
        with self.assertRaises(Conflict):
            fixture.call.record()

    def test_full_disk_conflicts_on_demand(self) -> None:
        fixture = talking(record=False)
        fixture.call.data.settings = FULL_DISK
        with self.assertRaisesRegex(Conflict, "no free disk space"):
            fixture.call.record()
        self.assertEqual(fixture.sink.recordings, [])


class AnnouncementTests(SynchronousTestCase):
    def test_announcement_waits_until_both_files_are_open(self) -> None:
        fixture = answered(record_prompt=RecordPrompt.DEFAULT)
        fixture.take_requests()
        self.assertEqual(fixture.take_requests(), [])
        fixture.files.create(fixture.call)
        self.assertEqual(fixture.take_requests(), ANNOUNCE)

    def test_call_continues_if_the_announcement_fails(self) -> None:
        for how in ("refused", "failed", "forgotten"):
            fixture = answered(record_prompt=RecordPrompt.DEFAULT)
            fixture.asterisk.errors = {"announcement": 500} if how == "refused" else {}
            fixture.files.create(fixture.call)
            if how == "failed":
                fixture.call.playback_finished("announcement", complete=False)
            elif how == "forgotten":
                fixture.asterisk.errors = {"-announcement": 404}
                fixture.clock.advance(120)
            self.assertEqual(fixture.call.status, "talking", how)
            recording = fixture.call.recording
            assert recording is not None
            self.assertEqual(recording.timeline[-1].event, "announcement.failed", how)

    def test_custom_announcement(self) -> None:
        fixture = answered(record_prompt=RecordPrompt.CUSTOM, record_prompt_custom_id=UUID(int=1))
        fixture.take_requests()
        fixture.files.create(fixture.call)
        self.assertEqual(fixture.take_requests(), ANNOUNCE)
        (query,) = (query for request, query in fixture.asterisk.queries.items() if "announcement" in request)
        self.assertEqual(query["media"], "sound:own")

    def test_call_continues_if_the_announcement_is_not_installed(self) -> None:
        fixture = answered(record_prompt=RecordPrompt.CUSTOM, record_prompt_custom_id=UUID(int=2))
        fixture.take_requests()
        fixture.files.create(fixture.call)
        self.assertEqual(fixture.take_requests(), [])
        self.assertEqual(fixture.call.status, "talking")
        recording = fixture.recording
        self.assertEqual(recording.timeline[-1].event, "announcement.failed")

    def test_recording_is_discarded_without_a_required_announcement(self) -> None:
        fixture = talking(record_prompt=RecordPrompt.DEFAULT, record_prompt_required=True)
        fixture.call.playback_finished("announcement", complete=False)
        self.assertEqual(fixture.take_requests(), STOP)
        fixture.files.close(fixture.call)
        last = fixture.sink.recordings[-1]
        assert last.verdict is not None
        self.assertEqual((last.verdict.ok, last.verdict.reasons), (False, ("announcement.failed",)))
        self.assertEqual(fixture.call.status, "talking")

    def test_recording_is_kept_after_a_complete_announcement(self) -> None:
        fixture = announcing()
        stored = len(fixture.sink.recordings)
        fixture.call.playback_finished("announcement", complete=True)
        # both let a process that takes over the call know
        self.assertEqual(fixture.take_requests(), ["POST channels/CALLER/variable"])
        self.assertEqual([one.prompt_played for one in fixture.sink.recordings[stored:]], [True])
        fixture.call.inputs.caller_hung_up(Cause.NORMAL)
        end(fixture)
        last = fixture.sink.recordings[-1]
        self.assertEqual((last.state, last.prompt_played, last.verdict), (RecordingState.PROCESSING, True, None))

    def test_announcement_that_takes_longer_than_expected_is_awaited(self) -> None:
        fixture = announcing()
        fixture.clock.advance(500)
        self.assertEqual(fixture.call.status, "announcing")
        fixture.call.playback_finished("announcement", complete=True)
        self.assertTrue(fixture.recording.prompt_played)


class UnannouncedTests(SynchronousTestCase):
    """Whatever ends a recording before the end of an announcement that its Profile requires: no audio is kept."""

    ENDS: Final[dict[str, Callable[[LiveCall], object]]] = {
        "caller": lambda call: call.inputs.caller_hung_up(Cause.NORMAL),
        "callee": lambda call: call.inputs.leg_hung_up(Cause.NORMAL),
        "REST": lambda call: call.inputs.release(Cause.NORMAL),
        "failed transfer": lambda call: call.inputs.transfer_failed(),
        "forbidden transfer": lambda call: call.inputs.transfer_forbidden(),
        "maximum duration of the call": lambda call: call.inputs.duration_reached(),
    }

    def assert_not_kept(self, fixture: CallFixture, how: str, failures: int = 0) -> None:
        last = fixture.sink.recordings[-1]
        self.assertEqual((last.state, last.prompt_played), (RecordingState.PROCESSING, False), how)
        assert last.verdict is not None
        self.assertEqual(last.verdict.reasons, ("announcement.failed",), how)
        events = [entry.event for entry in last.timeline]
        self.assertEqual(events.count("announcement.failed"), 1, how)
        self.assertEqual(len(fixture.failed_announcements), failures, how)

    def test_call_ends_before_the_end_of_the_announcement(self) -> None:
        for begin in (connecting, announcing):
            for how, end_call in self.ENDS.items():
                fixture = begin()
                end_call(fixture.call)
                # an end that is reported late changes nothing
                fixture.call.playback_finished("announcement", complete=True)
                end(fixture)
                self.assert_not_kept(fixture, f"{how} while {begin.__name__}")

    def test_recording_ends_before_the_end_of_the_announcement(self) -> None:
        for reason, end_recording in {
            "max-duration": lambda fixture: fixture.clock.advance(4),
            "disk-full": lambda fixture: fixture.call.stop_recording(DISK_FULL),
        }.items():
            for finished in (False, True):
                fixture = announcing(max_duration_seconds=4)
                end_recording(fixture)
                self.assertEqual(timeline(fixture)[-1], ("recording.stopped", reason))
                if finished:  # before the files are closed: what they contain was said before
                    fixture.call.playback_finished("announcement", complete=True)
                fixture.files.close(fixture.call)
                last = fixture.sink.recordings[-1]
                self.assertEqual((last.state, last.prompt_played), (RecordingState.PROCESSING, False))
                assert last.verdict is not None
                self.assertEqual(last.verdict.reasons, ("announcement.failed",))

    def test_process_stops_before_a_file_is_open(self) -> None:
        fixture = ringing(record_prompt=RecordPrompt.DEFAULT, record_prompt_required=True)
        fixture.asterisk.ready = False
        fixture.call.inputs.leg_answered()
        fixture.call.inputs.detach()
        last = fixture.sink.recordings[-1]
        self.assertFalse(last.prompt_played)
        self.assertEqual(last.state, RecordingState.RECORDING)  # the next process records the rest
        self.assertEqual(
            [entry.event for entry in last.timeline], ["answered", "recording.failed", "announcement.started"]
        )

    def test_stored_from_the_beginning(self) -> None:
        """A process that is killed leaves no audio either: the row forbids it until the announcement has ended."""
        self.assertIs(connecting().sink.recordings[0].prompt_played, False)
        self.assertIsNone(answered(record_prompt_required=True).sink.recordings[0].prompt_played)
        self.assertIsNone(answered(record_prompt=RecordPrompt.DEFAULT).sink.recordings[0].prompt_played)

    def test_recording_with_an_announcement_that_is_not_required_is_kept(self) -> None:
        fixture = talking(record_prompt=RecordPrompt.DEFAULT)
        fixture.call.inputs.caller_hung_up(Cause.NORMAL)
        end(fixture)
        self.assertIsNone(fixture.sink.recordings[-1].verdict)
        # it becomes a reason of the verdict when the Recording is finished
        self.assertIn(("announcement.failed", "the call ended"), timeline(fixture))
        self.assertEqual(fixture.failed_announcements, [])

    def test_failed_announcement_is_counted(self) -> None:
        fixture = announcing()
        fixture.call.playback_finished("announcement", complete=False)
        fixture.files.close(fixture.call)
        self.assert_not_kept(fixture, "failed", failures=1)


class BeepTests(SynchronousTestCase):
    def test_beep_follows_the_announcement(self) -> None:
        fixture = talking(record_prompt=RecordPrompt.DEFAULT, record_beep_at_start=True)
        fixture.clock.advance(2.5)
        fixture.call.playback_finished("announcement", complete=True)
        self.assertEqual(fixture.take_requests(), WHISPER)
        fixture.call.playback_finished("beep-1", complete=True)
        self.assertEqual(fixture.take_requests(), ["DELETE channels/voxrec-CALL-whisper"])
        fixture.call.inputs.caller_hung_up(Cause.NORMAL)
        fixture.call.inputs.leg_hung_up(Cause.NORMAL)
        fixture.files.close(fixture.call)
        self.assertEqual(
            fixture.stored_timeline,
            [
                (0.0, "answered"),
                (0.0, "announcement.started"),
                (2.5, "announcement.finished"),
                (2.5, "beep"),
                (2.5, "hangup"),
            ],
        )

    def test_beeps_use_one_channel(self) -> None:
        fixture = talking(record_beep_interval=15)
        self.assertEqual(fixture.take_requests(), [])
        fixture.clock.advance(15)
        self.assertEqual(fixture.take_requests(), WHISPER)
        fixture.call.playback_finished("beep-1", complete=True)
        fixture.clock.advance(15)
        self.assertEqual(fixture.take_requests(), ["POST channels/voxrec-CALL-whisper/play/voxrec-CALL-beep"])
        fixture.call.inputs.caller_hung_up(Cause.NORMAL)
        fixture.take_requests()
        fixture.clock.advance(9)
        self.assertEqual(fixture.take_requests(), [])
