"""An Asterisk in memory: what voxrec makes there lives, dies, records and plays as in the real one.

Nothing happens by itself. A request changes what is there and is answered as `fates` says; what the real one does later
waits in `works`; what it tells waits in `events`, in order for each object and in no order between objects.
"""

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import quote

from twisted.internet.defer import Deferred

from voxrec.ari import events
from voxrec.ari.transport import AriResponseError
from voxrec.errors import AsteriskUnavailable

Fate = Literal["done", "late", "refused", "lost before", "lost after"]
"""What becomes of a request; after either ``lost`` one nobody tells whether it was done."""

_APP: Final = "voxrec"
_OK: Final = b"{}"


@dataclass(eq=False)
class ModelChannel:
    """A channel; ``spied`` is the one that a snoop belongs to, ``half`` the other end of a Local channel."""

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
    variables: dict[str, str] = field(default_factory=dict)

    def shown(self) -> dict[str, Any]:
        """As ARI shows it."""
        return {
            "id": self.id,
            "name": self.name,
            "state": self.state,
            "caller": {"name": "", "number": self.number},
            "dialplan": {"exten": self.exten},
            "creationtime": "2023-11-14T22:13:20.000+0000",
        }

    def told(self) -> events.Channel:
        """As an event tells of it."""
        return events.Channel(
            id=self.id,
            name=self.name,
            state=self.state,
            caller=events.CallerId(number=self.number),
            dialplan=events.Dialplan(exten=self.exten),
        )


@dataclass(eq=False)
class ModelRecording:
    """A recording that runs; ``muted`` is what Asterisk turns at each request, and never says."""

    name: str
    channel: str
    muted: bool = False


