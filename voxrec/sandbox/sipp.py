"""Calls by the hundred: SIPp as caller and as called party, with sound on both sides, and what became of each call."""

import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import soundfile
from twisted.internet.interfaces import IReactorTime

from voxrec.sandbox.asterisk import LOOPBACK, free_port
from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.namespaces import Cell
from voxrec.sandbox.process import Process, wait_until

OK = 200
# SIPp knows no "any response" but only those that a scenario lists: the finals of RFC 3261, section 21, and 422 to 494
# of its extensions. One that is missing here would still count as a failed call, without its code.
FINAL_CODES = (
    300, 301, 302, 305, 380,
    400, 401, 402, 403, 404, 405, 406, 407, 408, 410, 413, 414, 415, 416, 420, 421, 422, 423, 433,
    480, 481, 482, 483, 484, 485, 486, 487, 488, 489, 491, 493, 494,
    500, 501, 502, 503, 504, 505, 513, 580, 600, 603, 604, 606,
)  # fmt: skip
OTHER_RESPONSES = "\n".join(
    [
        *(f'<recv response="{code}" optional="true"/>' for code in (100, 180, 181, 183)),
        *(
            f'<recv response="{code}" optional="true" next="refused"><action><assignstr assign_to="code" '
            f'value="{code}"/></action></recv>'
            for code in FINAL_CODES
        ),
    ]
)
"""What may be received before a 200: a refusal puts its code into ``code`` and goes on at the label ``refused``."""
# Below the ports of Asterisk (20000 up) and of the phones (10000 up).
CALLER_FIRST_RTP_PORT = 3000
TONE_SECONDS = 2
TONE_HZ = 440
START_SECONDS = 10.0
CLOSING_WORDS = "Test Terminated"


@dataclass(frozen=True)
class CallResult:
    """What became of one call: the final code (0: none came) and, where it was answered, INVITE to 200 in seconds."""

    code: int
    seconds: float | None


@dataclass(frozen=True)
class SippResult:
    """What became of all calls of one run. ``placed`` counts every INVITE that was sent."""

    placed: int
    calls: tuple[CallResult, ...]

    @property
    def succeeded(self) -> int:
        """How many were answered, and ended in order."""
        return self.codes[OK]

    @property
    def failed(self) -> int:
        """How many were not."""
        return self.placed - self.succeeded

    @property
    def codes(self) -> Counter[int]:
        """How often each final code came."""
        return Counter(call.code for call in self.calls)

    @property
    def response_seconds(self) -> list[float]:
        """From INVITE to 200, for each answered call, in the order in which they ended."""
        return [call.seconds for call in self.calls if call.seconds is not None]


class SippCaller:
    """A caller that places ``count`` calls, ``rate`` of them a second, to ``target`` at ``to`` (host, port).

    Each hangs up ``talk_seconds`` after its answer, or when the other end does.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        directory: Path,
        rootfs: Path | None,
        to: tuple[str, int],
        target: str,
        *,
        count: int = 1,
        rate: float = 1.0,
        talk_seconds: float = 5.0,
        number: str = "+15550100",
        display_name: str = "",
        media: bool = True,
    ) -> None:
        self._sipp = Sipp(reactor, directory, rootfs, "caller")
        self._count = count
        media_file = self._sipp.inside("tone.ul") if media else None
        self._scenario = caller_scenario(number, display_name, talk_seconds, media_file)
        self._arguments = [
            *(f"{to[0]}:{to[1]}", "-s", target, "-m", str(count), "-l", str(count)),
            *("-r", str(round(rate * 1000)), "-rp", "1000000"),
            *("-mp", str(CALLER_FIRST_RTP_PORT)),
        ]

    async def start(self) -> None:
        """Start to call."""
        self._sipp.start(self._scenario, self._arguments)

    async def finish(self, seconds: float = 60.0) -> SippResult:
        """Wait until every call is over and return what became of them."""
        await self._sipp.ended(seconds)
        return SippResult(self._count, tuple(parse_results(self._sipp.results())))

    async def run(self, seconds: float = 60.0) -> SippResult:
        """Place the calls and return what became of them."""
        await self.start()
        return await self.finish(seconds)

    async def stop(self) -> None:
        """End it, whatever its calls are at."""
        await self._sipp.stop()


class SippAnswerer:
    """A called party that answers any number of calls at once, and sends each caller's sound back.

    It rings for ``ring_seconds`` (None: until the caller gives up) and then answers, or refuses with ``code``.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        directory: Path,
        rootfs: Path | None,
        *,
        ring_seconds: float | None = 0.0,
        code: int = OK,
    ) -> None:
        self._sipp = Sipp(reactor, directory, rootfs, "answerer")
        self._scenario = answerer_scenario(ring_seconds, code)

    @property
    def port(self) -> int:
        """The loopback UDP port that it listens on."""
        return self._sipp.port

    @property
    def uri(self) -> str:
        """The SIP URI to call it under."""
        return f"sip:desk@{LOOPBACK}:{self.port}"

    async def start(self) -> None:
        """Start it and wait until it listens."""
        await self._sipp.listen(self._scenario, ["-rtp_echo", "-mp", str(free_port(socket.SOCK_DGRAM))])

    async def stop(self) -> None:
        """End it, whatever its calls are at."""
        await self._sipp.stop()


