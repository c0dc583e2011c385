"""Random sequences of events, responses and failures: every call ends, and nothing of it is left behind.

hypothesis decides what each party and Asterisk do next, which responses are late or lost, in which order events arrive,
when the websocket disconnects, and when the process dies and another one continues. At the end all callers hang up, and
nothing may be left: no channel, bridge, recording or timer, no call, and no Recording without an outcome.
"""

from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.calls.fake_asterisk import InMemorySink, make_profile
from tests.calls.model import ModelAsterisk, ModelChannel, Outcome
from voxrec.ami.client import AmiClient
from voxrec.ami.protocol import AmiResponse
from voxrec.ari import events
from voxrec.ari.client import AriClient
from voxrec.ari.events import Playback
from voxrec.calls.admission import Admission
from voxrec.calls.call_control import CallControl
from voxrec.calls.call_data import CallSettings
from voxrec.calls.channels.ids import BRIDGE, owned_id, owner_of
from voxrec.calls.live_calls import LiveCalls
from voxrec.calls.recording.recording_commands import RecordingCommands
from voxrec.calls.recording.unfinished_recordings import FoundFiles, UnfinishedRecordings
from voxrec.calls.stasis.reconciliation import Reconciler
from voxrec.calls.stasis.router import Router
from voxrec.calls.stasis.stasis_session import StasisSession
from voxrec.errors import AsteriskUnavailable, CommandNotSent, NotFound, VoxrecError
from voxrec.model import CallState, PauseBehavior, Profile, Recording, RecordingState, RecordPrompt, Side, leg_name

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
T = TypeVar("T")
_INDEX = st.integers(0, 7)
_COMMANDS = ["pause", "resume", "renew", "replace the caller"]
_ACTION_OUTCOMES: st.SearchStrategy[Outcome] = st.sampled_from(["lost before", "lost after", "executed later"])
_TARGETS = st.sampled_from(["sip:other@192.0.2.8", "sip:other@192.0.2.8", "not a URI"])
_ENDING = (CallState.CLEARING, CallState.OVER)


class Profiles:
    """A ProfileDirectory with Profiles of each kind."""

    confirmed = True

    def __init__(self) -> None:
        self._profiles = {
            exten: make_profile(id=UUID(int=number), **fields)
            for number, (exten, fields) in enumerate(_PROFILES.items(), 1)
        }

    def find(self, dialled: str) -> Profile | None:
        return self._profiles.get(dialled)


class Recordings(InMemorySink):
    """A sink that can be read, and that outlives a process."""

    def __init__(self) -> None:
        super().__init__()
        self.latest: dict[UUID, Recording] = {}
        self.outcomes: dict[UUID, int] = {}

    def append(self, recording: Recording) -> None:
        super().append(recording)
        before = self.latest.get(recording.id)
        assert before is None or before.state.live, f"{recording} after its outcome"
        if not recording.state.live:
            self.outcomes[recording.id] = self.outcomes.get(recording.id, 0) + 1
        self.latest[recording.id] = recording

    async def get(self, recording_id: UUID) -> Recording:
        if recording_id not in self.latest:
            raise NotFound("unknown")
        return self.latest[recording_id]

    async def live_since_before(self, time: datetime, node: str) -> list[Recording]:
        return [one for one in self.latest.values() if one.state.live and one.updated_at < time and one.node == node]

    async def find(self, recording_ids: Collection[UUID]) -> dict[UUID, Recording]:
        return {one: self.latest[one] for one in recording_ids if one in self.latest}


class UnfinishedRecordingsOfModel(UnfinishedRecordings):
    """Finds the files of the model."""

    def __init__(self, model: ModelAsterisk, recordings: Recordings, live_calls: LiveCalls, clock: Clock) -> None:
        async def run(function: Any, *args: Any) -> Any:
            return function(*args)

        super().__init__(clock, recordings, recordings, Path("/nowhere"), live_calls.is_recording, run)
        self._model = model

    def _find_files(self) -> dict[UUID, FoundFiles]:
        now = datetime.fromtimestamp(self._clock.seconds(), UTC)
        found: dict[UUID, FoundFiles] = {}
        for name, closed in self._model.files.items():
            if (owner := owner_of(name)) is not None:
                file = FoundFiles(now, now, closed)
                found[owner[0]] = found[owner[0]] | file if owner[0] in found else file
        return found


