"""Asterisk's commands as typed coroutines.

Every id (channel, bridge, playback, recording) is chosen by the caller, because the event about a new thing can arrive
before the answer to the request that made it, and because a request whose answer was lost can then be asked again.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, TypeVar

import msgspec

from voxrec.ari.events import Bridge, Channel, LiveRecording
from voxrec.ari.requests import AriRefusal, Requester

T = TypeVar("T")
Timed = Callable[[str, Requester], Requester]
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

    def __init__(self, http: Requester, app: str, timed: Timed = lambda _name, way: way) -> None:
        """``timed`` puts a watch on a way, http or websocket, where somebody wants to know how quick it is."""
        self.app = app
        self._timed = timed
        self._http = timed("http", http)
        self._way = self._http
        self._aside: Requester | None = None
        self._cause_codes = False

    @property
    def in_order(self) -> bool:
        """Whether Asterisk does commands in the order in which they are sent, not waiting for the answers."""
        return self._way is not self._http

    def prefer(self, way: Requester) -> None:
        """Send what follows this way."""
        self._way = self._timed("websocket", way)

    def prefer_aside(self, way: Requester | None) -> None:
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

    async def want_events(self, types: Iterable[str]) -> None:
        """Ask Asterisk to send events of these types only: most of what it says otherwise is ChannelVarset."""
        body = {"allowed": [{"type": type_} for type_ in sorted(types)]}
        await self._way.request("PUT", ("applications", self.app, "eventFilter"), {}, body)

    async def channels(self) -> list[Channel]:
        """All live channels, voxrec's or not."""
        return await self._ask(list[Channel], "GET", ("channels",))

    async def own_channels(self) -> list[str]:
        """The ids of the channels in voxrec's application; none where Asterisk does not know it yet."""
        try:
            application = await self._ask(_Application, "GET", ("applications", self.app))
        except AriRefusal as refusal:
            if not refusal.gone:
                raise
            return []
        return list(application.channel_ids)

    async def bridges(self) -> list[Bridge]:
        """All bridges, voxrec's or not."""
        return await self._ask(list[Bridge], "GET", ("bridges",))

    async def create_channel(
        self, channel: str, endpoint: str, args: str, *, originator: str, variables: Mapping[str, str]
    ) -> None:
        """Make an outgoing channel that enters the application at once; `dial` then calls."""
        query = {
            "endpoint": endpoint,
            "app": self.app,
            "appArgs": args,
            "channelId": channel,
            "originator": originator,
        }
        await self._way.request("POST", ("channels", "create"), query, {"variables": dict(variables)})

    async def dial(self, channel: str, *, caller: str, timeout: int) -> None:
        """Call the far end; success only says that it began. ``timeout`` in seconds."""
        await self._do("POST", ("channels", channel, "dial"), caller=caller, timeout=str(timeout))

    async def answer(self, channel: str) -> None:
        """Answer an incoming channel."""
        await self._do("POST", ("channels", channel, "answer"))

    async def hang_up(self, channel: str, cause: int) -> bool:
        """Hang up with a Q.850 cause (PJSIP makes a SIP status of it); give back whether there was such a channel."""
        query = {"reason_code": str(cause)} if self._cause_codes else {"reason": _REASONS.get(cause, "normal")}
        return await self._unless_gone("DELETE", ("channels", channel), query)

    async def create_bridge(self, bridge: str, name: str) -> None:
        """Make a mixing bridge."""
        await self._do("POST", ("bridges", bridge), type="mixing", name=name)

    async def add_to_bridge(self, bridge: str, channels: Iterable[str]) -> None:
        """Put channels into a bridge."""
        await self._do("POST", ("bridges", bridge, "addChannel"), channel=",".join(channels))

    async def destroy_bridge(self, bridge: str) -> None:
        """Remove a bridge; one already gone is fine."""
        await self._unless_gone("DELETE", ("bridges", bridge), {})

    async def snoop(self, channel: str, snoop: str, args: str, *, spy: Direction, whisper: Direction = "none") -> None:
        """Make a channel that hears (spy) or speaks into (whisper) another one; it enters the application."""
        query = {"app": self.app, "appArgs": args, "spy": spy, "whisper": whisper}
        await (self._aside or self._way).request("POST", ("channels", channel, "snoop", snoop), query)

    async def record(self, channel: str, name: str, format_: str) -> None:
        """Record what a channel hears to a file; `RecordingStarted` is the proof. A file of that name is an error."""
        query = {"name": name, "format": format_, "ifExists": "fail"}
        await (self._aside or self._way).request("POST", ("channels", channel, "record"), query)

    async def mute_recording(self, name: str) -> None:
        """Write silence from here on; the file keeps its length (measured on 22.10: pausing it would cut it)."""
        await self._do("POST", ("recordings", "live", name, "mute"))

    async def unmute_recording(self, name: str) -> None:
        """Write what is heard again."""
        await self._do("DELETE", ("recordings", "live", name, "mute"))

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

    async def play_to_bridge(self, bridge: str, playback: str, media: str, *, language: str | None = None) -> None:
        """Play a sound to all in a bridge, in a language where Asterisk has it."""
        await self._do("POST", ("bridges", bridge, "play", playback), media=media, **_spoken(language))

    async def play_to_channel(self, channel: str, playback: str, media: str, *, language: str | None = None) -> None:
        """Play a sound on a channel, in a language where Asterisk has it."""
        await self._do("POST", ("channels", channel, "play", playback), media=media, **_spoken(language))

    async def plays(self, playback: str) -> bool:
        """Whether a sound is being played, or waits to be."""
        return await self._unless_gone("GET", ("playbacks", playback), {})

    async def variable(self, channel: str, name: str) -> str:
        """A variable of a channel; empty where the channel has none of that name, or is gone."""
        try:
            return (await self._ask(_Variable, "GET", ("channels", channel, "variable"), variable=name)).value
        except AriRefusal as refusal:
            if not refusal.gone:
                raise
            return ""

    async def set_variable(self, channel: str, name: str, value: str) -> None:
        """Keep a text with a channel; one that is gone keeps nothing."""
        await self._unless_gone("POST", ("channels", channel, "variable"), {"variable": name, "value": value})

    async def _do(self, method: str, path: tuple[str, ...], **query: str) -> None:
        await self._way.request(method, path, query)

    async def _ask(self, kind: type[T], method: str, path: tuple[str, ...], **query: str) -> T:
        return msgspec.json.decode(await self._way.request(method, path, query), type=kind)

    async def _unless_gone(self, method: str, path: tuple[str, ...], query: Mapping[str, str]) -> bool:
        try:
            await self._way.request(method, path, query)
        except AriRefusal as refusal:
            if not refusal.gone:
                raise
            return False
        return True


def _spoken(language: str | None) -> dict[str, str]:
    return {} if language is None else {"lang": language}
