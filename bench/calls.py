"""CPU for the ARI messages of a call in voxrec's process, without Asterisk: websocket and call machine, in memory.

Compared with Autobahn alone handling the same messages, byte by byte: the minimum for any program that uses it.
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

from bench.measure import Spread, interleaved, requested_rounds
from bench.report import Section, Table, publish
from voxrec.ami.client import AmiClient
from voxrec.ami.messages import encode_action
from voxrec.ami.protocol import AmiResponse
from voxrec.ari.client import AriClient
from voxrec.ari.event_stream import EventStream
from voxrec.ari.events import RTP_EVENT, Event
from voxrec.ari.transport import TimedTransport, WebsocketTransport
from voxrec.calls.admission import Admission
from voxrec.calls.call_data import CallSettings
from voxrec.calls.live_calls import LiveCalls
from voxrec.calls.recording.recording_commands import RecordingCommands
from voxrec.calls.stasis.router import Router
from voxrec.errors import AsteriskUnavailable
from voxrec.metrics import Metrics
from voxrec.model import Profile, RecordChannels, Recording, RecordPrompt, Side

CALLS: Final = 300  # in each round
PAUSE: Final = 0.02  # seconds between two calls, in which other programs displace this one from the CPU's caches
AUTOBAHN, VOXREC = "Autobahn alone", "voxrec"
TITLE: Final = "CPU for the messages of a call"
INTRO: Final = (
    "A recorded call consists of {commands} commands to Asterisk and {received} messages from it. The figures are "
    "milliseconds of CPU for them in one process, with a scripted Asterisk in memory (which is included in voxrec's "
    "figure): no socket, no database, no log. Autobahn alone reads and sends the same messages and does nothing else. "
    f"With a pause of {PAUSE * 1e3:.0f} ms between two calls the CPU's caches have lost most of the program; calls "
    "arrive with such pauses, which is why a call costs less at a higher rate."
)
_RTP: Final = {"received": "100", "lost": "0", "jitter": "0.000125"}
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


class MemoryTransport:
    """A connection in memory from the client's point of view; stores what the client writes, one frame per write."""

    disconnecting = False

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.written: list[bytes] = []
        self.protocol: Any = None

    def connect(self, factory: Any) -> Deferred[Any]:
        """Connect, and in the next reactor turn open the websocket as a server does (RFC 6455, section 4.2.2)."""
        self.protocol = factory.buildProtocol(_ADDRESS)
        self.protocol.makeConnection(self)
        head = b"".join(self.take_written())
        (key,) = (line[18:].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())  # noqa: S324
        answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        self._clock.callLater(0, self.protocol.dataReceived, answer + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        return succeed(self.protocol)

    def take_written(self) -> list[bytes]:
        """Return what was written since the last call."""
        written, self.written = self.written, []
        return written

    def take_messages(self) -> list[bytes]:
        """Return the messages that were written since the last call, unmasked (RFC 6455, section 5.3)."""
        return [unmasked(frame) for frame in self.take_written()]

    def send_message(self, message: bytes) -> None:
        """Deliver a message to the client in one piece."""
        size = len(message)
        head = bytes([0x81, size]) if size < 126 else b"\x81\x7e" + size.to_bytes(2, "big")
        self.protocol.dataReceived(head + message)

    def write(self, data: bytes) -> None:
        """Store data; as ITransport."""
        self.written.append(data)

    def getPeer(self) -> IPv4Address:
        """Return a constant address; as ITransport."""
        return _ADDRESS

    getHost = getPeer

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: N802
        """Do nothing; as ITCPTransport."""

    def loseConnection(self) -> None:  # noqa: N802
        """Do nothing; as ITCPTransport."""


def unmasked(frame: bytes) -> bytes:
    """Return the message in a frame of less than 65,536 bytes from a client, at little cost: it is measured, too."""
    start = 2 if frame[1] & 127 < 126 else 4
    mask, masked = frame[start : start + 4], frame[start + 4 :]
    size = len(masked)
    keys = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(masked, "big") ^ int.from_bytes(keys, "big")).to_bytes(size, "big")


