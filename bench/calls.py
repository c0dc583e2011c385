"""What a call costs the process that steers it, without Asterisk: websocket and call machine, in memory.

Against the same messages, to the byte, going through Autobahn alone: what no program on it can do without.
"""

import base64
import hashlib
import json
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from uuid import UUID

import msgspec
import txaio
from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import globalLogBeginner

from bench.measure import ROUNDS, Spread, interleaved
from bench.report import Section, Table, publish
from voxrec.ari.client import AriClient
from voxrec.ari.command_connection import CommandConnection
from voxrec.ari.event_stream import EventStream, EventStreamListener
from voxrec.ari.events import Event
from voxrec.ari.transport import TimedTransport, WebsocketTransport
from voxrec.calls.core import CallSettings
from voxrec.calls.router import Router
from voxrec.errors import AsteriskUnavailable
from voxrec.metrics import Metrics
from voxrec.model import Profile, RecordChannels, Recording, RecordPrompt

CALLS: Final = 300  # in each round
PAUSE: Final = 0.02  # seconds between two calls, for other programs to take the processor's caches
AUTOBAHN, VOXREC = "Autobahn alone", "voxrec"
_ADDRESS: Final = IPv4Address("TCP", "127.0.0.1", 8088)
_NEVER: Final = 1e6  # seconds
_NOW: Final = "2026-11-23T12:00:00.000+0000"
_URL: Final = "http://127.0.0.1:8088/ari"
_PROFILE: Final = Profile(
    id=UUID("10000000-0000-4000-8000-000000000001"),
    remote_sip_uri="sip:desk@127.0.0.1:5070",
    record=True,
    record_channels=RecordChannels.DUAL,
    record_prompt=RecordPrompt.NONE,
    record_beep_at_start=False,
    created_at=datetime(2026, 11, 23, 12, tzinfo=UTC),
    updated_at=datetime(2026, 11, 23, 12, tzinfo=UTC),
)


