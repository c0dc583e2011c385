"""A model of Asterisk in memory: what voxrec creates in it lives, dies, records and plays as in the real one.

Nothing happens by itself. A request changes the model at once, and its response follows `ModelAsterisk.outcomes`; what
the real Asterisk does later waits in `tasks`; what it reports waits in `events`, ordered for each object only.
"""

import json
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, Literal
from urllib.parse import quote

from twisted.internet.defer import Deferred

from voxrec.ami.protocol import AmiResponse, AmiResponseError
from voxrec.ari import events
from voxrec.ari.transport import AriResponseError
from voxrec.calls.channels.ids import leg_number
from voxrec.errors import AsteriskUnavailable, CommandNotSent

Outcome = Literal["done", "late", "refused", "unsent", "lost before", "lost after", "executed later"]
"""The outcome of a request. For both ``lost`` ones, and for what is executed later, the client sees the same error.

Only AMI actions are executed later: one of `ModelAsterisk.late_actions`.
"""

_APP: Final = "voxrec"
_OK: Final = b"{}"


@dataclass(eq=False)
class ModelChannel:
    """A channel. ``spied`` is the channel that a snoop channel observes, ``half`` the other half of a Local channel.

    Of a channel that was ``replaced_by`` another one Asterisk reports nothing more but that it leaves the application.
    """

    id: str
    name: str
    state: str = "Down"
    number: str = ""
    exten: str = ""
    entered: bool = False
    dialled: bool = False
    dying: bool = False
    spied: str | None = None
    half: str | None = None
    replaced_by: str | None = None
    variables: dict[str, str] = field(default_factory=dict)

    def as_resource(self) -> dict[str, Any]:
        """Return it as in a response."""
        return {
            "id": self.id,
            "name": self.name,
            "state": self.state,
            "caller": {"name": "", "number": self.number},
            "dialplan": {"exten": self.exten},
            "creationtime": "2023-11-14T22:13:20.000+0000",
        }

    def as_event(self) -> events.Channel:
        """Return it as in an event."""
        return events.Channel(
            id=self.id,
            name=self.name,
            state=self.state,
            caller=events.CallerId(number=self.number),
            dialplan=events.Dialplan(exten=self.exten),
        )


@dataclass(eq=False)
class ModelMonitor:
    """A MixMonitor: its id, the channel that it records, its files by side, and the directory in which it opens them.

    Its id is an address in memory, which Asterisk uses again for the next one.

    ``opened``: it has opened its files.
    """

    id: str
    channel: str
    files: tuple[str, str]
    directory: str
    appends: bool
    muted: bool = False
    opened: bool = False


