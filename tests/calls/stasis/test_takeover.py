"""Tests of voxrec.calls.stasis.takeover: a call that another process left, in each of its states."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import INBOUND, MONITOR, SETTINGS, FakeAsterisk, FakeLegFiles, InMemorySink, make_profile
from tests.calls.test_call_machine import ANNOUNCE, ANSWER, END_CALLER, END_LEG, PLACE, RECORD, WHISPER
from tests.calls.test_call_recording import STOP
from voxrec.ami.client import AmiClient
from voxrec.ari.client import AriClient
from voxrec.calls.call_data import InboundCall
from voxrec.calls.channels.ids import owned_id
from voxrec.calls.channels.takeover_state import Pause, TakeoverState
from voxrec.calls.live_call import LiveCall
from voxrec.calls.recording.recording_commands import RecordingCommands
from voxrec.calls.signalling.causes import Cause
from voxrec.calls.stasis.snapshot import CallSnapshot
from voxrec.calls.stasis.takeover import take_over
from voxrec.errors import Conflict
from voxrec.model import CallState, PauseBehavior, Recording, RecordingState, RecordPrompt, TimelineEntry

NOT_RECORDED: Final[dict[str, Any]] = {"monitor": "", "files_began": None}
PERSON: Final = "sip:person@192.0.2.9"
ASSERT: Final = ["MixMonitorMute CALLER"]
CHECK: Final = ["GET channels/CALLER/variable", *ASSERT]


class TakeoverTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_100)
        self.asterisk = FakeAsterisk()
        self.sink = InMemorySink()
        self.over: list[LiveCall] = []

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.seconds(), UTC)

    def take_over(
        self, fields: dict[str, Any] | None = None, *, invited: str = "", leg: str | None = None, **changes: Any
    ) -> LiveCall:
        """Take over a call in which the parties talk and are recorded.

        ``fields`` change its Profile, ``changes`` its state in Asterisk. ``invited``: the SIP URI of a caller whom
        voxrec has called.
        """
        call_id, recording_id = UUID(int=77), UUID(int=78)
        takeover_state = TakeoverState(
            call_id=call_id,
            recording_id=recording_id,
            caller=INBOUND.channel,
            leg=owned_id(call_id, "leg") if leg is None else leg,
            invited=invited,
            number="+4930111",
            name="Alice",
            dialled="+4930222",
            started_at=self.now() - timedelta(seconds=100),
            profile=make_profile(**(fields or {})),
        )
        client = AriClient(self.asterisk, "voxrec")
        self.files = FakeLegFiles()
        self.call = LiveCall(
            self.clock,
            client,
            RecordingCommands(client, AmiClient(self.asterisk), self.files),
            self.sink,
            SETTINGS,
            InboundCall(channel=INBOUND.channel, number="+4930111", name="Alice", dialled="+4930222", invited=invited),
            takeover_state.profile,
            on_over=self.over.append,
            takeover_state=takeover_state,
        )
        call = self.call
        self.asterisk.on_snoop = lambda channel: call.snoop_entered(channel.split(f"{call_id}-")[1])
        snapshot = {
            "legs": frozenset({takeover_state.leg}),
            "leg_exists": True,
            "caller_exists": True,
            "leg_entered": True,
            "bridged": True,
            "caller_bridged": changes.get("caller_up", True),
            "leg_up": True,
            "caller_up": True,
            "monitor": MONITOR,
            "announcing": False,
            "whisper_exists": False,
            "files_began": self.now() - timedelta(seconds=90),
            "recording": None,
            "pause": None,
        }
        state = CallSnapshot(**{**snapshot, **changes})
        if state.files_began is not None:
            self.files.create(call)
        take_over(call.core, call.inputs, state)
        return self.call

    def stored(self, **fields: Any) -> Recording:
        """Return the Recording as last stored, with ``fields`` changed."""
        began = self.now() - timedelta(seconds=90)
        stored = Recording(
            id=UUID(int=78),
            profile_id=make_profile().id,
            call_id=UUID(int=77),
            state=RecordingState.RECORDING,
            started_at=began,
            created_at=began,
            updated_at=began,
        )
        return msgspec.structs.replace(stored, **fields)

    def take_requests(self) -> list[str]:
        return [
            request.replace(str(UUID(int=77)), "CALL").replace(INBOUND.channel, "CALLER")
            for request in self.asterisk.take_requests()
        ]


class TakeoverTests(TakeoverTestCase):
    def test_recording_that_has_ended_while_its_row_is_not_known_is_finished_from_its_files(self) -> None:
        call = self.take_over(monitor="", stopped="max-duration")
        self.files.close(call)
        self.assertEqual((call.status, self.take_requests()), (CallState.TALKING, []))
        last = self.sink.recordings[-1]
        self.assertEqual((last.id, last.state), (UUID(int=78), RecordingState.PROCESSING))
        self.assertEqual([entry.event for entry in last.timeline], ["taken-over", "recording.stopped"])
        with self.assertRaises(Conflict):
            call.record()

    def test_leg_is_being_created(self) -> None:
        call = self.take_over(leg_entered=False, leg_up=False, bridged=False, caller_up=False, **NOT_RECORDED)
        self.assertEqual((call.status, self.take_requests()), ("placing", []))

    def test_leg_is_not_dialled(self) -> None:
        call = self.take_over(leg_up=False, bridged=False, caller_up=False, **NOT_RECORDED)
        self.assertEqual(call.status, "ringing")
        self.assertEqual(
            self.take_requests(), ["POST bridges/voxrec-CALL-bridge/addChannel", "POST channels/voxrec-CALL-leg/dial"]
        )

    def test_caller_that_is_not_in_the_bridge(self) -> None:
        call = self.take_over(caller_bridged=False, recording=self.stored())
        connect = ["POST channels/CALLER/answer", "POST bridges/voxrec-CALL-bridge/addChannel"]
        self.assertEqual((call.status, self.take_requests()[:2]), (CallState.TALKING, connect))

    def test_early_media(self) -> None:
        call = self.take_over(leg_up=False, caller_up=False, caller_bridged=True, **NOT_RECORDED)
        self.assertEqual((call.status, self.take_requests()), ("ringing", []))
        call.inputs.leg_answered()
        self.assertEqual(
            self.take_requests()[:2], ["POST channels/CALLER/answer", "DELETE playbacks/voxrec-CALL-early"]
        )

    def test_leg_that_has_gone_is_not_dialled(self) -> None:
        call = self.take_over(leg_exists=False, leg_up=False, bridged=False, caller_up=False, **NOT_RECORDED)
        self.assertEqual(call.status, "clearing")
        self.assertNotIn("POST bridges/voxrec-CALL-bridge/addChannel", self.take_requests())

    def test_far_end_rings(self) -> None:
        call = self.take_over(leg_up=False, caller_up=False, **NOT_RECORDED)
        self.assertEqual((call.status, self.take_requests()), ("ringing", []))
        self.clock.advance(1)  # it has rung long enough
        self.assertEqual(call.status, "clearing")

    def test_caller_is_not_answered(self) -> None:
        call = self.take_over(caller_up=False, **NOT_RECORDED)
        self.assertEqual((call.status, self.take_requests()), ("connecting", ANSWER + RECORD))

    def test_person_is_being_called(self) -> None:
        state: dict[str, Any] = {
            "leg_exists": False,
            "leg_entered": False,
            "leg_up": False,
            "bridged": False,
            "caller_bridged": False,
        }
        state |= {"legs": frozenset(), **NOT_RECORDED}
        call = self.take_over(invited=PERSON, leg="", caller_up=False, **state)
        self.assertEqual((call.status, self.take_requests()), ("calling", []))
        call.inputs.caller_answered()
        self.assertEqual((call.status, self.take_requests()[-2:]), ("placing", PLACE))
        call = self.take_over(invited=PERSON, leg="", caller_up=True, **state)
        self.assertEqual((call.status, self.take_requests()[-2:]), ("placing", PLACE))
        call = self.take_over(invited=PERSON, leg="", caller_up=True, placed=True, **state)
        self.assertEqual(call.status, "clearing", "its far end has refused the call meanwhile")
        call = self.take_over(invited=PERSON, leg="", caller_exists=False, caller_up=False, **state)
        self.assertEqual(call.status, "over")

    def test_far_end_of_a_person_rings(self) -> None:
        for record in (True, False):
            call = self.take_over(
                {"record": record}, invited=PERSON, placed=True, leg_up=False, caller_bridged=False, **NOT_RECORDED
            )
            self.assertEqual(call.status, "ringing", record)

    def test_person_talks(self) -> None:
        call = self.take_over({"record": False}, invited=PERSON, placed=True, answered_at=self.now(), **NOT_RECORDED)
        self.assertEqual(call.status, "talking")

    def test_announcement_is_played(self) -> None:
        call = self.take_over(announcing=True, recording=self.stored())
        self.assertEqual((call.status, self.take_requests()), ("announcing", ASSERT))
        call.playback_finished("announcement", complete=True)
        self.assertEqual(call.status, "talking")

    def test_announcement_of_which_the_end_is_not_known_is_played_again(self) -> None:
        prompt = {"record_prompt": RecordPrompt.DEFAULT}
        required = {**prompt, "record_prompt_required": True}
        finished = self.stored(timeline=(TimelineEntry(at=5.0, event="announcement.finished"),))
        for fields, stored, announced, again in (
            (prompt, self.stored(), False, True),
            (prompt, finished, False, False),
            (prompt, None, False, False),
            (required, self.stored(prompt_played=False), False, True),
            (required, self.stored(prompt_played=True), True, False),
            (required, finished, False, False),
            (required, None, False, True),
            (required, None, True, False),
        ):
            call = self.take_over(fields, recording=stored, announced=announced)
            self.assertEqual(
                (call.status, self.take_requests()), ("announcing", ASSERT + ANNOUNCE) if again else ("talking", ASSERT)
            )
            assert call.recording is not None
            self.assertEqual(call.recording.prompt_played, not again if fields is required else None)
            if again:
                call.playback_finished("announcement", complete=True)
                self.assertEqual((call.status, call.recording.prompt_played), ("talking", fields is required or None))
            self.take_requests()

    def test_recording_whose_required_announcement_has_failed_is_ended(self) -> None:
        failed = self.stored(prompt_played=False, timeline=(TimelineEntry(at=5.0, event="announcement.failed"),))
        call = self.take_over({"record_prompt": RecordPrompt.DEFAULT, "record_prompt_required": True}, recording=failed)
        self.assertEqual(call.status, "talking")
        self.assertEqual(self.take_requests(), ASSERT + STOP)

    def test_call_ends_while_the_required_announcement_is_played(self) -> None:
        required = {"record_prompt": RecordPrompt.DEFAULT, "record_prompt_required": True}
        for stored in (self.stored(prompt_played=False), None):
            call = self.take_over(required, announcing=True, recording=stored)
            call.inputs.caller_hung_up(Cause.NORMAL)
            call.inputs.leg_hung_up(Cause.NORMAL)
            self.files.close(call)
            last = self.sink.recordings[-1]
            self.assertEqual((last.state, last.prompt_played), (RecordingState.PROCESSING, False))

    def test_parties_talk(self) -> None:
        call = self.take_over(recording=self.stored())
        self.assertEqual((call.status, self.take_requests()), ("talking", ASSERT))
        assert call.recording is not None
        self.assertEqual(call.recording.timeline[-1].event, "taken-over")

    def test_unknown_recording_began_with_its_files(self) -> None:
        began = self.now() - timedelta(seconds=80)
        call = self.take_over(files_began=began)
        assert call.recording is not None
        self.assertEqual((call.recording.id, call.recording.started_at), (UUID(int=78), began))

    def test_recording_is_paused(self) -> None:
        pause = Pause(behavior=PauseBehavior.SILENCE, until=self.now() + timedelta(seconds=4))
        call = self.take_over(recording=self.stored(state=RecordingState.PAUSED), pause=pause)
        assert call.recording is not None
        self.assertEqual((call.recording.state, self.take_requests()), (RecordingState.PAUSED, ASSERT))
        self.assertEqual(self.asterisk.queries["MixMonitorMute 1700.1"]["State"], "1")
        self.clock.advance(4)
        self.assertEqual(call.recording.state, RecordingState.RECORDING)
        self.assertEqual(self.take_requests()[-1:], ASSERT[-1:])
        self.assertEqual(self.asterisk.queries["MixMonitorMute 1700.1"]["State"], "0")

    def test_recording_between_two_mix_monitors_continues(self) -> None:
        for monitor in (MONITOR, ""):  # on the same channel, and on one that has replaced the caller's
            self.setUp()
            self.asterisk.refusals = {"MixMonitorMute": "Cannot set mute flag"}
            call = self.take_over(monitor=monitor, recording=self.stored())
            self.files.close(call)
            self.assertEqual((call.status, self.take_requests()[-1]), ("talking", "MixMonitor CALLER"))
            self.assertTrue(self.asterisk.queries["MixMonitor 1700.1"]["Options"].endswith("a"))

    def test_mix_monitor_that_has_no_files_is_replaced(self) -> None:
        """The other process has started it, but it could not open them any more."""
        self.take_over(recording=self.stored(), files_began=None)
        expected = ["StopMixMonitor CALLER", "GET channels/CALLER/variable", "MixMonitor CALLER"]
        self.assertEqual(self.take_requests(), expected)

    def test_recording_that_was_being_ended_is_ended(self) -> None:
        stopped = TimelineEntry(at=80.0, event="recording.stopped", by="voxrec", detail="max-duration")
        self.take_over(recording=self.stored(timeline=(stopped,)))
        self.assertEqual(self.take_requests(), [*ASSERT, "StopMixMonitor CALLER"])

    def test_recording_that_a_version_without_the_variable_of_its_end_has_ended_does_not_continue(self) -> None:
        """The Recording as last stored says so, although the variables of the channel do not."""
        stopped = TimelineEntry(at=80.0, event="recording.stopped", by="voxrec", detail="max-duration")
        for state in (RecordingState.PROCESSING, RecordingState.COMPLETED, RecordingState.RECORDING):
            for monitor in (MONITOR, ""):
                self.setUp()
                call = self.take_over(monitor=monitor, recording=self.stored(state=state, timeline=(stopped,)))
                self.files.close(call)
                self.clock.advance(30)
                self.assertNotIn("MixMonitor CALLER", self.take_requests(), (state, monitor))
                self.assertFalse(call.recorder is not None and call.recorder.is_live)

    def test_recording_that_was_due_begins(self) -> None:
        call = self.take_over(recording=self.stored(), **NOT_RECORDED)
        self.files.create(call)
        assert call.recording is not None
        self.assertEqual(self.take_requests(), ["GET channels/CALLER/variable", *RECORD])
        self.assertEqual(
            [entry.event for entry in call.recording.timeline], ["taken-over", "recording.failed", "recording.started"]
        )

    def test_recording_ended_meanwhile(self) -> None:
        call = self.take_over(monitor="", recording=self.stored(), stopped="disk-full")
        self.files.close(call)
        self.assertEqual(call.status, "talking")
        self.assertEqual(self.sink.recordings[-1].state, RecordingState.PROCESSING)

    def test_recording_had_ended_before(self) -> None:
        call = self.take_over(monitor="", recording=self.stored(state=RecordingState.PROCESSING))
        self.assertEqual((call.status, self.sink.recordings), ("talking", []))
        with self.assertRaises(Conflict):
            call.record()

    def test_beeps_continue_at_their_interval(self) -> None:
        self.take_over({"record_beep_interval": 20}, recording=self.stored(), whisper_exists=False)
        self.clock.advance(9)
        self.assertEqual(set(self.take_requests()), set(CHECK))
        self.clock.advance(1)  # 100 s after the Recording began
        beep = f"beep-{round(self.clock.seconds() * 1000)}"
        self.assertEqual([request.replace(beep, "beep") for request in self.take_requests()], WHISPER)

    def test_limits_count_from_the_beginning(self) -> None:
        self.take_over({"max_duration_seconds": 100}, recording=self.stored())
        self.clock.advance(10)
        self.assertEqual(self.take_requests()[-2:], STOP)
        self.take_over({"max_call_seconds": 95}, recording=self.stored(started_at=self.now() - timedelta(seconds=90)))
        self.clock.advance(5)
        self.assertEqual(self.call.status, CallState.CLEARING)

    def test_maximum_duration_of_the_call_counts_from_the_answer(self) -> None:
        """Not from the INVITE (100 s ago), nor from the beginning of a recording on demand (30 s ago)."""
        for on_demand in (False, True):
            answered_at = self.now() - timedelta(seconds=80)
            recording = self.stored(started_at=self.now() - timedelta(seconds=30)) if on_demand else None
            recorded = {} if on_demand else NOT_RECORDED
            fields = {"max_call_seconds": 90, "max_duration_seconds": 60, "record": False}
            call = self.take_over(fields, answered_at=answered_at, recording=recording, **recorded)
            self.assertEqual(call.representation().answered_at, answered_at)
            self.clock.advance(9)
            self.assertEqual(call.status, CallState.TALKING)
            self.clock.advance(1)
            self.assertEqual(call.status, CallState.CLEARING)

    def test_maximum_duration_of_a_recording_on_demand_counts_from_its_beginning(self) -> None:
        on_demand = self.stored(started_at=self.now() - timedelta(seconds=30))
        fields = {"max_duration_seconds": 60, "record": False}
        self.take_over(fields, answered_at=self.now() - timedelta(seconds=80), recording=on_demand)
        self.clock.advance(29)
        self.assertEqual(set(self.take_requests()), set(CHECK))
        self.clock.advance(1)
        self.assertEqual(self.take_requests(), STOP)

    def test_party_hung_up_meanwhile(self) -> None:
        for leg_exists, commands in ((False, END_CALLER), (True, END_LEG)):
            call = self.take_over(recording=self.stored(), leg_exists=leg_exists, caller_exists=not leg_exists)
            self.assertEqual((call.status, self.take_requests()), ("clearing", ASSERT + commands))


class ManyCallsTests(TakeoverTestCase):
    def test_what_commands_of_the_former_process_have_done_is_checked_with_few_requests(self) -> None:
        """One at once, which sets the state, and two at three times in the next 15 s, which differ between calls."""
        calls = 200
        for _ in range(calls):
            self.take_over()
        self.assertEqual(self.take_requests(), calls * ASSERT)
        counts = []
        for _ in range(160):
            self.clock.advance(0.1)
            counts.append(len(self.take_requests()))
        self.assertEqual((sum(counts[:19]), sum(counts), sum(counts[150:])), (0, calls * 6, 0))
        self.assertLess(max(counts), calls / 2)
