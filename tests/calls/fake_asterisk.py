"""Fakes and fixtures for tests of calls: an Asterisk that accepts every request, a sink, Profiles, and one call."""

import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from voxrec.ami.client import AmiClient
from voxrec.ami.protocol import AmiResponse, AmiResponseError
from voxrec.ari import events
from voxrec.ari.client import AriClient
from voxrec.ari.transport import AriResponseError
from voxrec.calls import admission
from voxrec.calls.call_control import CallControl
from voxrec.calls.call_data import CallSettings, InboundCall
from voxrec.calls.channels.ids import owner_of
from voxrec.calls.live_call import LiveCall
from voxrec.calls.live_calls import CallListener, LiveCalls
from voxrec.calls.recording.recording_commands import RecordingCommands
from voxrec.calls.stasis.reconciliation import Reconciler
from voxrec.calls.stasis.router import LookUp, Router, no_lookup
from voxrec.calls.stasis.snapshot import RecordingLookup
from voxrec.errors import AsteriskUnavailable, CommandNotSent
from voxrec.model import Profile, RecordChannels, Recording, RecordPrompt, Side

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
# media URIs by the id of the custom Prompt; None: it is not installed
ANNOUNCEMENTS: dict[UUID | None, str | None] = {UUID(int=1): "sound:own", UUID(int=2): None}
SETTINGS = CallSettings(
    endpoint="trunk",
    ring_timeout=20,
    setup_timeout=5,
    max_call=7200,
    announcement=lambda profile: ANNOUNCEMENTS.get(profile.record_prompt_custom_id, "sound:announcement"),
    beep="sound:beep",
)
MONITOR = "0x7f0000000001"
INBOUND = InboundCall(channel="1700.1", number="+4930111", name="Alice", dialled="+4930222")


class FakeAsterisk:
    """A Transport, and an AMI connection, that respond at once.

    An action is a request such as ``MixMonitor 1700.1``, with its fields as the query. ``errors`` maps the end of a
    path to the status of an error, ``refusals`` the name of an action to a message. ``lost`` is a set of last path
    segments: such a request gets no response. ``delayed`` is a set of last path segments and names of actions: such a
    request is executed at once, and its response is held back in ``responses_due``. ``variables`` are the channel
    variables, the same for each channel. ``before_response`` maps a request to a function that is called once, before
    the response. ``on_snoop`` is called with the id of each snoop channel, ``on_monitor`` with True when a MixMonitor
    is started, and with False when one is stopped.
    """

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.queries: dict[str, Mapping[str, str]] = {}
        self.bodies: dict[str, object] = {}
        self.errors: dict[str, int] = {}
        self.responses: dict[str, bytes] = {}
        self.delayed: set[str] = set()
        self.lost: set[str] = set()
        self.responses_due: list[Deferred[None]] = []
        self.before_response: dict[str, Callable[[], object]] = {}
        self.on_snoop: Callable[[str], object] = lambda _channel: None
        self.on_monitor: Callable[[bool], object] = lambda _running: None
        self.refusals: dict[str, str] = {}
        self.variables: dict[str, str] = {}
        self.version = 22
        self.ready = True  # whether AMI is connected

    def request(
        self, method: str, path: tuple[str, ...], query: Mapping[str, str], body: object | None = None
    ) -> Deferred[bytes]:
        """See `voxrec.ari.transport.Transport`."""
        return Deferred.fromCoroutine(self._respond(method, path, query, body))

    def action(self, action: str, fields: Mapping[str, str]) -> Deferred[AmiResponse]:
        """See `voxrec.ami.client.ActionSender`."""
        return Deferred.fromCoroutine(self._respond_to_action(action, fields))

    async def _respond_to_action(self, action: str, fields: Mapping[str, str]) -> AmiResponse:
        request = f"{action} {fields['Channel']}"
        self.requests.append(request)
        self.queries[request] = fields
        self.before_response.pop(request, lambda: None)()
        if not self.ready:
            raise CommandNotSent("AMI is not connected")
        if action in self.refusals:
            raise AmiResponseError(action, self.refusals[action])
        if action != "MixMonitorMute":
            self.on_monitor(action == "MixMonitor")
        if action in self.delayed:
            due: Deferred[None] = Deferred()
            self.responses_due.append(due)
            await due
        return AmiResponse({"MixMonitorID": MONITOR} if action == "MixMonitor" else {})

    async def _respond(
        self, method: str, path: tuple[str, ...], query: Mapping[str, str], body: object | None
    ) -> bytes:
        request = f"{method} {'/'.join(path)}"
        self.requests.append(request)
        self.queries[request] = query
        self.bodies[request] = body
        self.before_response.pop(request, lambda: None)()
        for end, status in self.errors.items():
            if request.endswith(end):
                raise AriResponseError(request, status, "refused by the test")
        if path[-1] in self.lost:
            raise AsteriskUnavailable(f"no response to {request}")
        if path[2:3] == ("snoop",):
            self.on_snoop(path[3])  # the event comes before the response as often as after it
        if path[-1] in self.delayed:
            due: Deferred[None] = Deferred()
            self.responses_due.append(due)
            await due
        if (value := self.variables.get(query.get("variable", ""))) is not None and method == "GET":
            return msgspec.json.encode({"value": value})
        return self.responses.get(request, b"{}")

    def take_requests(self) -> list[str]:
        """Return the requests since the last call of this method."""
        requests, self.requests[:] = list(self.requests), []
        return requests

    def respond(self) -> None:
        """Send all delayed responses, and delay no more."""
        self.delayed.clear()
        due, self.responses_due = self.responses_due, []
        for response in due:
            response.callback(None)

    def fail_response(self, error: Exception) -> None:
        """Fail the oldest delayed request."""
        self.responses_due.pop(0).errback(error)