@dataclass(frozen=True)
class CallerMessages:
    """What a caller sends."""

    invite: str
    ack: str
    bye: str
    refusal_ack: str

    @classmethod
    def of(cls, number: str, display_name: str, audio_port: str) -> "CallerMessages":
        """The messages of the caller ``number``, who takes audio at ``audio_port``; both may be SIPp's keywords."""
        sender = f'"{display_name}" <sip:{number}@[local_ip]:[local_port]>;tag=[pid]-[call_number]'
        invite = f"""\
INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: {sender}
To: <sip:[service]@[remote_ip]:[remote_port]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:{number}@[local_ip]:[local_port]>
Allow: INVITE, ACK, CANCEL, BYE
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: [len]

{session(audio_port)}"""
        within_dialog = f"""\
%s [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
[routes]
From: {sender}
To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: %s
Max-Forwards: 70
Content-Length: 0
"""
        # The ACK of a refusal belongs to the INVITE's own transaction (RFC 3261, section 17.1.1.3): same branch.
        refusal_ack = f"""\
ACK sip:[service]@[remote_ip]:[remote_port] SIP/2.0
[last_Via:]
From: {sender}
[last_To:]
Call-ID: [call_id]
CSeq: 1 ACK
Max-Forwards: 70
Content-Length: 0
"""
        return cls(invite, within_dialog % ("ACK", "1 ACK"), within_dialog % ("BYE", "2 BYE"), refusal_ack)


def caller_scenario(number: str, display_name: str, talk_seconds: float, media_file: str | None) -> str:
    """Return the SIPp scenario of a caller; it logs one line for each call (see ``parse_results``)."""
    says = CallerMessages.of(number, display_name, "[rtpstream_audio_port]" if media_file else "[media_port]")
    sound = play(media_file) if media_file else ""
    return f"""\
<?xml version="1.0" encoding="UTF-8"?>
<scenario name="voxrec caller">
<nop><action><gettimeofday assign_to="s0,u0"/></action></nop>
{send(says.invite, 'retrans="500"')}
{OTHER_RESPONSES}
<recv response="200" rrs="true"><action><gettimeofday assign_to="s1,u1"/></action></recv>
{send(says.ack)}
{sound}
<recv request="BYE" timeout="{round(talk_seconds * 1000)}" ontimeout="hangup"/>
{send(response(200, "OK", "[last_To:]"), 'next="answered"')}
<label id="hangup"/>
{send(says.bye, 'retrans="500"')}
<recv response="200"/>
<label id="answered"/>
<nop next="done"><action><log message="200 [$s0] [$u0] [$s1] [$u1]"/></action></nop>
<label id="refused"/>
{send(says.refusal_ack)}
<nop><action><log message="[$code]"/></action></nop>
<label id="done"/>
</scenario>
"""


def answerer_scenario(ring_seconds: float | None, code: int) -> str:
    """Return the SIPp scenario of a called party."""
    to = "[last_To:];tag=[pid]-[call_number]"
    # To a CANCEL the INVITE is answered too (RFC 3261, section 9.2), and that needs its own CSeq.
    cancelled = response(487, "Request Terminated", to).replace("[last_CSeq:]", "CSeq:[$cseq]")
    patience = "" if ring_seconds is None else f'timeout="{round(ring_seconds * 1000)}" ontimeout="decide"'
    ring = f"""\
{send(response(180, "Ringing", to))}
<recv request="CANCEL" {patience}/>
{send(response(200, "OK", to))}
{send(cancelled, 'retrans="500"')}
<recv request="ACK" next="done"/>
"""
    return f"""\
<?xml version="1.0" encoding="UTF-8"?>
<scenario name="voxrec answerer">
<recv request="INVITE"><action>
<ereg regexp=".*" search_in="hdr" header="CSeq:" assign_to="cseq"/>
</action></recv>
<Reference variables="cseq"/>
{"" if ring_seconds == 0 else ring}
<label id="decide"/>
{send(answer(to) if code == OK else response(code, "Refused", to), 'retrans="500"')}
<recv request="ACK"{' next="done"' if code != OK else ""}/>
<recv request="BYE"/>
{send(response(200, "OK", "[last_To:]"))}
<label id="done"/>
</scenario>
"""


def parse_results(lines: str) -> Iterator[CallResult]:
    """Read what a caller's scenario logged: ``200 s0 u0 s1 u1`` (seconds, microseconds: INVITE, 200), or a code."""
    for line in lines.splitlines():
        code, *times = line.split()
        if not times:
            yield CallResult(int(code), None)
            continue
        sent, sent_micro, answered, answered_micro = map(float, times)
        yield CallResult(int(code), answered - sent + (answered_micro - sent_micro) / 1e6)