class ScriptedAsterisk:
    """Executes commands, and sends the messages of Asterisk 22 for a call that is recorded by a MixMonitor.

    ``exchanged`` are the messages of the last call in order: pairs of True for a message to the client, or False for
    one from it, and the message.
    """

    version = 22  # of AMI; as an ActionSender

    def __init__(self, events: MemoryTransport) -> None:
        self._events = events
        self._leg = ""
        self.exchanged: list[tuple[bool, bytes]] = []

    def start_call(self, caller: str) -> None:
        """Send the events of an inbound call."""
        self.exchanged.clear()
        self._send_event("StasisStart", channel=_channel(caller, "Ring"), args=["incoming"])

    def hang_up(self, caller: str) -> None:
        """Send the events of the caller's hangup."""
        self._destroy_channel(caller)

    def execute_commands(self) -> bool:
        """Execute the commands since the last call; return whether there were any."""
        commands = self._events.take_messages()
        for message in commands:
            self.exchanged.append((False, message))
            request = json.loads(message)
            response = {"type": "RESTResponse", "request_id": request["request_id"], "status_code": 204}
            response |= {"reason_phrase": "No Content", "uri": request["uri"], "message_body": ""}
            self._send(response)
            self._do(request)
        return bool(commands)

    def _do(self, request: dict[str, Any]) -> None:
        query = {each["name"]: each["value"] for each in request.get("query_strings", ())}
        match [request["method"], *request["uri"].split("/")]:
            case ["POST", "channels", "create"]:
                self._leg = query["channelId"]
                self._send_event("StasisStart", channel=_channel(self._leg, "Down"), args=["leg"])
            case ["POST", "channels", channel, "dial"]:
                self._send_event("Dial", peer=_channel(channel, "Down"), dialstatus="")
                self._send_event("Dial", peer=_channel(channel, "Up"), dialstatus="ANSWER")
                self._send_event("ChannelStateChange", channel=_channel(channel, "Up"))
            case ["POST", "channels", channel, "answer"]:
                self._send_event("ChannelStateChange", channel=_channel(channel, "Up"))
            case ["DELETE", "channels", leg] if leg == self._leg:
                self._destroy_channel(leg)

    def _destroy_channel(self, channel: str) -> None:
        self._send_event("StasisEnd", channel=_channel(channel, "Up"))
        self._send_event("ChannelUserevent", channel=_channel(channel, "Up"), eventname=RTP_EVENT, userevent=_RTP)
        self._send_event("ChannelDestroyed", channel=_channel(channel, "Up"), cause=16, cause_txt="Normal Clearing")

    def _send_event(self, type_: str, **fields: object) -> None:
        self._send({"type": type_, "timestamp": _NOW, "application": "voxrec", **fields})

    def _send(self, message: dict[str, object]) -> None:
        text = json.dumps(message).encode()
        self.exchanged.append((True, text))
        self._events.send_message(text)

    def action(self, action: str, fields: Mapping[str, str]) -> Deferred[AmiResponse]:
        """Encode an action and respond to it; as an ActionSender."""
        encode_action(action, "1", fields)
        return succeed(AmiResponse({"MixMonitorID": "0x7f0000000001"}))


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


class Gateway:
    """voxrec's websocket and call machine with their collaborators in memory: nothing is stored or logged."""

    def __init__(self) -> None:
        self._clock = clock = Clock()
        clock.advance(1_700_000_000)
        txaio.config.loop = clock  # type: ignore[attr-defined] # created at run time
        metrics = Metrics("bench")
        self._asterisk = AriClient(
            _NoHttp(), "voxrec", partial(TimedTransport, clock, metrics.requests.observe_ari_request)
        )
        settings = CallSettings(
            endpoint="trunk",
            ring_timeout=20,
            setup_timeout=5,
            max_call=7200,
            announcement=lambda _profile: None,
            beep="sound:beep",
        )
        events = MemoryTransport(clock)
        self.asterisk = ScriptedAsterisk(events)
        commands = RecordingCommands(self._asterisk, AmiClient(self.asterisk), self)
        self._live_calls = LiveCalls(clock, self._asterisk, commands, self, settings, listeners=(metrics.calls,))
        self._router = Router(self._asterisk, self._live_calls, Admission(self, self._live_calls))
        self._open(events)
        self._calls = 0

    def _open(self, transport: MemoryTransport) -> None:
        EventStream(
            self._clock,
            transport,  # type: ignore[arg-type] # has the part of IStreamClientEndpoint that is used
            self,
            url=_URL,
            user="voxrec",
            password="not verified",  # noqa: S106
            app="voxrec",
            request_timeout=5,
            ping_interval=_NEVER,
            ping_timeout=_NEVER,
            queue_limit=1000,
        ).startService()
        self._clock.advance(0)

    def call(self) -> None:
        """Run one call from its INVITE to the end of all its state."""
        self._calls += 1
        caller = f"1700000000.{self._calls}"
        self.asterisk.start_call(caller)
        self._settle()
        self._clock.advance(1)
        self.asterisk.hang_up(caller)
        self._settle()
        if len(self._live_calls):
            raise RuntimeError("the call has not ended")

    def _settle(self) -> None:
        while self.asterisk.execute_commands():
            self._clock.advance(0)

    # The interfaces that the event stream, the router and the recorder expect.

    confirmed = True

    def find(self, _dialled: str) -> Profile:
        """Return a constant Profile; as a Directory."""
        return _PROFILE

    async def created(self, _recording_id: UUID) -> frozenset[Side]:
        """Find both files; as LegFiles."""
        return frozenset(Side)

    async def written(self, _recording_id: UUID) -> frozenset[Side]:
        """Find that Asterisk writes both; as LegFiles."""
        return frozenset(Side)

    async def closed(self, _recording_id: UUID, _expected: Collection[Side]) -> bool:
        """Find that they are closed; as LegFiles."""
        return True

    async def duration(self, _recording_id: UUID) -> float:
        """Find empty files; as LegFiles."""
        return 0.0

    async def silent(self, _recording_id: UUID) -> Mapping[Side, bool]:
        """Find audio in both files; as LegFiles."""
        return dict.fromkeys(Side, False)

    def append(self, recording: Recording) -> None:
        """Encode the Recording; as a RecordingSink."""
        msgspec.json.encode(recording)

    def stream_connected(self, transport: WebsocketTransport) -> None:
        """Follow the connection; as an EventStreamListener."""
        self._asterisk.use_transport(transport)

    def event_received(self, event: Event) -> None:
        """Follow the connection; as an EventStreamListener."""
        self._router.handle(event)

    def stream_disconnected(self) -> None:
        """Follow the connection; as an EventStreamListener."""