class FilesOfModel:
    """The LegFiles of the model."""

    def __init__(self, model: ModelAsterisk) -> None:
        self._model = model

    async def created(self, recording_id: UUID) -> frozenset[Side]:
        """See `voxrec.calls.recording.leg_files.LegFiles`."""
        return frozenset(side for side in Side if leg_name(recording_id, side) in self._model.files)

    async def written(self, recording_id: UUID) -> frozenset[Side]:
        """See `voxrec.calls.recording.leg_files.LegFiles`."""
        return frozenset(side for side in Side if self._model.files.get(leg_name(recording_id, side)) is False)

    async def closed(self, recording_id: UUID, expected: Collection[Side]) -> bool:
        """See `voxrec.calls.recording.leg_files.LegFiles`."""
        files = {side: self._model.files.get(leg_name(recording_id, side)) for side in Side}
        return all(closed if side in expected else closed is not False for side, closed in files.items())

    async def duration(self, recording_id: UUID) -> float:
        """See `voxrec.calls.recording.leg_files.LegFiles`."""
        return 1.0

    async def silent(self, recording_id: UUID) -> Mapping[Side, bool]:
        """See `voxrec.calls.recording.leg_files.LegFiles`."""
        return {}


class ProcessTransport:
    """The connections of one process to the model. After `cut`, the process gets no responses: it is dead."""

    def __init__(self, model: ModelAsterisk, status_of: Callable[[UUID], CallState | None]) -> None:
        self.model = model
        self._status_of = status_of
        self.cut = False
        self._sessions = count(1)
        self.session_directory = ""  # while AMI is connected
        self.connect_ami()

    def connect_ami(self) -> None:
        """Begin another AMI session, after the name of the directory of the one before was revoked."""
        self.disconnect_ami()
        self.session_directory = f"{id(self)}-{next(self._sessions)}"

    def disconnect_ami(self) -> None:
        """End the AMI session."""
        if self.session_directory:
            self.model.revoked.add(f"recording/{self.session_directory}")
        self.session_directory = ""

    def request(
        self, method: str, path: tuple[str, ...], query: Mapping[str, str], body: object | None = None
    ) -> Deferred[bytes]:
        """See `voxrec.ari.transport.Transport`."""
        if path == ("channels", "create"):
            owner = owner_of(query["channelId"])
            assert owner is not None
            if self._status_of(owner[0]) in (None, *_ENDING):
                self.model.violations.append(f"a leg is created for call {owner[0]}, which ends")
        return Deferred.fromCoroutine(self._respond(method, path, query, body))

    @property
    def version(self) -> int:
        """See `voxrec.ami.client.ActionSender`."""
        return self.model.version

    def action(self, action: str, fields: Mapping[str, str]) -> Deferred[AmiResponse]:
        """See `voxrec.ami.client.ActionSender`."""
        return Deferred.fromCoroutine(self._unless_cut(self._act(action, fields)))

    async def _act(self, action: str, fields: Mapping[str, str]) -> AmiResponse:
        """Send an action. The connection is lost if it has no response."""
        if not self.session_directory:
            raise CommandNotSent("AMI is not connected")
        try:
            return await self.model.action(action, fields)
        except CommandNotSent:
            raise
        except AsteriskUnavailable:
            self.disconnect_ami()
            raise

    async def _respond(
        self, method: str, path: tuple[str, ...], query: Mapping[str, str], body: object | None
    ) -> bytes:
        return await self._unless_cut(self.model.request(method, path, query, body))

    async def _unless_cut(self, request: Awaitable[T]) -> T:
        try:
            response = await request
        except VoxrecError:
            if self.cut:
                await Deferred()
            raise
        if self.cut:
            await Deferred()
        return response


