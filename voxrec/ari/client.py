"""Asterisk's commands, typed. Each leaves when its method is called; the Deferred tells what came of it.

Every id (channel, bridge, playback, recording) is chosen by the caller, because the event about a new thing can arrive
before the answer to the request that made it, and because a request whose answer was lost can then be asked again.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, TypeAlias, TypeVar

import msgspec
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from voxrec.ari.events import Bridge, Channel, LiveRecording
from voxrec.ari.transport import AriRefusal, Transport

T = TypeVar("T")
Timed = Callable[[str, Transport], Transport]
Done: TypeAlias = Deferred[bytes]  # a command was done; what Asterisk answers says no more
Direction = Literal["none", "in", "out", "both"]

# Q.850 causes that the word list of Asterisk 16 can say; the others fall back to its "normal" (603 before the answer).
_REASONS: Mapping[int, str] = {
    1: "unallocated",
    16: "normal",
    17: "busy",
    18: "timeout",
    19: "no_answer",
    21: "rejected",
    26: "answered_elsewhere",
    28: "number_incomplete",
    31: "normal_unspecified",
    34: "congestion",
    38: "failure",
    58: "codec_mismatch",
    88: "codec_mismatch",
    127: "interworking",
}


class _System(msgspec.Struct, frozen=True):
    version: str = ""


class _Application(msgspec.Struct, frozen=True):
    channel_ids: tuple[str, ...] = ()


class _Variable(msgspec.Struct, frozen=True):
    value: str = ""


class AsteriskInfo(msgspec.Struct, frozen=True):
    """What ``GET /asterisk/info`` tells of itself."""

    system: _System = _System()


class AriClient:
    """Commands to one Asterisk.

    Over HTTP until `prefer` names a faster way, and again after `forget`.
    """

    def __init__(self, http: Transport, app: str, timed: Timed = lambda _name, way: way) -> None:
        """``timed`` puts a watch on a way, http or websocket, where somebody wants to know how quick it is."""
        self.app = app
        self._timed = timed
        self._http = timed("http", http)
        self._way = self._http
        self._aside: Transport | None = None
        self._cause_codes = False

    @property
    def in_order(self) -> bool:
        """Whether Asterisk does commands in the order in which they are sent, not waiting for the answers."""
        return self._way is not self._http

    def prefer(self, way: Transport) -> None:
        """Send what follows this way."""
        self._way = self._timed("websocket", way)

    def prefer_aside(self, way: Transport | None) -> None:
        """Send what makes a recording this way, where it holds nobody up; None: as everything else."""
        self._aside = None if way is None else self._timed("websocket", way)

    def forget(self) -> None:
        """Go back to HTTP: the faster way is gone."""
        self._way = self._http

    async def learn(self) -> str:
        """Find out what this Asterisk can do, and give back its version."""
        info = await self._ask(AsteriskInfo, "GET", ("asterisk", "info"), only="system")
        description = await self._http.request("GET", ("api-docs", "channels.json"), {})
        self._cause_codes = b'"reason_code"' in description
        return info.system.version

    def want_events(self, types: Iterable[str]) -> Done:
        """Ask Asterisk to send events of these types only: most of what it says otherwise is ChannelVarset."""
        body = {"allowed": [{"type": type_} for type_ in sorted(types)]}
        return self._way.request("PUT", ("applications", self.app, "eventFilter"), {}, body)

    def channels(self) -> Deferred[list[Channel]]:
        """All live channels, voxrec's or not."""
        return self._ask(list[Channel], "GET", ("channels",))

    async def own_channels(self) -> list[str]:
        """The ids of the channels in voxrec's application; none where Asterisk does not know it yet."""
        try:
            application = await self._ask(_Application, "GET", ("applications", self.app))
        except AriRefusal as refusal:
            if not refusal.gone:
                raise
            return []
        return list(application.channel_ids)

    def bridges(self) -> Deferred[list[Bridge]]:
        """All bridges, voxrec's or not."""
        return self._ask(list[Bridge], "GET", ("bridges",))

    def create_channel(
        self, channel: str, endpoint: str, args: str, *, originator: str, variables: Mapping[str, str]
    ) -> Done:
        """Make an outgoing channel that enters the application at once; `dial` then calls."""
        query = {
            "endpoint": endpoint,
            "app": self.app,
            "appArgs": args,
            "channelId": channel,
            "originator": originator,
        }
        return self._way.request("POST", ("channels", "create"), query, {"variables": dict(variables)})

    def dial(self, channel: str, *, caller: str, timeout: int) -> Done:
        """Call the far end; success only says that it began. ``timeout`` in seconds."""
        return self._do("POST", ("channels", channel, "dial"), caller=caller, timeout=str(timeout))

    def answer(self, channel: str) -> Done:
        """Answer an incoming channel."""
        return self._do("POST", ("channels", channel, "answer"))

    def hang_up(self, channel: str, cause: int) -> Deferred[bool]:
        """Hang up with a Q.850 cause (PJSIP makes a SIP status of it); give back whether there was such a channel."""
        query = {"reason_code": str(cause)} if self._cause_codes else {"reason": _REASONS.get(cause, "normal")}
        return self._unless_gone("DELETE", ("channels", channel), query)

    def create_bridge(self, bridge: str, name: str) -> Done:
        """Make a mixing bridge."""
        return self._do("POST", ("bridges", bridge), type="mixing", name=name)

    def add_to_bridge(self, bridge: str, channels: Iterable[str]) -> Done:
        """Put channels into a bridge."""
        return self._do("POST", ("bridges", bridge, "addChannel"), channel=",".join(channels))

    def destroy_bridge(self, bridge: str) -> Deferred[bool]:
        """Remove a bridge; one already gone is fine."""
        return self._unless_gone("DELETE", ("bridges", bridge), {})

    def snoop(self, channel: str, snoop: str, args: str, *, spy: Direction, whisper: Direction = "none") -> Done:
        """Make a channel that hears (spy) or speaks into (whisper) another one; it enters the application."""
        query = {"app": self.app, "appArgs": args, "spy": spy, "whisper": whisper}
        return (self._aside or self._way).request("POST", ("channels", channel, "snoop", snoop), query)

    def record(self, channel: str, name: str, format_: str) -> Done:
        """Record what a channel hears to a file; `RecordingStarted` is the proof. A file of that name is an error."""
        query = {"name": name, "format": format_, "ifExists": "fail"}
        return (self._aside or self._way).request("POST", ("channels", channel, "record"), query)

    def mute_recording(self, name: str) -> Done:
        """Write silence from here on; the file keeps its length (measured on 22.10: pausing it would cut it)."""
        return self._do("POST", ("recordings", "live", name, "mute"))

    def unmute_recording(self, name: str) -> Done:
        """Write what is heard again."""
        return self._do("DELETE", ("recordings", "live", name, "mute"))

    async def recordings(self, names: Iterable[str]) -> list[LiveRecording]:
        """Those of ``names`` that Asterisk is recording now."""
        live = []
        for name in names:
            try:
                live.append(await self._ask(LiveRecording, "GET", ("recordings", "live", name)))
            except AriRefusal as refusal:
                if not refusal.gone:
                    raise
        return live

    def play_to_bridge(self, bridge: str, playback: str, media: str, *, language: str | None = None) -> Done:
        """Play a sound to all in a bridge, in a language where Asterisk has it."""
        return self._do("POST", ("bridges", bridge, "play", playback), media=media, **_spoken(language))

    def play_to_channel(self, channel: str, playback: str, media: str, *, language: str | None = None) -> Done:
        """Play a sound on a channel, in a language where Asterisk has it."""
        return self._do("POST", ("channels", channel, "play", playback), media=media, **_spoken(language))

    def plays(self, playback: str) -> Deferred[bool]:
        """Whether a sound is being played, or waits to be."""
        return self._unless_gone("GET", ("playbacks", playback), {})

    async def variable(self, channel: str, name: str) -> str:
        """A variable of a channel; empty where the channel has none of that name, or is gone."""
        try:
            return (await self._ask(_Variable, "GET", ("channels", channel, "variable"), variable=name)).value
        except AriRefusal as refusal:
            if not refusal.gone:
                raise
            return ""

    def set_variable(self, channel: str, name: str, value: str) -> Deferred[bool]:
        """Keep a text with a channel; one that is gone keeps nothing."""
        return self._unless_gone("POST", ("channels", channel, "variable"), {"variable": name, "value": value})

    def _do(self, method: str, path: tuple[str, ...], **query: str) -> Deferred[bytes]:
        return self._way.request(method, path, query)

    def _ask(self, kind: type[T], method: str, path: tuple[str, ...], **query: str) -> Deferred[T]:
        return self._way.request(method, path, query).addCallback(msgspec.json.decode, type=kind)

    def _unless_gone(self, method: str, path: tuple[str, ...], query: Mapping[str, str]) -> Deferred[bool]:
        return self._way.request(method, path, query).addCallbacks(lambda _: True, _gone)


def _gone(failure: Failure) -> bool:
    """False where there is no such thing; any other failure goes on."""
    if not (isinstance(failure.value, AriRefusal) and failure.value.gone):
        failure.raiseException()
    return False


def _spoken(language: str | None) -> dict[str, str]:
    return {} if language is None else {"lang": language}