class _NoHttp:
    def request(
        self, method: str, path: tuple[str, ...], query: Mapping[str, str], body: object | None = None
    ) -> Deferred[bytes]:
        return fail(AsteriskUnavailable(f"{method} {path} {query} {body}"))


class _JsonReader(WebSocketClientProtocol):
    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: ARG002, N803 - Autobahn's names
        json.loads(payload)


class AutobahnClient:
    """A client that uses Autobahn alone to read and send the messages of a call, and does nothing else."""

    def __init__(self, exchanged: Sequence[tuple[bool, bytes]]) -> None:
        clock = Clock()
        factory = WebSocketClientFactory(f"{_URL.replace('http', 'ws')}/events", reactor=clock)
        factory.protocol = _JsonReader
        self._transport = MemoryTransport(clock)
        self._transport.connect(factory)
        clock.advance(0)
        self._exchanged = tuple(exchanged)

    def call(self) -> None:
        """Exchange the messages of one call."""
        for received, message in self._exchanged:
            if received:
                self._transport.send_message(message)
            else:
                self._transport.protocol.sendMessage(message)
        self._transport.take_written()


def milliseconds(call: Callable[[], None], pause: float) -> float:
    """Return the milliseconds of CPU per call, with a pause in seconds before each."""
    used = 0.0
    for _ in range(CALLS):
        time.sleep(pause)
        began = time.thread_time()
        call()
        used += time.thread_time() - began
    return used * 1e3 / CALLS


def measure(rounds: int) -> Sequence[Section]:
    """Measure each variant with and without pauses, in alternation."""
    gateway = Gateway()
    gateway.call()
    exchanged = tuple(gateway.asterisk.exchanged)
    variants = {AUTOBAHN: AutobahnClient(exchanged).call, VOXREC: gateway.call}
    cost: dict[tuple[str, float], list[float]] = {(name, pause): [] for name in variants for pause in (0.0, PAUSE)}
    for _, (name, pause) in interleaved(list(cost), rounds):
        cost[name, pause].append(milliseconds(variants[name], pause))
    median = {key: Spread.of(values).median for key, values in cost.items()}
    rows = [
        (
            name,
            *(Spread.of(cost[name, pause]).text(2) for pause in (0.0, PAUSE)),
            f"{median[name, PAUSE] / median[name, 0.0]:.1f} x",
        )
        for name in variants
    ]
    received = sum(each for each, _ in exchanged)
    return [
        Section(
            title=TITLE,
            intro=INTRO.format(commands=len(exchanged) - received, received=received),
            tables=(Table(("variant", "without pauses, ms", "with pauses, ms", "ratio"), tuple(rows)),),
        )
    ]


if __name__ == "__main__":
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False)
    txaio.set_global_log_level("critical")  # type: ignore[attr-defined] # set by Autobahn
    number = requested_rounds(sys.argv[1:])
    publish("calls", measure(number), number)
