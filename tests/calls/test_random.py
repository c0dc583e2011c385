"""Random orders of events, answers and faults: a call ends whole, and nothing of it is left behind.

A model of Asterisk stands in for the real one; hypothesis decides who does what next, which answers are late or lost,
which event comes first, when the websocket drops, and when voxrec dies and another one goes on. In the end everybody
hangs up, and nothing may be left: no channel, bridge, recording or timer, no call, and no Recording without an end.
"""

from collections.abc import Collection, Coroutine, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.calls.double import Notebook, profile
from tests.calls.model import Fate, ModelAsterisk
from voxrec.ari.client import AriClient
from voxrec.calls import takeover_state as memory
from voxrec.calls.core import CallSettings
from voxrec.calls.ids import owner_of
from voxrec.calls.router import Router
from voxrec.calls.stasis_session import StasisSession
from voxrec.calls.unfinished_recordings import UnfinishedRecordings
from voxrec.errors import NotFound, VoxrecError
from voxrec.model import PauseBehavior, Profile, Recording, RecordingState, RecordPrompt, leg_name

_PROFILES: Mapping[str, Mapping[str, Any]] = {
    "100": {},
    "101": {
        "record_prompt": RecordPrompt.DEFAULT,
        "record_prompt_required": True,
        "record_beep_at_start": True,
        "record_beep_interval": 5,
        "record_pause_code": "*1",
    },
    "102": {
        "record_beep_interval": 7,
        "record_beep_in_recording": True,
        "record_pause_code": "1",
        "record_resume_code": "2",
        "max_duration_seconds": 20,
        "max_calls": 1,
    },
    "103": {"record": False, "record_beep_at_start": True, "max_call_seconds": 30, "ring_timeout_seconds": 5},
}
_WHICH = st.integers(0, 7)
_TRUTH = frozenset({"lost before", "lost after", "refused"})


class Pages:
    """A Directory with a Profile of each kind."""

    confirmed = True

    def __init__(self) -> None:
        self._profiles = {
            exten: profile(id=UUID(int=number), **fields) for number, (exten, fields) in enumerate(_PROFILES.items(), 1)
        }

    def find(self, dialled: str) -> Profile | None:
        return self._profiles.get(dialled)


class Shelf(Notebook):
    """A Ledger in memory that can be read: who writes and then dies has written."""

    def __init__(self) -> None:
        super().__init__()
        self.latest: dict[UUID, Recording] = {}

    def append(self, recording: Recording) -> None:
        super().append(recording)
        self.latest[recording.id] = recording

    async def get(self, recording_id: UUID) -> Recording:
        if recording_id not in self.latest:
            raise NotFound("never heard of it")
        return self.latest[recording_id]

    async def recall(self, recording_ids: Collection[UUID]) -> dict[UUID, Recording]:
        return {one: self.latest[one] for one in recording_ids if one in self.latest}


class FilesOf(UnfinishedRecordings):
    """Finds the files of the model."""

    def __init__(self, model: ModelAsterisk, client: AriClient, shelf: Shelf, router: Router, clock: Clock) -> None:
        async def at_once(work: Any, *args: Any) -> Any:
            return work(*args)

        super().__init__(client, shelf, shelf, Path("/nowhere"), router.owns, at_once)
        self._model = model
        self._clock = clock

    def _found(self) -> dict[UUID, Any]:
        now = datetime.fromtimestamp(self._clock.seconds(), UTC)
        return {owner[0]: now for name in self._model.files if (owner := owner_of(name)) is not None}


class Line:
    """What one process has of Asterisk; nothing goes over it once the process is dead."""

    def __init__(self, model: ModelAsterisk) -> None:
        self._model = model
        self.cut = False

    def request(
        self, method: str, path: tuple[str, ...], query: Mapping[str, str], body: object | None = None
    ) -> Deferred[bytes]:
        """See `voxrec.ari.transport.Transport`."""
        return Deferred.fromCoroutine(self.answered(method, path, query, body))

    async def answered(
        self, method: str, path: tuple[str, ...], query: Mapping[str, str], body: object | None
    ) -> bytes:
        try:
            answer = await self._model.request(method, path, query, body)
        except VoxrecError:
            if self.cut:
                await Deferred()
            raise
        if self.cut:
            await Deferred()
        return answer