class ModelAsterisk:
    """A Transport and an AMI connection, and all that they stand for."""

    def __init__(self, version: int = 22) -> None:
        self.version = version
        self.channels: dict[str, ModelChannel] = {}
        self.bridges: dict[str, list[str]] = {}
        self.monitors: dict[str, ModelMonitor] = {}
        self.playbacks: dict[str, str] = {}
        self.files: dict[str, bool] = {}  # by name; whether Asterisk has closed the file
        self.outcomes: deque[Outcome] = deque()
        self.action_outcomes: deque[Outcome] = deque()  # of AMI actions, before those of all requests
        self.late_responses: list[Callable[[], None]] = []
        self.late_actions: list[Callable[[], object]] = []
        self.revoked: set[str] = set()  # directories in which no file can be opened any more
        self.tasks: list[Callable[[], None]] = []
        self.events: dict[str, deque[events.Event]] = {}
        self.connected = False
        self.reported_gone: set[str] = set()  # callers and legs whose end was reported
        self.violations: list[str] = []  # commands that are wrong, such as those about these channels
        self._channel_count = 0

    # Requests.

    def request(
        self, method: str, path: tuple[str, ...], query: Mapping[str, str], body: object | None = None
    ) -> Deferred[bytes]:
        """See `voxrec.ari.transport.Transport`."""
        return Deferred.fromCoroutine(self._respond(method, path, query, body))

    async def _respond(
        self, method: str, path: tuple[str, ...], query: Mapping[str, str], body: object | None
    ) -> bytes:
        outcome = self.outcomes.popleft() if self.outcomes else "done"
        request = f"{method} {'/'.join(path)}"
        gone = [channel for channel in _commanded(method, path, query) if channel in self.reported_gone]
        self.violations += [f"{request} after the end of {channel} was reported" for channel in gone]
        if outcome in ("unsent", "lost before", "executed later"):
            raise AsteriskUnavailable(f"{request}: lost")
        if outcome == "refused" and method != "GET":
            raise AriResponseError(request, 500, "refused by the model")
        refusal: AriResponseError | None = None
        answer = _OK
        try:
            answer = self._execute(request, method, path, query, body)
        except AriResponseError as error:
            refusal = error
        if outcome == "late":
            waiting: Deferred[None] = Deferred()
            self.late_responses.append(lambda: waiting.callback(None))
            await waiting
        if outcome == "lost after":
            raise AsteriskUnavailable(f"{request}: lost")
        if refusal is not None:
            raise refusal
        return answer

    def action(self, action: str, fields: Mapping[str, str]) -> Deferred[AmiResponse]:
        """See `voxrec.ami.client.ActionSender`."""
        return Deferred.fromCoroutine(self._respond_to_action(action, fields))

    async def _respond_to_action(self, action: str, fields: Mapping[str, str]) -> AmiResponse:
        outcomes = self.action_outcomes or self.outcomes
        outcome = outcomes.popleft() if outcomes else "done"
        if outcome == "unsent":
            raise CommandNotSent(f"{action}: not sent")
        if outcome == "executed later":
            self.execute_later(action, fields)
        if outcome in ("lost before", "executed later"):
            raise AsteriskUnavailable(f"{action}: lost")
        if outcome == "refused":
            raise AmiResponseError(action, "refused by the model")
        response = self._execute_action(action, fields)
        if outcome == "late":
            waiting: Deferred[None] = Deferred()
            self.late_responses.append(lambda: waiting.callback(None))
            await waiting
        if outcome == "lost after":
            raise AsteriskUnavailable(f"{action}: lost")
        if isinstance(response, str):
            raise AmiResponseError(action, response)
        return response

    def execute_later(self, action: str, fields: Mapping[str, str]) -> None:
        """Let an action of a connection that is lost be executed when one of ``late_actions`` is called."""
        self.late_actions.append(lambda: self._execute_action(action, fields))

    def _execute_action(self, action: str, fields: Mapping[str, str]) -> AmiResponse | str:
        """Execute an action, and return its response, or the message of an error."""
        channel = self.channels.get(fields["Channel"])
        if channel is None:
            return "No such channel"
        if action == "MixMonitor":
            return self._start_monitor(channel, fields["Options"])
        # in 16, the first MixMonitor of the channel is muted, whatever the id is
        any_id = action == "MixMonitorMute" and self.version < 18
        monitor = self.monitor_of(channel.id, "" if any_id else fields["MixMonitorID"])
        if monitor is None:
            return "Cannot set mute flag" if action == "MixMonitorMute" else "Could not stop monitoring channel"
        if action == "MixMonitorMute":
            monitor.muted = fields["State"] == "1"
        else:
            self._end_monitor(monitor)
        return AmiResponse({})

    def _start_monitor(self, channel: ModelChannel, options: str) -> AmiResponse:
        found = re.match(r"r\((.*)/(.*)\.wav\)t\(.*/(.*)\.wav\)i\((.*)\)S?(a?)", options)
        assert found is not None, options
        address = next(address for number in count(1) if (address := f"0x{number}") not in self.monitors)
        monitor = ModelMonitor(address, channel.id, (found[2], found[3]), found[1], appends=found[5] == "a")
        if monitor.directory not in self.revoked:
            others = [other for other in self.monitors.values() if other.channel == channel.id and self.records(other)]
            self.violations += [f"{channel.id} is recorded twice" for _ in others]
        channel.variables[found[4]] = monitor.id
        if not channel.dying:
            self.monitors[monitor.id] = monitor
        self.tasks.append(lambda: self._open_files(monitor))
        return AmiResponse({"MixMonitorID": monitor.id})

    def dying(self) -> set[str]:
        """Return the ids of the channels that are being hung up."""
        return {channel.id for channel in self.channels.values() if channel.dying}

    def monitor_of(self, channel: str, id_: str = "") -> ModelMonitor | None:
        """Return the MixMonitor in progress on a channel; None if there is none, or it has another id."""
        found = (monitor for monitor in self.monitors.values() if monitor.channel == channel)
        return next((monitor for monitor in found if id_ in ("", monitor.id)), None)

    def records(self, monitor: ModelMonitor) -> bool:
        """Return whether a MixMonitor has opened its files, or can open them."""
        return monitor.opened or monitor.directory not in self.revoked

    def _open_files(self, monitor: ModelMonitor) -> None:
        if monitor.directory in self.revoked:
            return
        monitor.opened = True
        for name in monitor.files:
            if not self.files.get(name, True):
                self.violations.append(f"{name} is written by two")
            if name in self.files and not monitor.appends:
                self.violations.append(f"{name} is overwritten")
            self.files[name] = monitor.id not in self.monitors

    def _end_monitor(self, monitor: ModelMonitor) -> None:
        """End a MixMonitor; its thread closes the files that it has opened, or will open."""
        del self.monitors[monitor.id]
        for name in monitor.files:
            if monitor.opened:
                self.tasks.append(lambda name=name: self.files.update({name: True}))  # type: ignore[misc]

    def _execute(
        self, request: str, method: str, path: tuple[str, ...], query: Mapping[str, str], body: object | None
    ) -> bytes:
        def no(status: int, reason: str) -> AriResponseError:
            return AriResponseError(request, status, reason)

        match method, *path:
            case ("GET", "asterisk", _) | ("PUT", "applications", *_):
                return json.dumps({"system": {"version": f"{self.version}.10.0"}}).encode()
            case "GET", "api-docs", _:
                return b'"reason_code"'
            case "GET", "channels":
                return json.dumps([channel.as_resource() for channel in self.channels.values()]).encode()
            case "GET", "applications", _:
                own = [channel.id for channel in self.channels.values() if channel.entered]
                return json.dumps({"channel_ids": own}).encode()
            case "GET", "bridges":
                return json.dumps([{"id": id_, "channels": inside} for id_, inside in self.bridges.items()]).encode()
            case "GET", "bridges", bridge:
                return json.dumps({"id": bridge, "channels": self._bridge(request, bridge)}).encode()
            case "POST", "channels", "create":
                if query["channelId"] in self.channels:
                    raise no(409, "Channel with given unique ID already exists")
                if query["originator"] not in self.channels:
                    raise no(400, "Provided originator channel was not found")
                variables: Any = body
                leg = self._make_channel(query["channelId"], "PJSIP/trunk", variables=dict(variables["variables"]))
                self.tasks.append(lambda: self._enter(leg, (query["appArgs"],)))
                return _OK
            case "POST", "channels", id_, "snoop", snoop:
                self._channel(request, id_)
                if snoop in self.channels:
                    raise no(500, "Snoop channel could not be created")
                made = self._make_channel(snoop, "Snoop", state="Up", spied=id_)
                self.tasks.append(lambda: self._enter(made, tuple(query["appArgs"].split(","))))
                return _OK
            case "POST", "bridges", bridge:
                self.bridges.setdefault(bridge, [])
                return _OK
            case "DELETE", "bridges", bridge:
                if self.bridges.pop(bridge, None) is None:
                    raise no(404, "Bridge not found")
                return _OK
            case "POST", "bridges", bridge, "addChannel":
                inside = self._bridge(request, bridge)
                for id_ in query["channel"].split(","):
                    if id_ not in self.channels:
                        raise no(400, "Channel not found")
                    self._own(request, id_)
                    for others in self.bridges.values():
                        if id_ in others:
                            others.remove(id_)  # it is in one bridge at a time
                    inside.append(id_)
                return _OK
            case "POST", "bridges", bridge, "play", playback:
                self._bridge(request, bridge)
                self._play(playback, bridge)
                return _OK
            case "POST", "channels", id_, "play", playback:
                self._own(request, id_)
                self._play(playback, id_)
                return _OK
            case "GET", "playbacks", playback:
                if playback not in self.playbacks:
                    raise no(404, "Playback not found")
                return _OK
            case "POST", "channels", id_, "variable":
                self._channel(request, id_).variables[query["variable"]] = query["value"]
                return _OK
            case "GET", "channels", id_, "variable":
                found = self._channel(request, id_).variables.get(query["variable"])
                if found is None:
                    raise no(404, "Provided variable was not found")
                return json.dumps({"value": found}).encode()
            case "GET", "channels", id_, "rtp_statistics":
                self._channel(request, id_)
                return _OK
            case "POST", "channels", id_, "dial":
                leg = self._own(request, id_)
                if leg.dialled:
                    raise no(409, "Channel is already dialled")
                leg.dialled = True
                return _OK
            case "POST", "channels", id_, "ring":
                self._own(request, id_)
                return _OK
            case "DELETE", "playbacks", playback:
                if playback not in self.playbacks:
                    raise no(404, "Playback not found")
                self._end_playback(playback, "done")
                return _OK
            case "POST", "channels", id_, "answer":
                self._own(request, id_).state = "Up"
                return _OK
            case "DELETE", "channels", id_:
                self.hang_up(self._channel(request, id_), int(query.get("reason_code", "16")))
                return _OK
            case "POST", "channels", id_, "continue":
                self.hang_up(self._channel(request, id_), 16)  # the dialplan hangs up
                return _OK
            case _:
                raise AssertionError(f"the model does not implement {request}")

    def _channel(self, request: str, id_: str) -> ModelChannel:
        if id_ not in self.channels:
            raise AriResponseError(request, 404, "Channel not found")
        return self.channels[id_]

    def _own(self, request: str, id_: str) -> ModelChannel:
        channel = self._channel(request, id_)
        if not channel.entered or channel.dying:
            raise AriResponseError(request, 409, "Channel not in Stasis application")
        return channel

    def _bridge(self, request: str, bridge: str) -> list[str]:
        if bridge not in self.bridges:
            raise AriResponseError(request, 404, "Bridge not found")
        return self.bridges[bridge]

    def _make_channel(self, id_: str, kind: str, **fields: Any) -> ModelChannel:
        self._channel_count += 1
        half = id_[-2:] if ";" in id_ else ""
        channel = self.channels[id_] = ModelChannel(id_, f"{kind}-{self._channel_count:08x}{half}", **fields)
        return channel

    # What happens in Asterisk.

    def call(self, exten: str) -> ModelChannel:
        """Let a caller come in. While no websocket is connected, the dialplan refuses it with 503."""
        caller = self._make_channel(
            f"1700.{self._channel_count}", "PJSIP/trunk", state="Ring", number="+4930111", exten=exten
        )
        if self.connected:
            self._enter(caller, ("incoming",))
        else:
            self._die(caller, 34)
        return caller

    def legs(self) -> list[ModelChannel]:
        """Return the outgoing legs that were dialled and not hung up."""
        return [channel for channel in self.channels.values() if channel.dialled and not channel.dying]

    def callers(self) -> list[ModelChannel]:
        """Return the channels of callers that have not hung up."""
        return [
            channel
            for channel in self.channels.values()
            if channel.name.startswith("PJSIP") and channel.exten and not channel.dying
        ]

    def ring(self, leg: ModelChannel) -> None:
        """Let the far end report that it rings."""
        if leg.state in ("Down", "Ringing"):
            leg.state = "Ringing"
            self._report(leg.id, events.ChannelStateChange(leg.as_event()))

    def progress(self, leg: ModelChannel) -> None:
        """Let the far end send early media."""
        if leg.state in ("Down", "Ringing"):
            self._report(leg.id, events.Dial(leg.as_event(), "PROGRESS"))

    def pick_up(self, leg: ModelChannel) -> None:
        """Let the far end answer."""
        if leg.state != "Up":
            leg.state = "Up"
            self._report(leg.id, events.ChannelStateChange(leg.as_event()))

    def hang_up(self, channel: ModelChannel, cause: int) -> None:
        """Hang up a channel; it is gone when the task is done."""
        if not channel.dying:
            channel.dying = True
            self.tasks.append(lambda: self._die(channel, cause))

    def send_digit(self, channel: ModelChannel, digit: str) -> None:
        """Let a party send a digit."""
        self._report(channel.id, events.ChannelDtmfReceived(channel.as_event(), digit))

    def hold(self, channel: ModelChannel) -> None:
        """Let a party put the call on hold, and resume it."""
        self._report(channel.id, events.ChannelHold(channel.as_event()))
        self._report(channel.id, events.ChannelUnhold(channel.as_event()))

    def transfer(self, leg: ModelChannel, uri: str) -> None:
        """Let the far end transfer the call: one half of a Local channel takes its place in the bridge."""
        bridge = next((inside for inside in self.bridges.values() if leg.id in inside), None)
        if bridge is None or leg.state != "Up":
            return
        number = self._channel_count
        # of the half with the arguments, Asterisk shows the same as of a caller that waits
        here = self._make_channel(f"local-{number};1", "Local/100@voxrec-transfer", state="Up")
        there = self._make_channel(
            f"local-{number};2", "Local/100@voxrec-transfer", state="Ring", exten="100", half=here.id
        )
        here.half = there.id
        there.entered = True
        self._exchange(leg, here, bridge)
        self._report(
            there.id, events.StasisStart(there.as_event(), ("transferred", quote(f"<{uri}>"), quote(leg.name)))
        )
        self.hang_up(leg, 16)

    def replace(self, channel: ModelChannel) -> None:
        """Let a party from the trunk take over a dialog (INVITE with Replaces)."""
        if (bridge := self._bridge_of(channel)) is not None:
            taker = self._make_channel(
                f"1700.{self._channel_count}",
                "PJSIP/trunk",
                state="Up",
                exten=channel.exten,
                dialled=channel.dialled,
                variables=dict(channel.variables) if channel.exten else {},
            )
            self._exchange(channel, taker, bridge)
            self.hang_up(channel, 16)

    def join(self, first: ModelChannel, second: ModelChannel) -> None:
        """Let a party join its two calls: a Local channel takes its place in both bridges (REFER with Replaces)."""
        bridges = [self._bridge_of(channel) for channel in (first, second)]
        if None in bridges or bridges[0] is bridges[1] or first.state != "Up":
            return
        number = self._channel_count
        halves = [
            self._make_channel(
                f"local-{number};{half}", "Local/_attended@transfer", state="Up", dialled=channel.dialled
            )
            for half, channel in ((1, first), (2, second))
        ]
        halves[0].half, halves[1].half = halves[1].id, halves[0].id
        for half, channel, bridge in zip(halves, (first, second), bridges, strict=True):
            assert bridge is not None, "checked above"
            self._exchange(channel, half, bridge)
            self.hang_up(channel, 16)

    def _bridge_of(self, channel: ModelChannel) -> list[str] | None:
        inside = [bridge for bridge in self.bridges.values() if channel.id in bridge]
        return inside[0] if inside and not channel.dying else None

    def _exchange(self, former: ModelChannel, channel: ModelChannel, bridge: list[str]) -> None:
        bridge[bridge.index(former.id)] = channel.id
        former.replaced_by, channel.entered = channel.id, True
        self._report(channel.id, events.StasisStart(channel.as_event(), (), former.as_event()))

    def _enter(self, channel: ModelChannel, args: tuple[str, ...]) -> None:
        if channel.id in self.channels:
            channel.entered = True
            self._report(channel.id, events.StasisStart(channel.as_event(), args))

    def _die(self, channel: ModelChannel, cause: int) -> None:
        if self.channels.pop(channel.id, None) is None:
            return
        for inside in self.bridges.values():
            if channel.id in inside:
                inside.remove(channel.id)
        for monitor in [monitor for monitor in self.monitors.values() if monitor.channel == channel.id]:
            self._end_monitor(monitor)
        for playback in [playback for playback, target in self.playbacks.items() if target == channel.id]:
            self._end_playback(playback, "failed")
        for other in list(self.channels.values()):
            if other.spied == channel.id or other.id == channel.half:
                self.hang_up(other, 16)
        if channel.entered:  # the replacement was reported before
            self._report(channel.replaced_by or channel.id, events.StasisEnd(channel.as_event()))
        if channel.replaced_by is None:
            self._report(channel.id, events.ChannelDestroyed(channel.as_event(), cause))

    def _play(self, playback: str, target: str) -> None:
        self.playbacks[playback] = target
        self.tasks.append(lambda: self._end_playback(playback, "done"))

    def _end_playback(self, playback: str, state: str) -> None:
        if self.playbacks.pop(playback, None) is not None:
            self._report(playback, events.PlaybackFinished(events.Playback(playback, state)))

    # What Asterisk reports.

    def _report(self, about: str, event: events.Event) -> None:
        if self.connected:
            self.events.setdefault(about, deque()).append(event)

    def disconnect(self) -> None:
        """Disconnect the websocket, and lose the events that were not received."""
        self.connected = False
        self.events.clear()

    def next_event(self, index: int) -> events.Event | None:
        """Remove and return the oldest event about one object; None if there are no events."""
        return self._next_event(list(self.events)[index % len(self.events)]) if self.events else None

    def next_event_of_transfer(self) -> events.Event | None:
        """Remove and return the oldest event about a Local channel; None if there is none."""
        about = next((about for about in self.events if about.startswith("local")), None)
        return None if about is None else self._next_event(about)

    def _next_event(self, about: str) -> events.Event:
        event = self.events[about].popleft()
        if isinstance(event, events.ChannelDestroyed) and _is_party(event.channel.id):
            self.reported_gone.add(event.channel.id)
        if not self.events[about]:
            del self.events[about]
        return event

    def existing(self) -> Iterator[str]:
        """Return the ids of everything that exists."""
        yield from self.channels
        yield from self.bridges
        yield from self.monitors
        yield from self.playbacks


def _commanded(method: str, path: tuple[str, ...], query: Mapping[str, str]) -> list[str]:
    """Return the ids of the channels that a command concerns; variables can be set and read at any time."""
    match method, *path:
        case ("GET", *_) | ("POST", "channels", _, "variable"):
            return []
        case "POST", "bridges", _, "addChannel":
            return query["channel"].split(",")
        case _, "channels", channel, *_:
            return [channel]
        case _:
            return []


def _is_party(channel: str) -> bool:
    return channel.startswith("1700.") or leg_number(channel) > 0