class Wire:
    """A connection in memory, seen from the client: what it writes is kept, a frame a write."""

    disconnecting = False

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.written: list[bytes] = []
        self.protocol: Any = None

    def connect(self, factory: Any) -> Deferred[Any]:
        """Connect at once, and a turn later open the websocket as a server does (RFC 6455, section 4.2.2)."""
        self.protocol = factory.buildProtocol(_ADDRESS)
        self.protocol.makeConnection(self)
        head = b"".join(self.taken())
        (key,) = (line[18:].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())  # noqa: S324
        answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        self._clock.callLater(0, self.protocol.dataReceived, answer + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        return succeed(self.protocol)

    def taken(self) -> list[bytes]:
        """What was written since the last look."""
        written, self.written = self.written, []
        return written

    def heard(self) -> list[bytes]:
        """The messages among it, unmasked (RFC 6455, section 5.3)."""
        return [_unmasked(frame) for frame in self.taken()]

    def say(self, message: bytes) -> None:
        """Send the client a message, as it would come in one piece."""
        size = len(message)
        head = bytes([0x81, size]) if size < 126 else b"\x81\x7e" + size.to_bytes(2, "big")
        self.protocol.dataReceived(head + message)

    def write(self, data: bytes) -> None:
        """As a transport."""
        self.written.append(data)

    def getPeer(self) -> IPv4Address:
        """As a transport."""
        return _ADDRESS

    getHost = getPeer

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: N802
        """As a transport."""

    def loseConnection(self) -> None:  # noqa: N802
        """As a transport."""


def _unmasked(frame: bytes) -> bytes:
    start = 2 if frame[1] & 127 < 126 else 4
    mask, masked = frame[start : start + 4], frame[start + 4 :]
    return bytes(byte ^ mask[place % 4] for place, byte in enumerate(masked))


class Asterisk:
    """Does what it is asked, and tells what Asterisk 22 tells of a call that is recorded by two snoops.

    ``exchanged`` are the messages of the last call in their order: True, and what was said to the client, or False, and
    what it said.
    """

    def __init__(self, events: Wire, commands: Wire) -> None:
        self._events = events
        self._wires = (events, commands)
        self._leg = ""
        self._recordings: dict[str, str] = {}  # the channel that each is made of
        self.exchanged: list[tuple[bool, bytes]] = []

    def calls(self, caller: str) -> None:
        """A caller comes in."""
        self.exchanged.clear()
        self._recordings.clear()
        self._tell("StasisStart", channel=_channel(caller, "Ring"), args=["incoming"])

    def hangs_up(self, caller: str) -> None:
        """A caller goes."""
        self._gone(caller)

    def answer(self) -> bool:
        """Do what was asked since the last time; whether there was anything."""
        asked = [(wire, message) for wire in self._wires for message in wire.heard()]
        for wire, message in asked:
            self.exchanged.append((False, message))
            request = json.loads(message)
            answer = {"type": "RESTResponse", "request_id": request["request_id"], "status_code": 204}
            self._say(wire, {**answer, "reason_phrase": "No Content", "uri": request["uri"], "message_body": ""})
            self._do(request)
        return bool(asked)

    def _do(self, request: dict[str, Any]) -> None:
        query = {each["name"]: each["value"] for each in request.get("query_strings", ())}
        match [request["method"], *request["uri"].split("/")]:
            case ["POST", "channels", "create"]:
                self._leg = query["channelId"]
                self._tell("StasisStart", channel=_channel(self._leg, "Down"), args=["leg"])
            case ["POST", "channels", channel, "dial"]:
                self._tell("ChannelStateChange", channel=_channel(channel, "Up"))
            case ["POST", "channels", channel, "answer"]:
                self._tell("ChannelStateChange", channel=_channel(channel, "Up"))
            case ["POST", "channels", _, "snoop", snoop]:
                self._tell("StasisStart", channel=_channel(snoop, "Up"), args=["snoop"])
            case ["POST", "channels", snoop, "record"]:
                self._recordings[query["name"]] = snoop
                self._tell("RecordingStarted", recording=_recording(query["name"], "recording"))
            case ["DELETE", "channels", leg] if leg == self._leg:
                for name, snoop in self._recordings.items():
                    self._tell("RecordingFinished", recording=_recording(name, "done"))
                    self._gone(snoop)
                self._gone(leg)

    def _gone(self, channel: str) -> None:
        self._tell("StasisEnd", channel=_channel(channel, "Up"))
        self._tell("ChannelDestroyed", channel=_channel(channel, "Up"), cause=16, cause_txt="Normal Clearing")

    def _tell(self, type_: str, **fields: object) -> None:
        self._say(self._events, {"type": type_, "timestamp": _NOW, "application": "voxrec", **fields})

    def _say(self, wire: Wire, message: dict[str, object]) -> None:
        text = json.dumps(message).encode()
        self.exchanged.append((True, text))
        wire.say(text)


def _channel(identity: str, state: str) -> dict[str, object]:
    return {
        "id": identity,
        "name": "PJSIP/trunk-00000001",
        "state": state,
        "caller": {"name": "Alice Example", "number": "+4930901820"},
        "connected": {"name": "", "number": ""},
        "accountcode": "",
        "dialplan": {"context": "voxrec", "exten": str(_PROFILE.id), "priority": 3, "app_name": "Stasis"},
        "creationtime": _NOW,
        "language": "en",
    }


def _recording(name: str, state: str) -> dict[str, object]:
    return {"name": name, "state": state, "format": "wav", "target_uri": "channel:snoop"}


class Gateway:
    """voxrec's websocket and call machine, with all that they need in memory: nothing is stored, nothing is logged."""

    def __init__(self) -> None:
        self._clock = clock = Clock()
        clock.advance(1_700_000_000)
        txaio.config.loop = clock  # type: ignore[attr-defined] # made at run time
        metrics = Metrics("bench")
        self._asterisk = AriClient(_NoHttp(), "voxrec", partial(TimedTransport, clock, metrics.observe_ari_request))
        settings = CallSettings(
            endpoint="trunk",
            ring_timeout=20,
            setup_timeout=5,
            max_call=7200,
            announcement=lambda _profile: None,
            beep="sound:beep",
        )
        self._router = Router(clock, self._asterisk, self, self, settings, _nothing_known, watchers=(metrics,))
        events, commands = Wire(clock), Wire(clock)
        self._open(events, self, "voxrec")
        self._open(commands, CommandConnection(self._asterisk), "voxrec-commands")
        self.asterisk = Asterisk(events, commands)
        self._calls = 0

    def _open(self, wire: Wire, owner: EventStreamListener, app: str) -> None:
        EventStream(
            self._clock,
            wire,  # type: ignore[arg-type] # all of an endpoint that is used
            owner,
            url=_URL,
            user="voxrec",
            password="none is asked for",  # noqa: S106
            app=app,
            request_timeout=5,
            ping_interval=_NEVER,
            ping_timeout=_NEVER,
            queue_limit=1000,
        ).startService()
        self._clock.advance(0)

    def call(self) -> None:
        """One call, from its INVITE until nothing is left of it."""
        self._calls += 1
        caller = f"1700000000.{self._calls}"
        self.asterisk.calls(caller)
        self._settle()
        self._clock.advance(1)
        self.asterisk.hangs_up(caller)
        self._settle()
        if tuple(self._router.calls):
            raise RuntimeError("a call is left")

    def _settle(self) -> None:
        while self.asterisk.answer():
            self._clock.advance(0)

    # what the stream, the router and the recorder need

    confirmed = True

    def find(self, _dialled: str) -> Profile:
        """As a Directory."""
        return _PROFILE

    def append(self, recording: Recording) -> None:
        """As a Ledger, which encodes what it is told."""
        msgspec.json.encode(recording)

    def stream_connected(self, transport: WebsocketTransport) -> None:
        """As a EventStreamListener."""
        self._asterisk.use_transport(transport)

    def event_received(self, event: Event) -> None:
        """As a EventStreamListener."""
        self._router.handle(event)

    def stream_disconnected(self) -> None:
        """As a EventStreamListener."""


class _NoHttp:
    def request(
        self, method: str, path: tuple[str, ...], query: Mapping[str, str], body: object | None = None
    ) -> Deferred[bytes]:
        return fail(AsteriskUnavailable(f"{method} {path} {query} {body}"))


async def _nothing_known(_: Collection[UUID]) -> Mapping[UUID, Recording]:
    return {}


class _Reader(WebSocketClientProtocol):
    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: ARG002, N803 - Autobahn's names
        json.loads(payload)


class Alone:
    """A client of Autobahn's that reads and sends the messages of a call, and does nothing else."""

    def __init__(self, exchanged: Sequence[tuple[bool, bytes]]) -> None:
        clock = Clock()
        factory = WebSocketClientFactory(f"{_URL.replace('http', 'ws')}/events", reactor=clock)
        factory.protocol = _Reader
        self._wire = Wire(clock)
        self._wire.connect(factory)
        clock.advance(0)
        self._exchanged = tuple(exchanged)

    def call(self) -> None:
        """One call's messages."""
        for heard, message in self._exchanged:
            if heard:
                self._wire.say(message)
            else:
                self._wire.protocol.sendMessage(message)
        self._wire.taken()


def milliseconds(call: Callable[[], None], pause: float) -> float:
    """CPU for each of many calls, in milliseconds, with a pause before each."""
    used = 0.0
    for _ in range(CALLS):
        time.sleep(pause)
        began = time.thread_time()
        call()
        used += time.thread_time() - began
    return used * 1e3 / CALLS


def measure(rounds: int) -> Sequence[Section]:
    """Each way with and without pauses, in turn."""
    gateway = Gateway()
    gateway.call()
    exchanged = tuple(gateway.asterisk.exchanged)
    ways = {AUTOBAHN: Alone(exchanged).call, VOXREC: gateway.call}
    cost: dict[tuple[str, float], list[float]] = {(way, pause): [] for way in ways for pause in (0.0, PAUSE)}
    for _, (way, pause) in interleaved(list(cost), rounds):
        cost[way, pause].append(milliseconds(ways[way], pause))
    median = {key: Spread.of(values).median for key, values in cost.items()}
    rows = [
        (
            way,
            *(Spread.of(cost[way, pause]).shown(2) for pause in (0.0, PAUSE)),
            f"{median[way, PAUSE] / median[way, 0.0]:.1f} x",
        )
        for way in ways
    ]
    heard = sum(each for each, _ in exchanged)
    return [
        Section(
            title="What the messages of a call cost",
            intro=(
                f"A recorded call is {len(exchanged) - heard} commands to Asterisk and {heard} messages from it. "
                "Milliseconds of CPU for them in one process, with an Asterisk that is a script in memory (and part of "
                "what voxrec's figure holds): no socket, no database, no log. Autobahn alone reads and sends the same "
                f"messages and does nothing else. With a pause of {PAUSE * 1e3:.0f} ms between two calls a processor "
                "has forgotten most of the program: that is how calls come, and why a call costs less where there are "
                "more of them."
            ),
            tables=(Table(("way", "one after the other", "with pauses", "pauses cost"), tuple(rows)),),
        )
    ]


if __name__ == "__main__":
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False)
    txaio.set_global_log_level("critical")  # type: ignore[attr-defined] # Autobahn puts it there
    number = 1 if "--quick" in sys.argv[1:] else ROUNDS
    publish("calls", measure(number), number)
