"""What a Profile's rules make of a call: limits, recording on demand, announcements, keys, beeps; and what is told."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.double import INCOMING, SETTINGS, Notebook, Stage, WillingAsterisk, nothing_known, profile
from tests.calls.test_machine import ANSWER, END_CALLER, END_LEG, RECORD, WHISPER, placed, ringing, talking
from voxrec.ari import events
from voxrec.ari.client import AriClient
from voxrec.ari.transport import AriResponseError
from voxrec.calls.beeper import Beeper
from voxrec.calls.causes import Cause
from voxrec.calls.core import DISK_FULL, InboundCall
from voxrec.calls.dtmf import KeyCodes
from voxrec.calls.ids import owned_id
from voxrec.calls.live_call import CallSnapshot, LiveCall
from voxrec.calls.recorder import UNSURE
from voxrec.calls.router import Router
from voxrec.calls.stasis_args import refer_target
from voxrec.calls.stasis_session import StasisSession
from voxrec.calls.takeover_state import Pause, TakeoverState
from voxrec.errors import AsteriskUnavailable, Conflict
from voxrec.model import (
    CallState,
    PauseBehavior,
    Profile,
    Recording,
    RecordingState,
    RecordPrompt,
    Side,
    leg_name,
)

STOP = ["DELETE channels/voxrec-CALL-snoop-caller", "DELETE channels/voxrec-CALL-snoop-callee"]
KEEP = "POST channels/CALLER/variable"


def recording_of(stage: Stage) -> Recording:
    recording = stage.call.recording
    assert recording is not None
    return recording


def told(stage: Stage) -> list[tuple[str, str | None]]:
    """The timeline without its times."""
    return [(entry.event, entry.detail) for entry in recording_of(stage).timeline]


class CallLimitTests(SynchronousTestCase):
    def router(self, *, of_all: int = 0, of_profile: int | None = None) -> tuple[WillingAsterisk, Router]:
        asterisk = WillingAsterisk()

        class One:
            confirmed = True

            def find(self, dialled: str) -> Profile | None:
                return profile(id=UUID(int=int(dialled)), max_calls=of_profile)

        client = AriClient(asterisk, "voxrec")
        return asterisk, Router(Clock(), client, One(), Notebook(), SETTINGS, nothing_known, max_calls=of_all)

    def causes(self, asterisk: WillingAsterisk, router: Router, *dialled: str) -> list[str | None]:
        """Why each caller, one after the other, is sent away; None: put through."""
        for number, exten in enumerate(dialled):
            channel = events.Channel(id=f"1700.{number}", dialplan=events.Dialplan(exten=exten))
            router.handle(events.StasisStart(channel, ("incoming",)))
        return [asterisk.queries.get(f"DELETE channels/1700.{n}", {}).get("reason") for n in range(len(dialled))]

    def test_as_many_as_a_profile_may_have(self) -> None:
        asterisk, router = self.router(of_profile=2)
        self.assertEqual(self.causes(asterisk, router, "1", "1", "1", "2"), [None, None, "busy", None])

    def test_as_many_as_voxrec_may_have(self) -> None:
        asterisk, router = self.router(of_all=2)
        self.assertEqual(self.causes(asterisk, router, "1", "2", "3"), [None, None, "congestion"])

    def test_whoever_went_makes_room(self) -> None:
        asterisk, router = self.router(of_all=1)
        self.assertEqual(self.causes(asterisk, router, "1"), [None])
        (call,) = router.calls
        call.inputs.caller_left(Cause.NORMAL)
        call.inputs.leg_left(Cause.NORMAL)
        router.handle(
            events.StasisStart(events.Channel(id="1700.9", dialplan=events.Dialplan(exten="1")), ("incoming",))
        )
        self.assertEqual(len(list(router.calls)), 1)


class TimeLimitTests(SynchronousTestCase):
    def test_the_profile_says_how_long_it_rings(self) -> None:
        stage = ringing(ring_timeout_seconds=7)
        stage.took()
        stage.clock.advance(6.9)
        self.assertEqual(stage.took(), [])
        stage.clock.advance(0.1)
        self.assertEqual(stage.took(), END_CALLER + END_LEG)

    def test_a_call_ends_so_long_after_its_answer(self) -> None:
        stage = ringing(max_call_seconds=60, record=False)
        stage.clock.advance(10)
        stage.call.inputs.leg_answered()
        stage.clock.advance(59)
        self.assertEqual(stage.call.status, "talking")
        stage.clock.advance(1)
        self.assertEqual((stage.call.status, stage.call.shown().hangup_by), ("clearing", "voxrec"))

    def test_no_profile_may_have_more_than_the_settings(self) -> None:
        stage = talking(max_call_seconds=99_999)
        stage.clock.advance(SETTINGS.max_call)
        self.assertEqual(stage.call.status, "clearing")

    def test_a_recording_ends_and_the_call_goes_on(self) -> None:
        stage = talking(max_duration_seconds=30, record_beep_interval=20)
        stage.clock.advance(29)
        stage.took()
        stage.clock.advance(1)
        self.assertEqual(stage.took(), STOP)
        self.assertEqual(told(stage)[-1], ("recording.stopped", "max-duration"))
        for side in Side:
            stage.call.recording_ended(side)
        self.assertEqual(stage.ledger.entries[-1].state, RecordingState.PROCESSING)
        self.assertIsNone(stage.ledger.entries[-1].hangup_cause)
        stage.took()
        stage.clock.advance(60)
        self.assertEqual((stage.took(), stage.call.status), ([], "talking"))


class OnDemandTests(SynchronousTestCase):
    def test_it_is_recorded_from_then_on(self) -> None:
        stage = talking(record=False, record_prompt=RecordPrompt.DEFAULT)
        stage.clock.advance(40)
        stage.call.record()
        self.assertEqual(stage.took(), RECORD)
        self.assertEqual(recording_of(stage).started_at, stage.call.shown().started_at + timedelta(seconds=40))
        for side in Side:
            stage.call.recording_started(side)
        self.assertEqual(stage.took(), ["POST bridges/voxrec-CALL-bridge/play/voxrec-CALL-announcement"])

    def test_again_changes_nothing(self) -> None:
        stage = talking()
        stage.call.record()
        self.assertEqual(stage.took(), [])

    def test_where_it_cannot_be(self) -> None:
        over = talking(max_duration_seconds=1)
        over.clock.advance(1)
        for side in Side:
            over.call.recording_ended(side)
        for stage in (placed(record=False), ringing(record=False), over):
            with self.assertRaises(Conflict):
                stage.call.record()

    def test_without_room_nobody_is_recorded_and_it_is_told(self) -> None:
        stage = Stage()
        core = stage.call._core
        core.settings = _without_room()
        stage.call.inputs.begin()
        stage.call.inputs.leg_entered()
        stage.took()
        stage.call.inputs.leg_answered()
        self.assertEqual(stage.took(), ANSWER)
        self.assertEqual(stage.call.status, "talking")
        absent = stage.ledger.entries[-1]
        assert absent.verdict is not None
        self.assertEqual((absent.state, absent.verdict.reasons), (RecordingState.ABSENT, (DISK_FULL,)))
        with self.assertRaises(Conflict):
            stage.call.record()

    def test_without_room_it_is_refused_on_demand(self) -> None:
        stage = talking(record=False)
        stage.call._core.settings = _without_room()
        with self.assertRaisesRegex(Conflict, "no room"):
            stage.call.record()
        self.assertEqual(stage.ledger.entries, [])


def _without_room() -> Any:
    return replace(SETTINGS, has_disk_space=lambda: False)


class AnnouncementTests(SynchronousTestCase):
    def test_without_one_that_is_required_nothing_is_kept(self) -> None:
        stage = talking(record_prompt=RecordPrompt.DEFAULT, record_prompt_required=True)
        stage.call.playback_ended("announcement", complete=False)
        self.assertEqual(stage.took(), STOP)
        for side in Side:
            stage.call.recording_ended(side)
        last = stage.ledger.entries[-1]
        assert last.verdict is not None
        self.assertEqual((last.verdict.ok, last.verdict.reasons), (False, ("announcement.failed",)))
        self.assertEqual(stage.call.status, "talking")

    def test_played_to_its_end_it_is_kept(self) -> None:
        stage = talking(record_prompt=RecordPrompt.DEFAULT, record_prompt_required=True)
        stage.call.playback_ended("announcement", complete=True)
        self.assertEqual(stage.took(), [])
        self.assertIsNone(recording_of(stage).verdict)


class KeyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.done: list[tuple[str, Side]] = []

    def codes(self, *codes: str) -> KeyCodes:
        return KeyCodes(self.clock, {code: lambda side, code=code: self.done.append((code, side)) for code in codes})  # type: ignore[misc]

    def test_a_code_counts_wherever_it_ends(self) -> None:
        keys = self.codes("*1")
        for key in "55*1":
            keys.pressed(Side.CALLER, key)
        self.assertEqual(self.done, [("*1", Side.CALLER)])

    def test_the_longest_counts(self) -> None:
        keys = self.codes("1", "*1", "9*1")
        for key in "*19*1":
            keys.pressed(Side.CALLEE, key)
        self.assertEqual([code for code, _ in self.done], ["*1", "9*1"])

    def test_too_slow_is_no_code(self) -> None:
        keys = self.codes("*1")
        for seconds, found in ((3.0, 1), (3.1, 1)):
            keys.pressed(Side.CALLER, "*")
            self.clock.advance(seconds)
            keys.pressed(Side.CALLER, "1")
            self.assertEqual(len(self.done), found)

    def test_two_parties_make_no_code_together(self) -> None:
        keys = self.codes("*1")
        keys.pressed(Side.CALLER, "*")
        keys.pressed(Side.CALLEE, "1")
        self.assertEqual(self.done, [])

    def test_no_key_counts_twice(self) -> None:
        keys = self.codes("11")
        for key in "111":
            keys.pressed(Side.CALLER, key)
        self.assertEqual(len(self.done), 1)

    def test_one_code_for_both_toggles(self) -> None:
        for fields in ({}, {"record_resume_code": "*1"}):
            stage = talking(record_pause_code="*1", **fields)
            states = []
            for _ in range(3):
                for key in "*1":
                    stage.call.key_pressed(Side.CALLEE, key)
                states.append(recording_of(stage).state.value)
            self.assertEqual(states, ["paused", "recording", "paused"])

    def test_which_key_it_was_is_written_nowhere(self) -> None:
        stage = talking(record_pause_code="*1")
        stage.call.key_pressed(Side.CALLER, "7")
        self.assertEqual(told(stage)[-1], ("dtmf", None))

    def test_a_code_where_nothing_is_recorded_changes_nothing(self) -> None:
        stage = talking(record=False, record_pause_code="1")
        stage.call.key_pressed(Side.CALLER, "1")
        self.assertEqual(stage.took(), [])


class SteeringTests(SynchronousTestCase):
    """Pausing, where Asterisk answers late, not at all, or no."""

    class Slow(WillingAsterisk):
        """Answers what ends with ``slow`` only when told to."""

        def __init__(self) -> None:
            super().__init__()
            self.slow = "mute"
            self.waiting: list[Deferred[None]] = []

        async def answered(self, method: str, path: tuple[str, ...], query: Any, body: object | None) -> bytes:
            answer = await super().answered(method, path, query, body)
            if path[-1] == self.slow:
                waiting: Deferred[None] = Deferred()
                self.waiting.append(waiting)
                await waiting
            return answer

    def slow_stage(self) -> tuple[Stage, "SteeringTests.Slow"]:
        stage, slow = talking(), self.Slow()
        stage.call._core.asterisk._transport = slow
        return stage, slow

    def pause(self, stage: Stage, seconds: float | None = None) -> Deferred[Recording]:
        return Deferred.fromCoroutine(stage.call.pause(PauseBehavior.SILENCE, seconds))

    def test_two_pauses_at_once_ask_each_side_once(self) -> None:
        stage, slow = self.slow_stage()
        first, second = self.pause(stage), self.pause(stage, 5)
        self.assertNoResult(first)
        for waiting in slow.waiting:
            waiting.callback(None)
        self.assertEqual(self.successResultOf(first).state, RecordingState.PAUSED)
        self.assertEqual(self.successResultOf(second).state, RecordingState.PAUSED)
        self.assertEqual(sum(request.endswith("mute") for request in slow.asked), 2)
        self.assertEqual([event for event, _ in told(stage)].count("paused"), 1)

    def test_an_answer_that_is_lost_ends_the_recording(self) -> None:
        stage, slow = self.slow_stage()
        paused = self.pause(stage)
        slow.waiting[0].errback(AsteriskUnavailable("no answer"))
        slow.waiting[1].callback(None)
        self.failureResultOf(paused, AsteriskUnavailable)
        self.assertEqual(told(stage)[-1], ("recording.stopped", UNSURE))
        self.assertEqual(stage.named(slow.taken())[-2:], STOP)

    def test_a_side_that_refuses_while_the_other_is_late_is_heard_again_on_both(self) -> None:
        stage, slow = self.slow_stage()
        paused = self.pause(stage)
        late, refused = slow.waiting
        refused.errback(AriResponseError("POST mute", 500, "told to"))
        self.assertNoResult(paused)
        slow.slow = ""
        late.callback(None)
        self.failureResultOf(paused, AriResponseError)
        steered = [request.split()[0] for request in slow.asked if request.endswith("caller/mute")]
        self.assertEqual(steered, ["POST", "DELETE"])
        self.assertEqual(recording_of(stage).state, RecordingState.RECORDING)

    def test_it_resumes_by_itself_and_tries_on(self) -> None:
        stage = talking()
        self.successResultOf(self.pause(stage, 5))
        stage.asterisk.refuse = {"variable": 500}
        stage.clock.advance(5)
        self.assertEqual(recording_of(stage).state, RecordingState.PAUSED)
        stage.asterisk.refuse = {}
        stage.clock.advance(1)
        self.assertEqual(recording_of(stage).state, RecordingState.RECORDING)
        self.assertEqual(recording_of(stage).timeline[-1].by, "timer")

    def test_paused_again_only_the_time_changes(self) -> None:
        stage = talking()
        self.successResultOf(self.pause(stage, 5))
        self.successResultOf(self.pause(stage, 50))
        stage.took()
        stage.clock.advance(49)
        self.assertEqual(recording_of(stage).state, RecordingState.PAUSED)
        stage.clock.advance(1)
        self.assertEqual(recording_of(stage).state, RecordingState.RECORDING)

    def test_a_call_that_ends_while_it_is_being_paused(self) -> None:
        stage, slow = self.slow_stage()
        paused = self.pause(stage, 5)
        stage.call.inputs.caller_left(Cause.NORMAL)
        stage.call.inputs.leg_left(Cause.NORMAL)
        for side in Side:
            stage.call.recording_ended(side)
        for waiting in slow.waiting:
            waiting.callback(None)
        self.successResultOf(paused)
        self.assertEqual(stage.ledger.entries[-1].state, RecordingState.PROCESSING)
        self.assertEqual(stage.clock.getDelayedCalls(), [])


class BeeperTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.asterisk = WillingAsterisk()
        self.beeps: list[float] = []
        self.beeper = Beeper(
            self.clock,
            AriClient(self.asterisk, "voxrec"),
            UUID(int=1),
            lambda: "caller",
            media="sound:beep",
            language=None,
            interval=10,
            silent=lambda: False,
            beeped=lambda: self.beeps.append(self.clock.seconds()),
        )
        self.asterisk.snoop_entered = lambda _channel: self.beeper.whisper_entered()

    def test_in_step_with_the_clock(self) -> None:
        self.beeper.start(at_start=True)
        for _ in range(7):
            self.clock.advance(5)
        self.assertEqual(self.beeps, [0, 10, 20, 30])

    def test_after_a_stall_it_does_not_catch_up(self) -> None:
        self.beeper.start(at_start=False)
        self.clock.advance(35)
        self.clock.advance(5)
        self.assertEqual(len(self.beeps), 2)

    def test_another_process_went_before(self) -> None:
        self.beeper.adopt(13.0, is_open=True)
        self.clock.advance(6)
        self.assertEqual(self.beeps, [])
        self.clock.advance(1)
        self.assertEqual(self.beeps, [7])
        self.assertEqual([request for request in self.asterisk.asked if "snoop" in request], [])

    def test_a_beep_that_fails_is_tried_anew_with_a_new_channel(self) -> None:
        self.beeper.start(at_start=True)
        self.asterisk.refuse = {"beep-10000": 404}
        self.clock.advance(10)
        self.clock.advance(10)
        self.assertEqual(self.beeps, [0, 20])
        self.assertEqual(sum("snoop" in request for request in self.asterisk.asked), 2)

    def test_the_end_closes_its_channel_and_stops_its_timer(self) -> None:
        self.beeper.start(at_start=True)
        self.beeper.end()
        self.assertTrue(self.asterisk.asked[-1].startswith("DELETE channels/voxrec-"))
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ReferTests(SynchronousTestCase):
    def test_whom_a_transfer_names(self) -> None:
        for refer_to, target in (
            ("<sip:a@192.0.2.1>", "sip:a@192.0.2.1"),
            ('"A" <sip:a@192.0.2.1>;x=y', "sip:a@192.0.2.1"),
            ("<sip:a@192.0.2.1?Replaces=x>", "sip:a@192.0.2.1"),
            ("<sip:a@h&PJSIP/other>", None),
            ("<sip:a,b@h>", None),
            ("<sip:a%0d%0a@h>", None),
            ("tel:+4930", None),
            ("<", None),
            ("", None),
        ):
            self.assertEqual(refer_target(refer_to), target, refer_to)


class TakeOverTests(SynchronousTestCase):
    """A call that another process left, in each of its states."""

    BOTH = frozenset(Side)

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_100)
        self.asterisk = WillingAsterisk()
        self.ledger = Notebook()
        self.ended: list[LiveCall] = []

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.seconds(), UTC)

    def taken_over(self, fields: dict[str, Any] | None = None, **situation: Any) -> LiveCall:
        call_id, recording_id = UUID(int=77), UUID(int=78)
        remembered = TakeoverState(
            call_id=call_id,
            recording_id=recording_id,
            caller=INCOMING.channel,
            leg=owned_id(call_id, "leg"),
            number="+4930111",
            name="Alice",
            dialled="+4930222",
            started_at=self.now() - timedelta(seconds=100),
            profile=profile(**(fields or {})),
        )
        self.call = LiveCall(
            self.clock,
            AriClient(self.asterisk, "voxrec"),
            self.ledger,
            SETTINGS,
            InboundCall(channel=INCOMING.channel, number="+4930111", name="Alice", dialled="+4930222"),
            remembered.profile,
            over=self.ended.append,
            memory=remembered,
        )
        call = self.call
        self.asterisk.snoop_entered = lambda channel: call.helper_entered(channel.split(f"{call_id}-")[1])
        stands = {
            "leg_there": True,
            "caller_there": True,
            "leg_entered": True,
            "bridged": True,
            "leg_up": True,
            "caller_up": True,
            "recorded": self.BOTH,
            "announcing": False,
            "whispering": False,
            "began": None,
            "recording": None,
            "pause": None,
        }
        self.call.take_over(CallSnapshot(**{**stands, **situation}))
        return self.call

    def known(self, **fields: Any) -> Recording:
        began = self.now() - timedelta(seconds=90)
        known = Recording(
            id=UUID(int=78),
            profile_id=profile().id,
            call_id=UUID(int=77),
            state=RecordingState.RECORDING,
            started_at=began,
            created_at=began,
            updated_at=began,
        )
        return msgspec.structs.replace(known, **fields)

    def took(self) -> list[str]:
        return [
            request.replace(str(UUID(int=77)), "CALL").replace(INCOMING.channel, "CALLER")
            for request in self.asterisk.taken()
        ]

    def test_while_the_leg_was_being_made(self) -> None:
        call = self.taken_over(leg_entered=False, leg_up=False, bridged=False, caller_up=False, recorded=frozenset())
        self.assertEqual((call.status, self.took()), ("placing", []))

    def test_before_it_was_dialled(self) -> None:
        call = self.taken_over(leg_up=False, bridged=False, caller_up=False, recorded=frozenset())
        self.assertEqual(call.status, "ringing")
        self.assertEqual(
            self.took(), ["POST bridges/voxrec-CALL-bridge/addChannel", "POST channels/voxrec-CALL-leg/dial"]
        )

    def test_while_it_rings(self) -> None:
        call = self.taken_over(leg_up=False, caller_up=False, recorded=frozenset())
        self.assertEqual((call.status, self.took()), ("ringing", []))
        self.clock.advance(1)  # it has rung long enough
        self.assertEqual(call.status, "clearing")

    def test_answered_and_the_caller_not_told_yet(self) -> None:
        call = self.taken_over(caller_up=False, recorded=frozenset())
        self.assertEqual((call.status, self.took()), ("connecting", ANSWER + RECORD))

    def test_while_it_is_announced(self) -> None:
        call = self.taken_over(announcing=True, recording=self.known())
        self.assertEqual((call.status, self.took()), ("announcing", []))
        call.playback_ended("announcement", complete=True)
        self.assertEqual(call.status, "talking")

    def test_while_both_talk(self) -> None:
        call = self.taken_over(recording=self.known())
        self.assertEqual((call.status, self.took()), ("talking", []))
        assert call.recording is not None
        self.assertEqual(call.recording.timeline[-1].event, "taken-over")

    def test_what_nothing_is_known_of_began_with_its_snoop(self) -> None:
        began = self.now() - timedelta(seconds=80)
        call = self.taken_over(began=began)
        assert call.recording is not None
        self.assertEqual((call.recording.id, call.recording.started_at), (UUID(int=78), began))

    def test_paused_until_then(self) -> None:
        pause = Pause(behavior=PauseBehavior.SILENCE, until=self.now() + timedelta(seconds=4))
        call = self.taken_over(recording=self.known(state=RecordingState.PAUSED), pause=pause)
        assert call.recording is not None
        self.assertEqual((call.recording.state, self.took()), (RecordingState.PAUSED, []))
        self.clock.advance(4)
        self.assertEqual(call.recording.state, RecordingState.RECORDING)
        self.assertEqual(sum(request.startswith("DELETE recordings/live") for request in self.took()), 2)

    def test_in_the_middle_of_pausing(self) -> None:
        pause = Pause(behavior=PauseBehavior.SILENCE, settled=False)
        call = self.taken_over(recording=self.known(), pause=pause)
        assert call.recording is not None
        self.assertEqual(call.recording.timeline[-1].detail, UNSURE)
        self.assertCountEqual(self.took(), STOP)

    def test_a_recording_that_ended_meanwhile_is_handed_over(self) -> None:
        call = self.taken_over(recorded=frozenset(), recording=self.known())
        self.assertEqual(call.status, "talking")
        self.assertEqual(self.ledger.entries[-1].state, RecordingState.PROCESSING)

    def test_a_recording_that_had_ended_before_is_left_alone(self) -> None:
        call = self.taken_over(recorded=frozenset(), recording=self.known(state=RecordingState.PROCESSING))
        self.assertEqual((call.status, self.ledger.entries), ("talking", []))
        with self.assertRaises(Conflict):
            call.record()

    def test_its_beeps_go_on_in_step(self) -> None:
        self.taken_over({"record_beep_interval": 20}, recording=self.known(), whispering=False)
        self.clock.advance(9)
        self.assertEqual(self.took(), [])
        self.clock.advance(1)  # 100 s after the Recording began
        beep = f"beep-{round(self.clock.seconds() * 1000)}"
        self.assertEqual([request.replace(beep, "beep") for request in self.took()], WHISPER)

    def test_its_limits_count_from_the_beginning(self) -> None:
        self.taken_over({"max_duration_seconds": 100}, recording=self.known())
        self.clock.advance(10)
        self.assertCountEqual(self.took(), STOP)
        self.taken_over({"max_call_seconds": 95}, recording=self.known(started_at=self.now() - timedelta(seconds=90)))
        self.clock.advance(5)
        self.assertEqual(self.call.status, CallState.CLEARING)

    def test_a_party_that_went_meanwhile(self) -> None:
        for leg_there, remains in ((False, END_CALLER), (True, END_LEG)):
            call = self.taken_over(recording=self.known(), leg_there=leg_there, caller_there=not leg_there)
            self.assertEqual((call.status, self.took()), ("clearing", remains))


class ReplacedTests(SynchronousTestCase):
    def test_another_program_has_the_application(self) -> None:
        clock, asterisk, ledger = Clock(), WillingAsterisk(), Notebook()
        client = AriClient(asterisk, "voxrec")

        class One:
            confirmed = True

            def find(self, _: str) -> Profile | None:
                return profile(record_beep_interval=5)

        router = Router(clock, client, One(), ledger, SETTINGS, nothing_known)
        gave_way: list[bool] = []
        unused: Any = None
        link = StasisSession(
            clock, client, router, unused, open_lane=lambda: None, give_way=lambda: gave_way.append(True)
        )
        caller = events.Channel(id="1700.1", dialplan=events.Dialplan(exten="1"))
        link.event_received(events.StasisStart(caller, ("incoming",)))
        (call,) = router.calls
        link.event_received(events.StasisStart(events.Channel(id=call.leg), ("leg",)))
        asterisk.snoop_entered = lambda snoop: link.event_received(events.StasisStart(events.Channel(id=snoop)))
        link.event_received(events.ChannelStateChange(events.Channel(id=call.leg, state="Up")))
        for side in Side:
            link.event_received(events.RecordingStarted(events.LiveRecording(leg_name(call.recording_id, side))))
        call.key_pressed(Side.CALLER, "1")  # known to this process only
        asterisk.taken()
        self.assertFalse(link.replaced)
        link.event_received(events.ApplicationReplaced("voxrec"))
        self.assertTrue(link.replaced)
        self.assertEqual((gave_way, list(router.calls), asterisk.taken()), ([True], [], []))
        self.assertEqual([entry.event for entry in ledger.entries[-1].timeline][-1], "dtmf")
        self.assertEqual((ledger.entries[-1].state, clock.getDelayedCalls()), (RecordingState.RECORDING, []))

    def test_what_is_not_there_yet_is_left_to_who_goes_on(self) -> None:
        stage = Stage()
        stage.asterisk.snoop_entered = lambda _channel: None
        stage.call.inputs.begin()
        stage.call.leg_entered("")
        stage.call.inputs.leg_answered()
        self.assertIn("POST channels/CALLER/snoop/voxrec-CALL-snoop-caller", stage.took())
        stage.call.let_go()
        stage.clock.advance(60)
        self.assertEqual(stage.took(), [])

    def test_what_asterisk_still_answers_ends_nobodys_call(self) -> None:
        stage, slow = Stage(), SteeringTests.Slow()
        slow.slow = "create"
        stage.call._core.asterisk._transport = slow
        stage.call.inputs.begin()
        stage.call.let_go()
        slow.waiting[0].errback(AriResponseError("POST channels/create", 500, "told to"))
        self.assertEqual([request for request in slow.asked if request.startswith("DELETE")], [])
        self.assertEqual((stage.ended, stage.clock.getDelayedCalls()), ([], []))

    def test_a_pause_that_comes_through_too_late_is_not_resumed_here(self) -> None:
        stage, slow = talking(), SteeringTests.Slow()
        stage.call._core.asterisk._transport = slow
        pausing = Deferred.fromCoroutine(stage.call.pause(PauseBehavior.SILENCE, 5))
        stage.call.let_go()
        written = len(stage.ledger.entries)
        for waiting in slow.waiting:
            waiting.callback(None)
        self.successResultOf(pausing)
        stage.clock.advance(10)
        self.assertEqual([request for request in slow.asked if request.startswith("DELETE")], [])
        self.assertEqual((len(stage.ledger.entries), stage.clock.getDelayedCalls()), (written, []))