class FakeLegFiles:
    """LegFiles that know of a change when a test makes it: `create` and `close` answer the questions that wait."""

    def __init__(self) -> None:
        self._created: dict[UUID, frozenset[Side]] = {}
        self._closed: set[UUID] = set()
        self.silent_sides: Mapping[Side, bool] = {}
        self.seconds = 0.0
        self._running = False
        self._waiting: list[Deferred[None]] = []

    async def created(self, recording_id: UUID) -> frozenset[Side]:
        """See `voxrec.calls.recording.leg_files.LegFiles`."""
        while recording_id not in self._created:
            await self._change()
        return self._created[recording_id]

    async def written(self, recording_id: UUID) -> frozenset[Side]:
        """See `voxrec.calls.recording.leg_files.LegFiles`."""
        is_closed = recording_id in self._closed and not self._running
        return frozenset() if is_closed else self._created.get(recording_id, frozenset())

    async def closed(self, recording_id: UUID, expected: Collection[Side]) -> bool:
        """See `voxrec.calls.recording.leg_files.LegFiles`. A Recording that has no files has closed them."""
        while (expected or recording_id in self._created) and recording_id not in self._closed:
            await self._change()
        return True

    async def duration(self, recording_id: UUID) -> float:
        """See `voxrec.calls.recording.leg_files.LegFiles`."""
        return self.seconds

    async def silent(self, recording_id: UUID) -> Mapping[Side, bool]:
        """See `voxrec.calls.recording.leg_files.LegFiles`."""
        return self.silent_sides

    def monitor_changed(self, running: bool) -> None:
        """Handle that a MixMonitor is started, which opens files that were closed, or stopped."""
        self._running = running

    def create(self, call: LiveCall, sides: Collection[Side] = tuple(Side)) -> None:
        """Let Asterisk open files of a call."""
        self._created[call.recording_id] = frozenset(sides)
        self._changed()

    def close(self, call: LiveCall) -> None:
        """Let Asterisk close the files of a call."""
        self._closed.add(call.recording_id)
        self._changed()

    def _change(self) -> Deferred[None]:
        changed: Deferred[None] = Deferred()
        self._waiting.append(changed)
        return changed

    def _changed(self) -> None:
        waiting, self._waiting = self._waiting, []
        for changed in waiting:
            if not changed.called:  # cancelled
                changed.callback(None)


class InMemorySink:
    """A RecordingSink in memory."""

    def __init__(self) -> None:
        self.recordings: list[Recording] = []

    def append(self, recording: Recording) -> None:
        self.recordings.append(recording)


async def no_recordings(_: Collection[UUID]) -> dict[UUID, Recording]:
    """A RecordingLookup while PostgreSQL is not available."""
    return {}