@implementer(ILogObserver)
class LoggedFailures:
    """Collects unexpected exceptions from the log."""

    def __init__(self) -> None:
        self.failures: list[object] = []

    def __call__(self, event: LogEvent) -> None:
        if event.get("log_failure") is not None:
            self.failures.append(event["log_failure"])


class Process:
    """What a process has for its calls."""

    def __init__(
        self,
        model: ModelAsterisk,
        recordings: Recordings,
        now: float,
        has_disk_space: Callable[[], bool],
        connect: type[ProcessTransport],
    ) -> None:
        self.clock = Clock()
        self.clock.advance(now)
        self.transport = connect(model, self._status_of)
        client = AriClient(self.transport, "voxrec")
        self.live_calls = LiveCalls(
            self.clock,
            client,
            RecordingCommands(
                client, AmiClient(self.transport), FilesOfModel(model), lambda: self.transport.session_directory
            ),
            recordings,
            CallSettings(
                endpoint="trunk",
                ring_timeout=20,
                setup_timeout=5,
                max_call=120,
                announcement=lambda _: "sound:announcement",
                beep="sound:beep",
                has_disk_space=has_disk_space,
            ),
        )
        admission = Admission(Profiles(), self.live_calls)
        router = Router(client, self.live_calls, admission)
        self.control = CallControl(self.live_calls, admission, lambda: True)
        unfinished = UnfinishedRecordingsOfModel(model, recordings, self.live_calls, self.clock)
        self.session = StasisSession(
            self.clock,
            client,
            self.live_calls,
            router,
            Reconciler(client, self.live_calls, router, recordings.find, unfinished.find_files),
            unfinished,
            announcement_check=NoAnnouncementCheck(),
            close_stream=lambda: None,
        )

    def _status_of(self, call_id: UUID) -> CallState | None:
        call = self.live_calls.get(call_id)
        return None if call is None else call.status


class NoAnnouncementCheck:
    """Checks nothing."""

    async def asterisk_connected(self) -> None:
        pass

    def asterisk_disconnected(self) -> None:
        pass

    def playback_finished(self, playback: Playback) -> None:
        pass