@implementer(ILogObserver)
class Failures:
    """Listens to the log for what nobody expected."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def __call__(self, event: LogEvent) -> None:
        if event.get("log_failure") is not None:
            self.told.append(event["log_failure"])


class Process:
    """A voxrec, as far as calls go."""

    def __init__(self, model: ModelAsterisk, shelf: Shelf, now: float, room: Any) -> None:
        self.clock = Clock()
        self.clock.advance(now)
        self.line = Line(model)
        client = AriClient(self.line, "voxrec")
        self.router = Router(
            self.clock,
            client,
            Pages(),
            shelf,
            CallSettings(
                endpoint="trunk",
                ring_timeout=20,
                setup_timeout=5,
                max_call=120,
                announcement=lambda _: "sound:announcement",
                beep="sound:beep",
                has_disk_space=room,
            ),
            shelf.recall,
        )
        files = FilesOf(model, client, shelf, self.router, self.clock)
        self.link = StasisSession(self.clock, client, self.router, files, open_lane=lambda: None, give_way=lambda: None)


class Calls(RuleBasedStateMachine):
    """Who may do what, and what must hold."""

    def __init__(self) -> None:
        super().__init__()
        self.model = ModelAsterisk()
        self.shelf = Shelf()
        self.room = True
        self.now = 1_700_000_000.0
        self.kills = 0
        self.asked: list[Deferred[Any]] = []
        self.retired: list[Process] = []
        self.failures = Failures()
        globalLogPublisher.addObserver(self.failures)
        self._new_process()

    def _new_process(self) -> None:
        self.process = Process(self.model, self.shelf, self.now, lambda: self.room)
        self._connect()

    def _connect(self) -> None:
        self.model.listened_to = True
        self.process.link.stream_connected(self.process.line)  # type: ignore[arg-type] # all of it that is asked for

    def _ask(self, step: Coroutine[Any, Any, Any]) -> None:
        self.asked.append(Deferred.fromCoroutine(step).addErrback(lambda failure: failure.trap(VoxrecError)))

    @property
    def router(self) -> Router:
        return self.process.router

    # who calls, and what the parties do

    @rule(exten=st.sampled_from([*_PROFILES, "100", "101"]))
    def somebody_calls(self, exten: str) -> None:
        if len(self.model.callers()) < 3:
            self.model.call(exten)

    @rule(exten=st.sampled_from([*_PROFILES, "101", "102"]))
    def two_are_put_through(self, exten: str) -> None:
        if len(self.model.callers()) < 3:
            self.model.call(exten)
            self.all_that_waits_comes()
            for leg in self.model.legs():
                self.model.pick_up(leg)
            self.all_that_waits_comes()
            self.time_passes(seconds=0.01)
            self.all_that_waits_comes()

    @precondition(lambda self: self.model.legs())
    @rule(which=_WHICH, how=st.sampled_from(["ring", "pick up", "pick up", "refuse", "hang up"]))
    def the_far_end(self, which: int, how: str) -> None:
        legs = self.model.legs()
        leg = legs[which % len(legs)]
        if how == "ring":
            self.model.ring(leg)
        elif how == "pick up":
            self.model.pick_up(leg)
        else:
            self.model.hang_up(leg, 17 if how == "refuse" else 16)

    @precondition(lambda self: self.model.callers())
    @rule(which=_WHICH)
    def the_caller_hangs_up(self, which: int) -> None:
        callers = self.model.callers()
        self.model.hang_up(callers[which % len(callers)], 16)

    @precondition(lambda self: self.model.legs())
    @rule(which=_WHICH, uri=st.sampled_from(["sip:other@192.0.2.8", "nonsense"]))
    def the_far_end_transfers(self, which: int, uri: str) -> None:
        legs = self.model.legs()
        self.model.transfer(legs[which % len(legs)], uri)

    @precondition(lambda self: self.model.callers())
    @rule(which=_WHICH, far=st.booleans(), keys=st.sampled_from(["*1", "1", "2", "*", "12", "hold"]))
    def a_party_presses_keys(self, which: int, far: bool, keys: str) -> None:
        parties = self.model.legs() if far else self.model.callers()
        if not parties:
            return
        party = parties[which % len(parties)]
        if keys == "hold":
            self.model.hold(party)
        else:
            for key in keys:
                self.model.press(party, key)

    # what is asked by REST

    @precondition(lambda self: any(self.router.calls))
    @rule(
        which=_WHICH, what=st.sampled_from(["pause", "pause", "resume", "record"]), seconds=st.sampled_from([None, 3])
    )
    def rest_asks(self, which: int, what: str, seconds: float | None) -> None:
        call = list(self.router.calls)[which % len(list(self.router.calls))]
        if what == "pause":
            self._ask(self.router.pause(call.recording_id, PauseBehavior.SILENCE, seconds))
        elif what == "resume":
            self._ask(self.router.resume(call.recording_id))
        else:
            self._ask(_now(lambda: self.router.record(call.id)))

    @precondition(lambda self: any(self.router.calls))
    @rule(which=_WHICH)
    def rest_hangs_up(self, which: int) -> None:
        calls = list(self.router.calls)
        self.router.release(calls[which % len(calls)].id)

    # what Asterisk does

    @precondition(lambda self: self.model.works)
    @rule(which=_WHICH)
    def asterisk_works(self, which: int) -> None:
        self.model.works.pop(which % len(self.model.works))()

    @precondition(lambda self: self.model.events)
    @rule(which=_WHICH)
    def an_event_comes(self, which: int) -> None:
        event = self.model.next_event(which)
        if event is not None:
            self.process.link.event_received(event)

    @rule()
    def all_that_waits_comes(self) -> None:
        while self.model.works or self.model.events:
            if self.model.works:
                self.model.works.pop(0)()
            if (event := self.model.next_event(0)) is not None:
                self.process.link.event_received(event)

    @precondition(lambda self: self.model.late)
    @rule(which=_WHICH)
    def a_late_answer_comes(self, which: int) -> None:
        self.model.late.pop(which % len(self.model.late))()

    @rule(fates=st.lists(st.sampled_from(["done", "late", "late", "refused", "lost before", "lost after"]), max_size=4))
    def answers_will_be(self, fates: list[Fate]) -> None:
        self.model.fates.extend(fates)

    # what breaks

    @precondition(lambda self: self.model.listened_to)
    @rule()
    def the_websocket_drops(self) -> None:
        self.model.drop_line()
        self.process.link.stream_disconnected()

    @precondition(lambda self: not self.model.listened_to)
    @rule()
    def the_websocket_is_back(self) -> None:
        self._connect()

    @rule()
    def voxrec_is_killed(self) -> None:
        self.kills += 1
        self.process.line.cut = True
        self.asked.clear()
        self.model.drop_line()
        self._new_process()

    @rule()
    def voxrec_is_restarted(self) -> None:
        self.model.drop_line()
        self.router.let_go_all()
        self.retired.append(self.process)
        self._new_process()

    @rule(enough=st.booleans())
    def the_disk(self, enough: bool) -> None:
        self.room = enough
        if not enough:
            self.router.stop_recordings("disk-full")

    @rule(seconds=st.sampled_from([0.01, 0.5, 1.0, 2.0, 3.5, 6.0, 12.0, 25.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.process.clock.advance(seconds)

    # what holds at all moments

    @invariant()
    def nothing_is_written_while_it_is_paused(self) -> None:
        for channel in self.model.channels.values():
            pause = memory.read_pause(channel.variables.get(memory.PAUSE, ""))
            if pause is None or not pause.settled:
                continue
            for recording in self.model.recordings.values():
                snoop = self.model.channels.get(recording.channel)
                if snoop is not None and snoop.spied == channel.id and not snoop.dying:
                    assert recording.muted, f"{recording.name} is written while it is paused"

    @invariant()
    def nothing_is_silent_while_it_is_recorded(self) -> None:
        if self.model.late:
            return
        for call in self.router.calls:
            recorder = call._core.recorder
            if recorder is None or recorder.recording.state is not RecordingState.RECORDING:
                continue
            if recorder._steering.locked or any(
                one.event == "recording.stopped" for one in recorder.recording.timeline
            ):
                continue
            for side in recorder._open:
                recording = self.model.recordings.get(leg_name(call.recording_id, side))
                assert recording is None or not recording.muted, f"{recording.name} is silent while it is recorded"

    @invariant()
    def nothing_raised(self) -> None:
        assert not self.failures.told, self.failures.told

    # the end

    def teardown(self) -> None:
        try:
            self._settle()
        finally:
            globalLogPublisher.removeObserver(self.failures)

    def _settle(self) -> None:
        self.model.fates.clear()
        self.room = True
        if not self.model.listened_to:
            self._connect()
        self._calm_down()
        for caller in self.model.callers():
            self.model.hang_up(caller, 16)
        self._calm_down()
        # what could not be asked of Asterisk is made good when it connects anew
        self.the_websocket_drops()
        self._connect()
        self._calm_down()
        assert list(self.router.calls) == []
        assert list(self.model.left()) == []
        for process in (self.process, *self.retired):
            process.clock.advance(200)
            assert process.clock.getDelayedCalls() == []
        filed = {owner[0] for name in self.model.files if (owner := owner_of(name)) is not None}
        for recording in self.shelf.latest.values():
            # killed between the row and the file, it left nothing by which the next one could find it
            assert not recording.state.live or (self.kills and recording.id not in filed), recording
        assert all(one.called for one in self.asked)
        self.nothing_raised()

    def _calm_down(self) -> None:
        for _ in range(60):
            while self.model.late:
                self.a_late_answer_comes(which=0)
            self.all_that_waits_comes()
            self.time_passes(seconds=1.0)


async def _now(act: Any) -> Any:
    return act()


class RandomTests(SynchronousTestCase):
    def test_nothing_is_left_behind(self) -> None:
        run_state_machine_as_test(
            Calls,
            settings=settings(
                max_examples=60,
                stateful_step_count=50,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