def make_profile(**fields: Any) -> Profile:
    """Make a Profile that records, with ``fields`` changed."""
    defaults: dict[str, Any] = {
        "id": UUID("10000000-0000-4000-8000-000000000001"),
        "remote_sip_uri": "sip:desk@192.0.2.7:5070",
        "record": True,
        "record_channels": RecordChannels.DUAL,
        "record_prompt": RecordPrompt.NONE,
        "record_beep_at_start": False,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Profile(**{**defaults, **fields})


class CallFixture:
    """One call with all that it depends on; ``over`` contains it once it is over."""

    def __init__(self, settings: CallSettings = SETTINGS, **profile_fields: Any) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.asterisk = FakeAsterisk()
        self.files = FakeLegFiles()
        self.asterisk.on_monitor = self.files.monitor_changed
        self.sink = InMemorySink()
        self.over: list[LiveCall] = []
        self.failed_announcements: list[None] = []
        self.codes: list[tuple[str, str]] = []
        self.failed_recordings: list[None] = []
        self.restarted_decoders: list[None] = []
        self.client = AriClient(self.asterisk, "voxrec")
        self.call = LiveCall(
            self.clock,
            self.client,
            RecordingCommands(self.client, AmiClient(self.asterisk), self.files),
            self.sink,
            replace(
                settings,
                announcement_failed=lambda: self.failed_announcements.append(None),
                count_code=lambda change, outcome: self.codes.append((change, str(outcome))),
                recording_failed=lambda: self.failed_recordings.append(None),
                decoder_restarted=lambda: self.restarted_decoders.append(None),
            ),
            INBOUND,
            make_profile(**profile_fields),
            on_over=self.over.append,
        )
        self.asterisk.on_snoop = self.snoop_entered

    def snoop_entered(self, channel: str) -> None:
        """Send the StasisStart of a snoop channel."""
        owner = owner_of(channel)
        assert owner is not None
        self.call.snoop_entered(owner[1])

    def with_names(self, requests: list[str]) -> list[str]:
        """Replace the ids in requests by names."""
        return [
            re.sub(r"beep-\d+", "beep", request)
            .replace(str(self.call.recording_id), "REC")
            .replace(str(self.call.id), "CALL")
            .replace(INBOUND.channel, "CALLER")
            for request in requests
        ]

    def take_requests(self) -> list[str]:
        """Return the requests since the last call of this method, with names instead of ids."""
        return self.with_names(self.asterisk.take_requests())

    @property
    def recording(self) -> Recording:
        """The Recording of the call as it is now."""
        recording = self.call.recording
        assert recording is not None
        return recording

    @property
    def stored_timeline(self) -> list[tuple[float, str]]:
        """Time and event of each entry of the timeline as last stored."""
        return [(entry.at, entry.event) for entry in self.sink.recordings[-1].timeline]


class ProfileDirectory:
    """A ProfileDirectory in which one number, or every number, leads to one Profile."""

    def __init__(self, found: Profile | None, dialled: str | None = "100") -> None:
        """``dialled`` None: every number."""
        self.found = found
        self.dialled = dialled
        self.confirmed = True

    def find(self, dialled: str) -> Profile | None:
        return self.found if self.dialled in (None, dialled) else None


async def no_files() -> Mapping[UUID, datetime]:
    """Find no files of Recordings."""
    return {}


class ProcessFixture:
    """The calls of one process: registry, admission, router, reconciler and control."""

    def __init__(
        self,
        directory: admission.ProfileDirectory,
        *,
        allowed_hosts: tuple[str, ...] = (),
        max_calls: int = 0,
        listeners: tuple[CallListener, ...] = (),
        find_recordings: RecordingLookup = no_recordings,
        find_files: Callable[[], Awaitable[Mapping[UUID, datetime]]] = no_files,
        log_numbers: bool = False,
        look_up: LookUp = no_lookup,
    ) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.asterisk = FakeAsterisk()
        self.files = FakeLegFiles()
        self.asterisk.on_monitor = self.files.monitor_changed
        self.sink = InMemorySink()
        self.client = AriClient(self.asterisk, "voxrec")
        commands = RecordingCommands(self.client, AmiClient(self.asterisk), self.files)
        self.live_calls = LiveCalls(self.clock, self.client, commands, self.sink, SETTINGS, listeners)
        self.admission = admission.Admission(
            directory, self.live_calls, allowed_hosts=allowed_hosts, max_calls=max_calls
        )
        self.router = Router(self.client, self.live_calls, self.admission, look_up, log_numbers=log_numbers)
        self.reconciler = Reconciler(self.client, self.live_calls, self.router, find_recordings, find_files)
        self.control = CallControl(self.live_calls, self.admission, lambda: True)

    @property
    def calls(self) -> list[LiveCall]:
        """The live calls, oldest first."""
        return list(self.live_calls)

    def inbound_call(self, channel: events.Channel) -> None:
        """Send the StasisStart of a caller."""
        self.router.handle(events.StasisStart(channel, ("incoming", "presentation=allowed_not_screened")))

    def answer(self, call: LiveCall) -> None:
        """Let the leg of a call enter the application and answer, and both sides be recorded."""
        leg = events.Channel(id=call.leg, name="PJSIP/trunk-2")
        self.router.handle(events.StasisStart(leg, ("leg",)))
        self.router.handle(events.ChannelStateChange(msgspec.structs.replace(leg, state="Up")))
        self.files.create(call)