class Calls(RuleBasedStateMachine):
    """What can happen, and what must hold."""

    version = 22
    transport = ProcessTransport

    def __init__(self) -> None:
        super().__init__()
        self.model = ModelAsterisk(self.version)
        self.recordings = Recordings()
        self.has_disk_space = True
        self.now = 1_700_000_000.0
        self.kills = 0
        self.rest_requests: list[Deferred[Any]] = []
        self.stopped_processes: list[Process] = []
        self.logged = LoggedFailures()
        globalLogPublisher.addObserver(self.logged)
        self._start_process()

    def _start_process(self) -> None:
        self.model.reported_gone.clear()
        self.process = Process(self.model, self.recordings, self.now, lambda: self.has_disk_space, self.transport)
        self._connect()

    def _connect(self) -> None:
        self.model.connected = True
        self.process.session.stream_connected(self.process.transport)  # type: ignore[arg-type] # all that is used

    def _request(self, step: Coroutine[Any, Any, Any]) -> None:
        self.rest_requests.append(Deferred.fromCoroutine(step).addErrback(lambda failure: failure.trap(VoxrecError)))

    def _leg(self, index: int) -> ModelChannel:
        legs = self.model.legs()
        return legs[index % len(legs)]

    # The parties.

    @rule(exten=st.sampled_from([*_PROFILES, "100", "101"]))
    def inbound_call(self, exten: str) -> None:
        if len(self.model.callers()) < 3:
            self.model.call(exten)

    @rule(exten=st.sampled_from([*_PROFILES, "101", "102"]))
    def answered_call(self, exten: str) -> None:
        if len(self.model.callers()) < 3:
            self.model.call(exten)
            self.everything_pending_happens()
            for leg in self.model.legs():
                self.model.pick_up(leg)
            self.everything_pending_happens()
            self.time_passes(seconds=0.01)
            self.everything_pending_happens()

    @precondition(lambda self: self.model.legs())
    @rule(index=_INDEX, action=st.sampled_from(["ring", "progress", "pick up", "pick up", "refuse", "hang up"]))
    def far_end_acts(self, index: int, action: str) -> None:
        leg = self._leg(index)
        if action == "ring":
            self.model.ring(leg)
        elif action == "progress":
            self.model.progress(leg)
        elif action == "pick up":
            self.model.pick_up(leg)
        else:
            self.model.hang_up(leg, 17 if action == "refuse" else 16)

    @precondition(lambda self: self.model.callers())
    @rule(index=_INDEX)
    def caller_hangs_up(self, index: int) -> None:
        callers = self.model.callers()
        self.model.hang_up(callers[index % len(callers)], 16)

    @precondition(lambda self: self.model.legs())
    @rule(index=_INDEX, uri=_TARGETS)
    def far_end_transfers(self, index: int, uri: str) -> None:
        self.model.transfer(self._leg(index), uri)

    @precondition(lambda self: self.model.legs())
    @rule(index=_INDEX, uri=_TARGETS, action=st.sampled_from(["release", "caller hangs up", "far end hangs up"]))
    def far_end_transfers_while_the_call_ends(self, index: int, uri: str, action: str) -> None:
        leg = self._leg(index)
        if action == "release":
            self.rest_releases(index=index)
        elif action == "caller hangs up" and self.model.callers():
            self.caller_hangs_up(index=index)
        self.model.transfer(leg, uri)
        if action == "far end hangs up":
            self.model.hang_up(leg, 16)

    @rule(
        exten=st.sampled_from([*_PROFILES]),
        uri=_TARGETS,
        order=st.lists(_INDEX, max_size=8),
        transfer_first=st.booleans(),
        then=st.sampled_from(["", "", "transfer again", "websocket disconnects", "killed", "restarted"]),
    )
    def call_is_transferred(self, exten: str, uri: str, order: list[int], transfer_first: bool, then: str) -> None:
        """The far end answers, and transfers the call after some of what follows has happened, in any order.

        ``transfer_first``: the events about the transfer arrive before all others.
        """
        if len(self.model.callers()) >= 3:
            return
        before = set(map(id, self.model.legs()))
        self.model.call(exten)
        self.everything_pending_happens()
        for leg in self.model.legs():
            if id(leg) not in before:
                self.model.pick_up(leg)
                self._let_something_happen(order[:4])
                self.model.transfer(leg, uri)
        if transfer_first:
            self._deliver_events_of_transfers()
        self._let_something_happen(order[4:])
        if then == "transfer again":
            self.everything_pending_happens()
            for leg in self.model.legs():
                self.model.pick_up(leg)
                self.model.transfer(leg, uri)
            if transfer_first:
                self._deliver_events_of_transfers()
        elif then == "websocket disconnects" and self.model.connected:
            self.websocket_disconnects()
        elif then == "killed":
            self.process_is_killed()
        elif then == "restarted":
            self.process_is_restarted()

    @precondition(lambda self: self.model.legs())
    @rule(
        index=_INDEX,
        uri=_TARGETS,
        how=st.sampled_from(["killed", "restarted"]),
        responses=st.integers(0, 12),
    )
    def far_end_transfers_during_a_takeover(self, index: int, uri: str, how: str, responses: int) -> None:
        for _ in range(responses):
            self.model.outcomes.append("done")
        self.model.outcomes.append("late")
        if how == "killed":
            self.process_is_killed()
        else:
            self.process_is_restarted()
        if self.model.legs():
            self.model.transfer(self._leg(index), uri)
            self._deliver_events_of_transfers()

    @precondition(lambda self: self._parties())
    @rule(index=_INDEX, order=st.lists(_INDEX, max_size=4))
    def party_is_replaced(self, index: int, order: list[int]) -> None:
        parties = self._parties()
        self.model.replace(parties[index % len(parties)])
        self._let_something_happen(order)

    @rule(
        command=st.sampled_from(["answer", "renew", "pause", "resume"]),
        outcomes=st.lists(st.sampled_from(["done", "late", "late", "lost before", "unsent"]), max_size=3),
        then=st.lists(
            st.sampled_from(["replace the caller", "time", "tasks", "response", "AMI reconnects", "pause", "resume"]),
            max_size=6,
        ),
    )
    def caller_is_replaced_while_a_command_has_no_response(
        self, command: str, outcomes: list[Outcome], then: list[str]
    ) -> None:
        """Only the commands of the recording are late or lost."""
        if command == "answer" and len(self.model.callers()) < 3:
            self.model.action_outcomes.extend(outcomes)
            self.answered_call(exten="100")
        elif command != "answer":
            self.model.action_outcomes.extend(outcomes)
            self._send(command)
        self._send("replace the caller")
        for step in then:
            match step:
                case "time":
                    self.time_passes(seconds=0.5)
                case "tasks":
                    self.everything_pending_happens()
                case "response" if self.model.late_responses:
                    self.late_response_arrives(index=0)
                case _:
                    self._send(step)
        self.model.action_outcomes.clear()

    @precondition(lambda self: len(self._parties()) > 1)
    @rule(first=_INDEX, second=_INDEX, order=st.lists(_INDEX, max_size=4))
    def calls_are_joined(self, first: int, second: int, order: list[int]) -> None:
        parties = self._parties()
        self.model.join(parties[first % len(parties)], parties[second % len(parties)])
        self._let_something_happen(order)

    @rule(
        profiles=st.lists(st.sampled_from([*_PROFILES]), min_size=2, max_size=2),
        legs=st.tuples(st.booleans(), st.booleans()),
        order=st.lists(_INDEX, max_size=8),
        then=st.sampled_from(["", "again", "websocket disconnects", "killed", "restarted"]),
    )
    def answered_calls_are_joined(
        self, profiles: list[str], legs: tuple[bool, bool], order: list[int], then: str
    ) -> None:
        if self.model.callers() or len(self.process.live_calls):
            return
        for exten in profiles:
            self.answered_call(exten=exten)
        callers, far_ends = self.model.callers(), self.model.legs()
        if len(callers) != len(far_ends) or len(callers) < len(profiles):
            return
        self.model.join(*((far_ends if leg else callers)[index] for index, leg in enumerate(legs)))
        self._let_something_happen(order)
        if not then:
            self._assert_calls_continue(len(callers))
        elif then == "again":
            self.everything_pending_happens()
            parties = self._parties()
            if len(parties) > 1:
                self.model.join(parties[0], parties[-1])
        elif then == "websocket disconnects" and self.model.connected:
            self.websocket_disconnects()
        elif then == "killed":
            self.process_is_killed()
        elif then == "restarted":
            self.process_is_restarted()

    def _assert_calls_continue(self, count: int) -> None:
        """Check that nothing ends by itself, unless commands fail or responses are late."""
        if self.model.connected and not self.model.outcomes and not self.model.late_responses:
            self.everything_pending_happens()
            self.time_passes(seconds=1.0)
            self.everything_pending_happens()
            statuses = [call.status for call in self.process.live_calls]
            assert statuses.count(CallState.CLEARING) == 0, statuses
            assert len(statuses) == count, statuses

    def _parties(self) -> list[ModelChannel]:
        return [*self.model.callers(), *self.model.legs()]

    def _deliver_events_of_transfers(self) -> None:
        while (event := self.model.next_event_of_transfer()) is not None:
            self.process.session.event_received(event)

    def _deliver_replacements(self) -> None:
        """Deliver the events of channels that have replaced others, before all other events."""
        for about in [about for about, waiting in self.model.events.items() if _is_replacement(waiting[0])]:
            event = self.model.next_event(list(self.model.events).index(about))
            if event is not None:
                self.process.session.event_received(event)

    def _let_something_happen(self, order: list[int]) -> None:
        for index in order:
            if index % 2 and self.model.tasks:
                self.task_runs(index=index)
            elif self.model.events:
                self.event_arrives(index=index)

    @precondition(lambda self: self.model.callers())
    @rule(index=_INDEX, far=st.booleans(), digits=st.sampled_from(["*1", "1", "2", "*", "12", "hold"]))
    def party_sends_digits(self, index: int, far: bool, digits: str) -> None:
        parties = self.model.legs() if far else self.model.callers()
        if not parties:
            return
        party = parties[index % len(parties)]
        if digits == "hold":
            self.model.hold(party)
        else:
            for digit in digits:
                self.model.send_digit(party, digit)

    # REST.

    @precondition(lambda self: len(self.process.live_calls) > 0)
    @rule(
        index=_INDEX,
        change=st.sampled_from(["pause", "pause", "resume", "record"]),
        seconds=st.sampled_from([None, 3]),
    )
    def rest_changes(self, index: int, change: str, seconds: float | None) -> None:
        calls, control = list(self.process.live_calls), self.process.control
        call = calls[index % len(calls)]
        if change == "pause":
            self._request(control.pause(call.recording_id, PauseBehavior.SILENCE, seconds))
        elif change == "resume":
            self._request(control.resume(call.recording_id))
        else:
            self._request(_call(lambda: control.record(call.id)))

    @precondition(lambda self: len(self.process.live_calls) > 0)
    @rule(index=_INDEX)
    def rest_releases(self, index: int) -> None:
        calls = list(self.process.live_calls)
        if calls:
            self.process.control.release(calls[index % len(calls)].id)

    # Asterisk.

    @precondition(lambda self: self.model.tasks)
    @rule(index=_INDEX)
    def task_runs(self, index: int) -> None:
        self.model.tasks.pop(index % len(self.model.tasks))()

    @precondition(lambda self: self.model.events)
    @rule(index=_INDEX)
    def event_arrives(self, index: int) -> None:
        event = self.model.next_event(index)
        if event is not None:
            self.process.session.event_received(event)

    @rule()
    def everything_pending_happens(self) -> None:
        while self.model.tasks or self.model.events:
            if self.model.tasks:
                self.model.tasks.pop(0)()
            if (event := self.model.next_event(0)) is not None:
                self.process.session.event_received(event)

    @precondition(lambda self: self.model.late_responses)
    @rule(index=_INDEX)
    def late_response_arrives(self, index: int) -> None:
        self.model.late_responses.pop(index % len(self.model.late_responses))()

    @rule(
        outcomes=st.lists(
            st.sampled_from(
                ["done", "late", "late", "refused", "unsent", "lost before", "lost after", "executed later"]
            ),
            max_size=4,
        )
    )
    def next_outcomes(self, outcomes: list[Outcome]) -> None:
        self.model.outcomes.extend(outcomes)

    @rule(
        before=st.lists(st.sampled_from([*_COMMANDS, "AMI reconnects"]), max_size=3),
        commands=st.lists(st.tuples(st.sampled_from(_COMMANDS), _ACTION_OUTCOMES), min_size=1, max_size=3),
        then=st.lists(st.sampled_from([*_COMMANDS, "AMI reconnects", "executed", "killed"]), max_size=6),
    )
    def commands_to_record_are_lost(
        self, before: list[str], commands: list[tuple[str, Outcome]], then: list[str]
    ) -> None:
        """Commands to a recording in progress have no response; they may be executed between other commands."""
        if not self.model.callers():
            self.answered_call(exten="100")
        for command in before:
            self._command(command)
        for command, outcome in commands:
            self.model.action_outcomes.append(outcome)
            self._command(command)
        for command in then:
            self._command(command)
        self.model.action_outcomes.clear()

    def _command(self, command: str) -> None:
        self._send(command)
        self.everything_pending_happens()
        self.time_passes(seconds=0.5)

    def _send(self, command: str) -> None:
        match command:
            case "pause" | "resume" if len(self.process.live_calls):
                self.rest_changes(index=0, change=command, seconds=None)
            case "replace the caller" if self.model.callers():
                former = len(self.model.callers()) - 1  # of the call that was answered last
                self.party_is_replaced(index=former, order=[])
                self._deliver_replacements()
            case "renew":
                for call in self.process.live_calls:
                    if call.recorder is not None:
                        call.recorder.renew_decoders()
            case "AMI reconnects":
                self.ami_reconnects()
            case "executed" if self.model.late_actions:
                self.late_action_is_executed(index=0)
            case "killed":
                self.process_is_killed()

    # Failures.

    @precondition(lambda self: self.model.connected)
    @rule()
    def websocket_disconnects(self) -> None:
        self.model.disconnect()
        self.process.session.stream_disconnected()

    @rule()
    def ami_reconnects(self) -> None:
        self.process.transport.connect_ami()
        self.process.live_calls.ami_connected()

    @precondition(lambda self: self.model.late_actions)
    @rule(index=_INDEX)
    def late_action_is_executed(self, index: int) -> None:
        self.model.late_actions.pop(index % len(self.model.late_actions))()

    @precondition(lambda self: not self.model.connected)
    @rule()
    def websocket_reconnects(self) -> None:
        self._connect()

    @rule()
    def process_is_killed(self) -> None:
        self.kills += 1
        self.process.transport.cut = True
        self.process.transport.disconnect_ami()
        self.rest_requests.clear()
        self.model.disconnect()
        self._start_process()

    @rule()
    def process_is_restarted(self) -> None:
        self.model.disconnect()
        self.process.live_calls.detach_all()
        self.process.transport.disconnect_ami()
        self.stopped_processes.append(self.process)
        self._start_process()

    @rule(has_disk_space=st.booleans())
    def disk_space_changes(self, has_disk_space: bool) -> None:
        self.has_disk_space = has_disk_space
        if not has_disk_space:
            self.process.live_calls.stop_recordings("disk-full")

    @rule(seconds=st.sampled_from([0.01, 0.5, 1.0, 2.0, 3.5, 6.0, 12.0, 25.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.process.clock.advance(seconds)

    # What always holds.

    @invariant()
    def no_audio_is_recorded_during_a_pause(self) -> None:
        """Whatever the outcome of a command: it is a pause only if that is known."""
        for call in self.process.live_calls:
            recorder = call.recorder
            if recorder is None or not recorder.is_live or recorder.recording.state is not RecordingState.PAUSED:
                continue
            if not recorder.pause_in_progress:
                for monitor in self.model.monitors.values():
                    name = leg_name(call.recording_id, Side.CALLER)
                    audible = name in monitor.files and self.model.records(monitor) and not monitor.muted
                    assert not audible, f"{call.recording_id} is paused, but not muted"

    @invariant()
    def audio_is_recorded_unless_it_is_paused(self) -> None:
        """Unless the outcome of a command is not known yet: then it will be repeated."""
        if self.model.late_responses:
            return
        for call in self.process.live_calls:
            recorder = call.recorder
            if recorder is None or not recorder.is_audible or recorder.pause_in_progress or recorder.retries:
                continue
            stopped = any(entry.event == "recording.stopped" for entry in recorder.recording.timeline)
            for monitor in self.model.monitors.values():
                if monitor.channel == call.inbound.channel not in self.model.dying() and monitor.opened and not stopped:
                    assert not monitor.muted, f"{call.recording_id} is not paused, but muted"

    @invariant()
    def no_command_is_wrong(self) -> None:
        assert not self.model.violations, self.model.violations

    @invariant()
    def no_exception_was_logged(self) -> None:
        assert not self.logged.failures, self.logged.failures

    # The end.

    def teardown(self) -> None:
        try:
            self._end_everything()
        finally:
            globalLogPublisher.removeObserver(self.logged)

    def _end_everything(self) -> None:
        self.model.outcomes.clear()
        self.has_disk_space = True
        if not self.model.connected:
            self._connect()
        self._let_everything_happen()
        self._parties_are_connected()
        self._calls_are_recorded()
        for caller in self.model.callers():
            self.model.hang_up(caller, 16)
        for channel in list(self.model.channels.values()):
            if channel.name.startswith("Local/_attended"):  # of two calls whose callers have left
                self.model.hang_up(channel, 16)
        self._let_everything_happen()
        # the next reconciliation ends what could not be ended before
        self.websocket_disconnects()
        self._connect()
        self._let_everything_happen()
        assert list(self.process.live_calls) == []
        assert list(self.model.existing()) == []
        for process in (self.process, *self.stopped_processes):
            process.clock.advance(200)
            assert process.clock.getDelayedCalls() == []
        with_file = {owner[0] for name in self.model.files if (owner := owner_of(name)) is not None}
        for recording in self.recordings.latest.values():
            if recording.state.live:
                # a process that was killed between storing the Recording and opening its file left nothing to find
                assert self.kills, recording
                assert recording.id not in with_file, recording
            else:
                assert self.recordings.outcomes[recording.id] == 1, recording
        assert all(request.called for request in self.rest_requests)
        self.no_command_is_wrong()
        self.no_exception_was_logged()

    def _parties_are_connected(self) -> None:
        for call in self.process.live_calls:
            if call.status is CallState.TALKING:
                inside = self.model.bridges[owned_id(call.id, BRIDGE)]
                assert call.inbound.channel in inside, f"call {call.id}: the caller is not in the bridge"

    def _calls_are_recorded(self) -> None:
        """Check that exactly one MixMonitor records each call that is to be recorded, and none each one that is not."""
        for call in self.process.live_calls:
            recorder = call.recorder
            if recorder is None or call.status is not CallState.TALKING:
                continue
            if not recorder.is_live:
                reasons = {entry.event for entry in recorder.recording.timeline}
                assert reasons & {"recording.stopped", "recording.failed"}, f"{call.recording_id} has ended by itself"
                continue
            monitors = [one for one in self.model.monitors.values() if one.channel == call.inbound.channel]
            audible = [one for one in monitors if one.opened and not one.muted]
            assert len(audible) == int(recorder.is_audible), f"{call.recording_id}: {monitors}"
            # of two that are started late between two checks, only the last one can be found, and stopped
            strays = [one for one in monitors if not one.opened]
            assert len(monitors) - len(strays) <= 1, f"{call.recording_id}: {monitors}"
            assert not [one for one in strays if self.model.records(one)], f"{call.recording_id}: {strays}"

    def _let_everything_happen(self) -> None:
        self.ami_reconnects()
        for _ in range(65):
            while self.model.late_actions:
                self.late_action_is_executed(index=0)
            while self.model.late_responses:
                self.late_response_arrives(index=0)
            self.everything_pending_happens()
            self.time_passes(seconds=1.0)


def _is_replacement(event: events.Event) -> bool:
    return isinstance(event, events.StasisStart) and event.replace_channel is not None


async def _call(function: Callable[[], Any]) -> Any:
    return function()


class CallsOnAsterisk16(Calls):
    """The same on a version that needs another option."""

    version = 16


class RandomTests(SynchronousTestCase):
    def test_nothing_is_left_behind(self) -> None:
        self.run_machine(Calls, 100)

    def test_nothing_is_left_behind_on_asterisk_16(self) -> None:
        self.run_machine(CallsOnAsterisk16, 40)

    def run_machine(self, machine: type[Calls], examples: int) -> None:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=50,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
