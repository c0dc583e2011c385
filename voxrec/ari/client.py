"""The ARI commands and queries that voxrec uses, as typed methods.

The request is sent when the method is called, not when its Deferred is awaited. The caller chooses every id (channel,
bridge, playback, recording): the event about a new object can arrive before the response to the request that created
it, and a request whose response was lost can be repeated.

Unless a method says otherwise, its Deferred fails with `AriResponseError` if Asterisk refuses the request, and with
`AsteriskUnavailable` if it does not respond.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Literal, TypeAlias, TypeVar

import msgspec
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from voxrec.ari.events import Bridge, Channel
from voxrec.ari.rtp_statistics import RtpStatistics
from voxrec.ari.transport import AriResponseError, Transport
from voxrec.ari.versions import WITH_PJSIP_HANGUP, WITH_WAKE_UP, drops_late_audio, predates

T = TypeVar("T")
InstrumentTransport = Callable[[str, Transport], Transport]
"""Wraps a transport for measurement; the first argument is its name, ``http`` or ``websocket``."""
CommandResult: TypeAlias = Deferred[bytes]
"""Fires with the response body of a command, which contains nothing of interest."""
Direction = Literal["none", "in", "out", "both"]
BridgeMedia = Literal["forwarded", "processed"]

_BRIDGE_TYPES: Mapping[BridgeMedia, str] = {"forwarded": "mixing", "processed": "mixing,proxy_media"}
_REFUSE_CONTEXT = "voxrec-refuse"  # etc/asterisk/extensions.conf
# Q.850 cause codes that have a name in Asterisk 16 (parameter `reason`). Every other cause is sent as "normal", which
# PJSIP maps to 603 if the channel was not answered.
_CAUSE_NAMES: Mapping[int, str] = {
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

# The SIP status of an unanswered channel that is hung up with a Q.850 cause (hangup_cause2sip in chan_pjsip.c).
_STATUSES: Mapping[int, int] = {
    1: 404, 17: 486, 18: 408, 19: 480, 21: 403, 22: 410, 27: 502, 28: 484, 29: 501, 34: 503, 38: 500, 42: 503, 58: 488,
}  # fmt: skip


class _System(msgspec.Struct, frozen=True):
    version: str = ""


class _Application(msgspec.Struct, frozen=True):
    channel_ids: tuple[str, ...] = ()


class _ConfigField(msgspec.Struct, frozen=True):
    attribute: str = ""
    value: str = ""


class _Variable(msgspec.Struct, frozen=True):
    value: str = ""


class _Status(msgspec.Struct, frozen=True):
    startup_time: datetime | None = None


class AsteriskInfo(msgspec.Struct, frozen=True):
    """The response to ``GET /asterisk/info``."""

    system: _System = _System()
    status: _Status = _Status()


class AriClient:
    """Sends commands and queries to one Asterisk for the Stasis application ``app``.

    Requests use HTTP until `use_transport` sets a faster transport, and again after `use_http`.
    """

    def __init__(
        self, http: Transport, app: str, instrument: InstrumentTransport = lambda _name, transport: transport
    ) -> None:
        self.app = app
        self._instrument = instrument
        self._http = instrument("http", http)
        self._transport = self._http
        self._supports_cause_codes = False
        self._supports_all_statuses = True
        self._reports_status = True
        self._wakes_channels = True
        self._drops_late_audio = False
        self.started_at: datetime | None = None
        """When the connected Asterisk started; None if it is not known."""
        self.spool_directory = ""
        """The directory ``astspooldir`` of asterisk.conf, as Asterisk sees it."""

    @property
    def executes_in_order(self) -> bool:
        """Whether Asterisk executes requests in the order in which they are sent, without waiting for responses.

        True for requests over the websocket, false for HTTP, where they may use different connections.
        """
        return self._transport is not self._http

    @property
    def reports_status(self) -> bool:
        """Whether `ChannelDestroyed` contains the SIP status; otherwise the dialplan has to report it."""
        return self._reports_status

    @property
    def wakes_channels(self) -> bool:
        """Whether a channel that is in no bridge executes a command at once; otherwise it may take 200 ms."""
        return self._wakes_channels

    @property
    def drops_late_audio(self) -> bool:
        """Whether its decoders drop audio whose RTP sequence numbers are not later than the last one, modulo 65,536.

        A frame without a number, such as one of an announcement, has the number 0 for them (docs/asterisk.md).
        """
        return self._drops_late_audio

    def use_transport(self, transport: Transport) -> None:
        """Send all further requests through ``transport``, normally the event websocket."""
        self._transport = self._instrument("websocket", transport)

    def use_http(self) -> None:
        """Send all further requests over HTTP: the websocket closed."""
        self._transport = self._http

    async def detect_capabilities(self) -> str:
        """Find out what this Asterisk version supports, and return its version string."""
        info = await self._query(AsteriskInfo, "GET", ("asterisk", "info"))
        spool = await self._query(_Variable, "GET", ("asterisk", "variable"), variable="ASTSPOOLDIR")
        channels_api = await self._http.request("GET", ("api-docs", "channels.json"), {})
        self._supports_cause_codes = b'"reason_code"' in channels_api
        events_api = await self._http.request("GET", ("api-docs", "events.json"), {})
        self._reports_status = b'"tech_cause"' in events_api
        self._supports_all_statuses = not predates(info.system.version, WITH_PJSIP_HANGUP)
        self._wakes_channels = not predates(info.system.version, WITH_WAKE_UP)
        self._drops_late_audio = drops_late_audio(info.system.version)
        self.started_at = info.status.startup_time
        self.spool_directory = spool.value
        return info.system.version

    def set_event_filter(self, types: Iterable[str]) -> CommandResult:
        """Restrict the events of the application to ``types``: without a filter, most events are ChannelVarset."""
        body = {"allowed": [{"type": event_type} for event_type in sorted(types)]}
        return self._transport.request("PUT", ("applications", self.app, "eventFilter"), {}, body)

    def list_channels(self) -> Deferred[list[Channel]]:
        """Return all channels of this Asterisk, including those of other applications."""
        return self._query(list[Channel], "GET", ("channels",))

    async def application_channels(self) -> list[str]:
        """Return the ids of the channels in voxrec's application; none if Asterisk does not know the application."""
        try:
            application = await self._query(_Application, "GET", ("applications", self.app))
        except AriResponseError as error:
            if not error.not_found:
                raise
            return []
        return list(application.channel_ids)

    def list_bridges(self) -> Deferred[list[Bridge]]:
        """Return all bridges of this Asterisk, including those of other applications."""
        return self._query(list[Bridge], "GET", ("bridges",))

    def create_channel(
        self, channel: str, endpoint: str, args: str, *, originator: str = "", variables: Mapping[str, str]
    ) -> CommandResult:
        """Create an outgoing channel that enters the application at once; `dial` then calls the far end.

        ``args`` are the arguments of its `StasisStart`; ``originator`` is the id of the caller's channel, if any.
        """
        query = {
            "endpoint": endpoint,
            "app": self.app,
            "appArgs": args,
            "channelId": channel,
            **({"originator": originator} if originator else {}),
        }
        return self._transport.request("POST", ("channels", "create"), query, {"variables": dict(variables)})

    def dial(self, channel: str, *, caller: str = "", timeout: int) -> CommandResult:
        """Start to call the far end of a created channel, for a caller's channel; ``timeout`` is in seconds.

        Success means only that dialling began. Events report ringing, the answer and the failure.
        """
        return self._command("POST", ("channels", channel, "dial"), caller=caller, timeout=str(timeout))

    def answer(self, channel: str) -> CommandResult:
        """Answer an incoming channel, without waiting for its first packet."""
        return self._command("POST", ("channels", channel, "answer"))

    def ring(self, channel: str) -> CommandResult:
        """Let an incoming channel hear a ringing tone, which its own network plays (180 without SDP)."""
        return self._command("POST", ("channels", channel, "ring"))

    def stop_ringing(self, channel: str) -> CommandResult:
        """Stop what `ring` lets an answered channel hear."""
        return self._command("DELETE", ("channels", channel, "ring"))

    async def last_response(self, channel: str, name: str) -> int:
        """Return the SIP status of the last response on an outgoing channel called ``name``; 0 if there was none."""
        if not await self.get_variable(channel, "HANGUPCAUSE_KEYS()"):
            return 0  # without this query, Asterisk would log a warning
        found = re.match(r"SIP ([1-6][0-9]{2})", await self.get_variable(channel, f"HANGUPCAUSE({name},tech)"))
        return int(found[1]) if found is not None else 0

    async def rtp_statistics(self, channel: str) -> RtpStatistics:
        """Return what Asterisk has received on a channel; zeros if it does not exist or has no RTP."""
        try:
            return await self._query(RtpStatistics, "GET", ("channels", channel, "rtp_statistics"))
        except AriResponseError as error:
            if error.ari_status not in (403, 404):  # 403: a Local channel, for example
                raise
            return RtpStatistics()

    def hang_up(self, channel: str, cause: int) -> Deferred[bool]:
        """Hang up a channel with a Q.850 cause, which PJSIP maps to a SIP status.

        Return whether the channel existed.
        """
        if self._supports_cause_codes:
            query = {"reason_code": str(cause)}
        else:
            query = {"reason": _CAUSE_NAMES.get(cause, "normal")}
        return self._request_if_exists("DELETE", ("channels", channel), query)

    def refuse(self, channel: str, status: int, cause: int, *, nearest: int, in_bridge: bool = False) -> Deferred[bool]:
        """Answer an unanswered inbound call with a SIP status, 400 to 699, and the Q.850 cause in its Reason header.

        A status to which Asterisk does not map the cause is sent by the dialplan (context voxrec-refuse of
        etc/asterisk/extensions.conf), from 18.21, 20.6 and 21.1 on. Before, the caller gets the status of the cause
        ``nearest``. Return whether the channel existed.

        A channel that is ``in_bridge`` is always refused by the dialplan: leaving the bridge can replace its cause by
        16, which is 603 (Asterisk 16 and 22: `ast_bridge_depart` in main/bridge.c).
        """
        if not self._supports_all_statuses:
            cause = nearest
        expressible = self._supports_cause_codes or cause in _CAUSE_NAMES
        if expressible and _STATUSES.get(cause) == status and not in_bridge:
            return self.hang_up(channel, cause)
        query = {"context": _REFUSE_CONTEXT, "extension": f"{status}*{int(cause)}", "priority": "1"}
        return self._request_if_exists("POST", ("channels", channel, "continue"), query)

    def leave_application(self, channel: str) -> Deferred[bool]:
        """Let a channel continue in the dialplan, behind Stasis. Return whether it was in the application.

        Unlike `hang_up`, it works for internal channels, which ARI does not list, such as that of SIP MESSAGE.
        """
        return self._request_if_exists("POST", ("channels", channel, "continue"), {})

    def create_bridge(self, bridge: str, name: str, *, media: BridgeMedia = "forwarded") -> CommandResult:
        """Create a mixing bridge.

        ``media``: Asterisk may forward the RTP packets of two channels unchanged ("forwarded"), or always decodes and
        sends them itself ("processed"; ``proxy_media`` in ARI), as it must for a recording.
        """
        return self._command("POST", ("bridges", bridge), type=_BRIDGE_TYPES[media], name=name)

    def subscribe_to_bridge(self, bridge: str) -> CommandResult:
        """Receive the events of a bridge without a channel in it; the subscription ends with the bridge."""
        return self._command("POST", ("applications", self.app, "subscription"), eventSource=f"bridge:{bridge}")

    async def bridge_channels(self, bridge: str) -> frozenset[str]:
        """Return the ids of the channels in a bridge; none if the bridge does not exist."""
        try:
            return frozenset((await self._query(Bridge, "GET", ("bridges", bridge))).channels)
        except AriResponseError as error:
            if not error.not_found:
                raise
            return frozenset()

    def add_to_bridge(self, bridge: str, channels: Iterable[str]) -> CommandResult:
        """Add channels to a bridge."""
        return self._command("POST", ("bridges", bridge, "addChannel"), channel=",".join(channels))

    def destroy_bridge(self, bridge: str) -> Deferred[bool]:
        """Destroy a bridge. Return whether it existed."""
        return self._request_if_exists("DELETE", ("bridges", bridge), {})

    def snoop(
        self, channel: str, snoop: str, args: str, *, spy: Direction, whisper: Direction = "none"
    ) -> CommandResult:
        """Create a snoop channel that receives (``spy``) or injects (``whisper``) the audio of ``channel``.

        It enters the application; ``args`` are the arguments of its `StasisStart`.
        """
        query = {"app": self.app, "appArgs": args, "spy": spy, "whisper": whisper}
        return self._transport.request("POST", ("channels", channel, "snoop", snoop), query)

    def create_external_media(self, channel: str, host: str, format_: str) -> CommandResult:
        """Create a channel that enters the application, and sends what it hears to ``host:port`` as RTP (``ulaw``)."""
        query = {"channelId": channel, "app": self.app, "external_host": host, "format": format_}
        return self._transport.request("POST", ("channels", "externalMedia"), query)

    def play_to_bridge(self, bridge: str, playback: str, media: str, *, language: str | None = None) -> CommandResult:
        """Play ``media`` to all channels of a bridge, in ``language`` if Asterisk has the sound in it."""
        return self._command("POST", ("bridges", bridge, "play", playback), media=media, **_language_query(language))

    def play_to_channel(self, channel: str, playback: str, media: str, *, language: str | None = None) -> CommandResult:
        """Play ``media`` to one channel, in ``language`` if Asterisk has the sound in it."""
        return self._command("POST", ("channels", channel, "play", playback), media=media, **_language_query(language))

    def stop_playback(self, playback: str) -> Deferred[bool]:
        """Stop a playback. Return whether it was in progress or queued."""
        return self._request_if_exists("DELETE", ("playbacks", playback), {})

    def playback_exists(self, playback: str) -> Deferred[bool]:
        """Return whether a playback is in progress or queued."""
        return self._request_if_exists("GET", ("playbacks", playback), {})

    async def get_variable(self, channel: str, name: str) -> str:
        """Return a channel variable; empty if the channel or the variable does not exist."""
        try:
            return (await self._query(_Variable, "GET", ("channels", channel, "variable"), variable=name)).value
        except AriResponseError as error:
            if not error.not_found:
                raise
            return ""

    async def get_global_variable(self, name: str) -> str:
        """Return a global variable; empty if it is not set."""
        return (await self._query(_Variable, "GET", ("asterisk", "variable"), variable=name)).value

    def set_global_variable(self, name: str, value: str) -> CommandResult:
        """Set a global variable; an empty value unsets it."""
        return self._transport.request("POST", ("asterisk", "variable"), {"variable": name, "value": value})

    def set_variable(self, channel: str, name: str, value: str) -> Deferred[bool]:
        """Set a channel variable. Return whether the channel exists."""
        return self._request_if_exists("POST", ("channels", channel, "variable"), {"variable": name, "value": value})

    async def pjsip_settings(self, type_: str, name: str) -> Mapping[str, str]:
        """Return the settings of an object in Asterisk's PJSIP configuration, for example the ``endpoint`` ``name``."""
        path = ("asterisk", "config", "dynamic", "res_pjsip", type_, name)
        return {each.attribute: each.value for each in await self._query(list[_ConfigField], "GET", path)}

    async def is_online(self, endpoint: str) -> bool:
        """Return whether an address of record of a PJSIP endpoint has a contact that responds."""
        state = await self._query(dict[str, object], "GET", ("endpoints", "PJSIP", endpoint))
        return state.get("state") == "online"

    def put_pjsip_settings(self, type_: str, name: str, settings: Mapping[str, str]) -> CommandResult:
        """Create or change an object of PJSIP that Asterisk can store, such as a ``contact``."""
        fields = [{"attribute": attribute, "value": value} for attribute, value in settings.items()]
        path = ("asterisk", "config", "dynamic", "res_pjsip", type_, name)
        return self._transport.request("PUT", path, {}, {"fields": fields})

    def delete_pjsip_settings(self, type_: str, name: str) -> Deferred[bool]:
        """Delete an object of PJSIP. Return whether it existed."""
        return self._request_if_exists("DELETE", ("asterisk", "config", "dynamic", "res_pjsip", type_, name), {})

    def _command(self, method: str, path: tuple[str, ...], **query: str) -> CommandResult:
        return self._transport.request(method, path, query)

    def _query(self, type_: type[T], method: str, path: tuple[str, ...], **query: str) -> Deferred[T]:
        return self._transport.request(method, path, query).addCallback(msgspec.json.decode, type=type_)

    def _request_if_exists(self, method: str, path: tuple[str, ...], query: Mapping[str, str]) -> Deferred[bool]:
        return self._transport.request(method, path, query).addCallbacks(lambda _: True, _false_if_not_found)


def _false_if_not_found(failure: Failure) -> bool:
    """Return False for the status 404; raise any other error."""
    if not (isinstance(failure.value, AriResponseError) and failure.value.not_found):
        failure.raiseException()
    return False


def _language_query(language: str | None) -> dict[str, str]:
    return {} if language is None else {"lang": language}