def play(media_file: str) -> str:
    """Return the step that sends a file of bare G.711 over and over, until the call ends."""
    return f'<nop><action><exec rtp_stream="{escape(media_file)},-1,0,PCMU/8000"/></action></nop>'


def send(message: str, attributes: str = "") -> str:
    """Return the step that sends a message."""
    return f"<send {attributes}><![CDATA[\n\n{message}\n]]></send>"


def response(code: int, reason: str, to: str) -> str:
    """Return the response to what was received last; ``to`` is its header, with a tag where it makes a dialog."""
    return f"""\
SIP/2.0 {code} {reason}
[last_Via:]
[last_From:]
{to}
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:desk@[local_ip]:[local_port]>
Content-Length: 0
"""


def answer(to: str, audio_port: str = "[media_port]") -> str:
    """Return the 200 to an INVITE, which takes audio at ``audio_port``."""
    head = response(200, "OK", to).replace("Content-Length: 0", "[last_Record-Route:]\nContent-Type: application/sdp")
    return f"{head}Content-Length: [len]\n\n{session(audio_port)}"


def session(port: str) -> str:
    """Return the SDP of one G.711 stream."""
    return f"""\
v=0
o=voxrec 1 1 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio {port} RTP/AVP 0
a=rtpmap:0 PCMU/8000
a=ptime:20"""


class Sipp:
    """The program in its cell, with a tone (``hz``) to play in ``tone.ul``. What its scenario logs is in `results`."""

    def __init__(
        self, reactor: IReactorTime, directory: Path, rootfs: Path | None, name: str, hz: float = TONE_HZ
    ) -> None:
        self.port = free_port(socket.SOCK_DGRAM)
        self._reactor = reactor
        self._directory = directory.absolute()
        self._cell = Cell(rootfs, self._directory)
        self._name = name
        self._hz = hz
        self._process: Process | None = None

    def inside(self, name: str) -> str:
        """Return how a scenario names a file of its directory."""
        return self._cell.inside(self._directory / name)

    def start(self, scenario: str, arguments: list[str]) -> None:
        """Start it with a scenario; ``arguments`` come before its own."""
        self._cell.prepare()
        (self._directory / f"{self._name}.xml").write_text(scenario)
        _write_tone(self._directory / "tone.ul", self._hz)
        program = [
            *("sipp", *arguments, "-sf", self.inside(f"{self._name}.xml"), "-nostdin"),
            *("-i", LOOPBACK, "-mi", LOOPBACK, "-p", str(self.port)),
            *("-trace_logs", "-log_file", self.inside(f"{self._name}.results")),
            *("-trace_err", "-error_file", self.inside(f"{self._name}.errors")),
        ]
        self._process = Process(self._cell.command(program), self._directory / f"{self._name}.log")

    async def listen(self, scenario: str, arguments: list[str]) -> None:
        """Start it with a scenario and wait until it listens."""
        self.start(scenario, arguments)
        listening = await wait_until(self._reactor, lambda: _taken(self.port) or not self._running(), START_SECONDS)
        if not listening or not self._running():
            raise SandboxError(f"SIPp does not listen:\n{self._complaints()}")

    async def ended(self, seconds: float) -> None:
        """Wait until its calls are over; SandboxError where it did not even begin, or takes longer."""
        if self._process is None:
            raise SandboxError("this SIPp was never started")
        # 0: all calls went well; 1: some did not, which is a result, or SIPp did not even begin, which its closing
        # words tell apart.
        code = await self._process.ended(self._reactor, seconds)
        if code not in {0, 1} or CLOSING_WORDS not in self._process.log_tail():
            raise SandboxError(f"SIPp failed:\n{self._complaints()}")

    def results(self) -> str:
        """Return what its scenario logged so far."""
        path = self._directory / f"{self._name}.results"
        return path.read_text() if path.exists() else ""

    async def stop(self) -> None:
        """End it, whatever its calls are at."""
        if self._process is not None:
            # SIPp takes SIGTERM for "place no more calls and wait for the rest".
            await self._process.stop(self._reactor, grace=0.2)

    def _running(self) -> bool:
        return self._process is not None and self._process.running

    def _complaints(self) -> str:
        errors = self._directory / f"{self._name}.errors"
        printed = self._process.log_tail() if self._process is not None else ""
        return printed + (errors.read_text(errors="replace") if errors.exists() else "")


def _taken(port: int) -> bool:
    # read and not tried: a probe that binds the port would stand in SIPp's way at that very moment
    sockets = Path("/proc/net/udp").read_text().splitlines()[1:]
    return any(line.split()[1].endswith(f":{port:04X}") for line in sockets)


def _write_tone(path: Path, hz: float) -> None:
    # What SIPp streams is the bare payload: G.711 without a header.
    time = np.arange(TONE_SECONDS * 8000) / 8000
    soundfile.write(path, 0.25 * np.sin(2 * np.pi * hz * time), 8000, format="RAW", subtype="ULAW")