class ModelAsterisk:
    """A Transport, and all that it stands for."""

    def __init__(self) -> None:
        self.channels: dict[str, ModelChannel] = {}
        self.bridges: dict[str, list[str]] = {}
        self.recordings: dict[str, ModelRecording] = {}
        self.playbacks: dict[str, str] = {}
        self.files: dict[str, None] = {}
        self.fates: deque[Fate] = deque()
        self.late: list[Callable[[], None]] = []
        self.works: list[Callable[[], None]] = []
        self.events: dict[str, deque[events.Event]] = {}
        self.listened_to = False
        self._made = 0

    # what is asked

    def request(
        self, method: str, path: tuple[str, ...], query: Mapping[str, str], body: object | None = None
    ) -> Deferred[bytes]:
        """See `voxrec.ari.transport.Transport`."""
        return Deferred.fromCoroutine(self.answered(method, path, query, body))

    async def answered(
        self, method: str, path: tuple[str, ...], query: Mapping[str, str], body: object | None
    ) -> bytes:
        fate = self.fates.popleft() if self.fates else "done"
        asked = f"{method} {'/'.join(path)}"
        if fate == "lost before":
            raise AsteriskUnavailable(f"{asked}: lost")
        if fate == "refused" and method != "GET":
            raise AriResponseError(asked, 500, "told to")
        refusal: AriResponseError | None = None
        answer = _OK
        try:
            answer = self._done(asked, method, path, query, body)
        except AriResponseError as error:
            refusal = error
        if fate == "late":
            waiting: Deferred[None] = Deferred()
            self.late.append(lambda: waiting.callback(None))
            await waiting
        if fate == "lost after":
            raise AsteriskUnavailable(f"{asked}: lost")
        if refusal is not None:
            raise refusal
        return answer

    def _done(
        self, asked: str, method: str, path: tuple[str, ...], query: Mapping[str, str], body: object | None
    ) -> bytes:
        def no(status: int, reason: str) -> AriResponseError:
            return AriResponseError(asked, status, reason)

        match method, *path:
            case ("GET", "asterisk", _) | ("PUT", "applications", *_):
                return b'{"system": {"version": "22.10.1"}}'
            case "GET", "api-docs", _:
                return b'"reason_code"'
            case "GET", "channels":
                return json.dumps([channel.shown() for channel in self.channels.values()]).encode()
            case "GET", "applications", _:
                own = [channel.id for channel in self.channels.values() if channel.entered]
                return json.dumps({"channel_ids": own}).encode()
            case "GET", "bridges":
                return json.dumps([{"id": id_, "channels": inside} for id_, inside in self.bridges.items()]).encode()
            case "POST", "channels", "create":
                if query["channelId"] in self.channels:
                    raise no(409, "Channel with given unique ID already exists")
                if query["originator"] not in self.channels:
                    raise no(400, "Provided originator channel was not found")
                variables: Any = body
                leg = self._made_channel(query["channelId"], "PJSIP/trunk", variables=dict(variables["variables"]))
                self.works.append(lambda: self._enter(leg, (query["appArgs"],)))
                return _OK
            case "POST", "channels", id_, "snoop", snoop:
                self._live(asked, id_)
                if snoop in self.channels:
                    raise no(500, "Snoop channel could not be created")
                made = self._made_channel(snoop, "Snoop", state="Up", spied=id_)
                self.works.append(lambda: self._enter(made, tuple(query["appArgs"].split(","))))
                return _OK
            case "POST", "bridges", bridge:
                self.bridges.setdefault(bridge, [])
                return _OK
            case "DELETE", "bridges", bridge:
                if self.bridges.pop(bridge, None) is None:
                    raise no(404, "Bridge not found")
                return _OK
            case "POST", "bridges", bridge, "addChannel":
                inside = self._bridge(asked, bridge)
                for id_ in query["channel"].split(","):
                    if id_ not in self.channels:
                        raise no(400, "Channel not found")
                    self._own(asked, id_)
                    if id_ not in inside:
                        inside.append(id_)
                return _OK
            case "POST", "bridges", bridge, "play", playback:
                self._bridge(asked, bridge)
                self._play(playback, bridge)
                return _OK
            case "POST", "channels", id_, "play", playback:
                self._own(asked, id_)
                self._play(playback, id_)
                return _OK
            case "GET", "playbacks", playback:
                if playback not in self.playbacks:
                    raise no(404, "Playback not found")
                return _OK
            case "POST", "channels", id_, "record":
                self._own(asked, id_)
                if query["name"] in self.files:
                    raise no(409, "Recording already exists and can not be overwritten")
                recording = ModelRecording(query["name"], id_)
                self.recordings[recording.name] = recording
                self.files[recording.name] = None
                self.works.append(lambda: self._begin(recording))
                return _OK
            case "GET", "recordings", "live", name:
                if name not in self.recordings:
                    raise no(404, "Recording not found")
                return json.dumps({"name": name}).encode()
            case (("POST" | "DELETE"), "recordings", "live", name, "mute"):
                if name not in self.recordings:
                    raise no(404, "Recording not found")
                self.recordings[name].muted ^= True
                return _OK
            case "POST", "channels", id_, "variable":
                self._live(asked, id_).variables[query["variable"]] = query["value"]
                return _OK
            case "GET", "channels", id_, "variable":
                found = self._live(asked, id_).variables.get(query["variable"])
                if found is None:
                    raise no(404, "Provided variable was not found")
                return json.dumps({"value": found}).encode()
            case "POST", "channels", id_, "dial":
                leg = self._own(asked, id_)
                if leg.dialled:
                    raise no(409, "Channel is already dialled")
                leg.dialled = True
                return _OK
            case "POST", "channels", id_, "answer":
                self._own(asked, id_).state = "Up"
                return _OK
            case "DELETE", "channels", id_:
                self.hang_up(self._live(asked, id_), int(query.get("reason_code", "16")))
                return _OK
            case _:
                raise AssertionError(f"nobody told the model of {asked}")

    def _live(self, asked: str, id_: str) -> ModelChannel:
        if id_ not in self.channels:
            raise AriResponseError(asked, 404, "Channel not found")
        return self.channels[id_]

    def _own(self, asked: str, id_: str) -> ModelChannel:
        channel = self._live(asked, id_)
        if not channel.entered or channel.dying:
            raise AriResponseError(asked, 409, "Channel not in Stasis application")
        return channel

    def _bridge(self, asked: str, bridge: str) -> list[str]:
        if bridge not in self.bridges:
            raise AriResponseError(asked, 404, "Bridge not found")
        return self.bridges[bridge]

    def _made_channel(self, id_: str, kind: str, **fields: Any) -> ModelChannel:
        self._made += 1
        channel = self.channels[id_] = ModelChannel(id_, f"{kind}-{self._made:08x}", **fields)
        return channel

    # what happens there

    def call(self, exten: str) -> ModelChannel:
        """Somebody calls; without anybody who listens the dialplan goes on and says 503."""
        caller = self._made_channel(f"1700.{self._made}", "PJSIP/trunk", state="Ring", number="+4930111", exten=exten)
        if self.listened_to:
            self._enter(caller, ("incoming",))
        else:
            self._die(caller, 34)
        return caller

    def legs(self) -> list[ModelChannel]:
        """The outgoing channels that ring, or were answered."""
        return [channel for channel in self.channels.values() if channel.dialled and not channel.dying]

    def callers(self) -> list[ModelChannel]:
        """The incoming channels."""
        return [channel for channel in self.channels.values() if channel.exten and not channel.dying]

    def ring(self, leg: ModelChannel) -> None:
        """The far end says that it rings."""
        if leg.state in ("Down", "Ringing"):
            leg.state = "Ringing"
            self._tell(leg.id, events.ChannelStateChange(leg.told()))

    def pick_up(self, leg: ModelChannel) -> None:
        """The far end answers."""
        if leg.state != "Up":
            leg.state = "Up"
            self._tell(leg.id, events.ChannelStateChange(leg.told()))

    def hang_up(self, channel: ModelChannel, cause: int) -> None:
        """Somebody wants a channel to end."""
        if not channel.dying:
            channel.dying = True
            self.works.append(lambda: self._die(channel, cause))

    def press(self, channel: ModelChannel, key: str) -> None:
        """A party presses a key."""
        self._tell(channel.id, events.ChannelDtmfReceived(channel.told(), key))

    def hold(self, channel: ModelChannel) -> None:
        """A party puts the call on hold, and resumes it."""
        self._tell(channel.id, events.ChannelHold(channel.told()))
        self._tell(channel.id, events.ChannelUnhold(channel.told()))

    def transfer(self, leg: ModelChannel, uri: str) -> None:
        """The far end leaves its place to somebody else: a Local channel takes it, with its other half in Stasis."""
        bridge = next((inside for inside in self.bridges.values() if leg.id in inside), None)
        if bridge is None or leg.state != "Up":
            return
        here = self._made_channel(f"local-{self._made};1", "Local", state="Up")
        there = self._made_channel(f"local-{self._made};2", "Local", state="Up", half=here.id)
        here.half = there.id
        bridge[bridge.index(leg.id)] = here.id
        here.entered = there.entered = True
        self._tell(here.id, events.StasisStart(here.told(), (), leg.told()))
        self._tell(there.id, events.StasisStart(there.told(), ("transferred", quote(f"<{uri}>"), quote(leg.name))))
        self.hang_up(leg, 16)

    def _enter(self, channel: ModelChannel, args: tuple[str, ...]) -> None:
        if channel.id in self.channels:
            channel.entered = True
            self._tell(channel.id, events.StasisStart(channel.told(), args))

    def _die(self, channel: ModelChannel, cause: int) -> None:
        if self.channels.pop(channel.id, None) is None:
            return
        for inside in self.bridges.values():
            if channel.id in inside:
                inside.remove(channel.id)
        for name in [name for name, one in self.recordings.items() if one.channel == channel.id]:
            del self.recordings[name]
            self._tell_recording(events.RecordingFinished, name)
        for playback in [playback for playback, target in self.playbacks.items() if target == channel.id]:
            self._end_playback(playback, "failed")
        for other in list(self.channels.values()):
            if other.spied == channel.id or other.id == channel.half:
                self.hang_up(other, 16)
        if channel.entered:
            self._tell(channel.id, events.StasisEnd(channel.told()))
        self._tell(channel.id, events.ChannelDestroyed(channel.told(), cause))

    def _begin(self, recording: ModelRecording) -> None:
        if recording.name in self.recordings:
            self._tell_recording(events.RecordingStarted, recording.name)

    def _play(self, playback: str, target: str) -> None:
        self.playbacks[playback] = target
        self.works.append(lambda: self._end_playback(playback, "done"))

    def _end_playback(self, playback: str, state: str) -> None:
        if self.playbacks.pop(playback, None) is not None:
            self._tell(playback, events.PlaybackFinished(events.Playback(playback, state)))

    # what is told

    def _tell_recording(self, kind: type[events.RecordingStarted] | type[events.RecordingFinished], name: str) -> None:
        self._tell(name, kind(events.LiveRecording(name)))

    def _tell(self, about: str, event: events.Event) -> None:
        if self.listened_to:
            self.events.setdefault(about, deque()).append(event)

    def drop_line(self) -> None:
        """The websocket is gone, and with it what it did not bring."""
        self.listened_to = False
        self.events.clear()

    def next_event(self, which: int) -> events.Event | None:
        """The oldest event about one object; None where there is none."""
        if not self.events:
            return None
        about = list(self.events)[which % len(self.events)]
        event = self.events[about].popleft()
        if not self.events[about]:
            del self.events[about]
        return event

    def left(self) -> Iterator[str]:
        """What is there, for who says that nothing may be."""
        yield from self.channels
        yield from self.bridges
        yield from self.recordings
        yield from self.playbacks
