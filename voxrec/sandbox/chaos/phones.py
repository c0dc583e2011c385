"""The phones of a run, which write down what happened to each call: the only witnesses of what is owed.

One SIPp calls and one is called; each call has its own caller's number and its own length. The caller sounds at
``CALLER_HZ`` and the far end at ``CALLEE_HZ``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from twisted.internet.interfaces import IReactorTime

from voxrec.sandbox.asterisk import LOOPBACK
from voxrec.sandbox.chaos.schedule import PlannedCall
from voxrec.sandbox.sipp import OTHER_RESPONSES, CallerMessages, Sipp, answer, play, response, send

CALLER_HZ = 440.0
CALLEE_HZ = 880.0
# Below the ports of Asterisk (20000 up) and of the phones (10000 up).
CALLER_RTP = ("-min_rtp_port", "3000", "-max_rtp_port", "5998")
CALLEE_RTP = ("-min_rtp_port", "6000", "-max_rtp_port", "9998")
TICK_SECONDS = 0.25
"""The grain of a call's length."""
FORSAKEN_SECONDS = 30.0
"""After so long without a BYE the called phone gives up: the longest call, and then some."""
CALL_ENDS_SECONDS = 40.0
"""After its planned length a call's signalling is over in so many seconds: RFC 3261's timer B, and then some."""


@dataclass(frozen=True, slots=True)
class Witnessed:
    """One call as its phones saw it; moments are seconds since the epoch, None for what never came.

    ``code``: the final response to the INVITE, 0 where none came. ``ended``: when the caller hung up or, where
    ``by_caller`` is false, when it was hung up on. ``far_ended``: when the called phone was hung up on.
    """

    number: str
    invited: float
    code: int = 0
    settled: float | None = None
    ended: float | None = None
    by_caller: bool = False
    far_ended: float | None = None

    @property
    def answered(self) -> float | None:
        """When the caller was answered."""
        return self.settled if self.code == 200 else None


class Callers:
    """Places the planned calls, ``rate`` a second, to ``target`` at ``to`` (host, port)."""

    def __init__(
        self,
        reactor: IReactorTime,
        directory: Path,
        rootfs: Path | None,
        to: tuple[str, int],
        target: str,
        calls: Sequence[PlannedCall],
        rate: float,
    ) -> None:
        self._sipp = Sipp(reactor, directory, rootfs, "caller", CALLER_HZ)
        self._directory = directory
        self._calls = calls
        self._rate = rate
        self._arguments = [
            *(f"{to[0]}:{to[1]}", "-s", target, "-m", str(len(calls)), "-l", str(len(calls))),
            *("-r", str(round(rate * 1000)), "-rp", "1000000", *CALLER_RTP),
            *("-inf", self._sipp.inside("calls.csv")),
        ]

    @property
    def seconds(self) -> float:
        """How long it takes to place them all and to have them over."""
        longest = max(call.seconds for call in self._calls)
        return len(self._calls) / self._rate + longest + CALL_ENDS_SECONDS

    def start(self) -> None:
        """Start to call."""
        self._directory.mkdir(parents=True, exist_ok=True)
        lines = (f"{call.number};{round(call.seconds / TICK_SECONDS)};" for call in self._calls)
        (self._directory / "calls.csv").write_text("\n".join(["SEQUENTIAL", *lines, ""]))
        self._sipp.start(caller_scenario(self._sipp.inside("tone.ul")), self._arguments)

    async def finish(self) -> None:
        """Wait until every call is over."""
        await self._sipp.ended(self.seconds)

    async def stop(self) -> None:
        """End it, whatever its calls are at."""
        await self._sipp.stop()

    @property
    def log(self) -> str:
        """What it wrote down."""
        return self._sipp.results()


class Desks:
    """The called phones: any number of calls at once, each answered immediately."""

    def __init__(self, reactor: IReactorTime, directory: Path, rootfs: Path | None) -> None:
        self._sipp = Sipp(reactor, directory, rootfs, "answerer", CALLEE_HZ)

    @property
    def uri(self) -> str:
        """The SIP URI to call them under."""
        return f"sip:desk@{LOOPBACK}:{self._sipp.port}"

    async def start(self) -> None:
        """Start and wait until it listens."""
        await self._sipp.listen(desk_scenario(self._sipp.inside("tone.ul")), [*CALLEE_RTP])

    async def stop(self) -> None:
        """End it, whatever its calls are at."""
        await self._sipp.stop()

    @property
    def log(self) -> str:
        """What it wrote down."""
        return self._sipp.results()


def caller_scenario(media_file: str) -> str:
    """Return the scenario of a caller whose number and ticks to talk come from a CSV file."""
    says = CallerMessages.of("[field0]", "", "[rtpstream_audio_port]")
    return f"""\
<?xml version="1.0" encoding="UTF-8"?>
<scenario name="voxrec caller that writes down">
<nop><action>
<assignstr assign_to="ticks" value="[field1]"/><todouble assign_to="left" variable="ticks"/>
</action></nop>
{_write_down("[field0] invited")}
{send(says.invite, 'retrans="500"')}
{OTHER_RESPONSES}
<recv response="200" rrs="true"/>
{_write_down("[field0] answered")}
{send(says.ack)}
{play(media_file)}
<label id="talk"/>
<recv request="BYE" timeout="{round(TICK_SECONDS * 1000)}" ontimeout="tick"/>
{_write_down("[field0] cut")}
{send(response(200, "OK", "[last_To:]"), 'next="done"')}
<label id="tick"/>
<nop><action>
<subtract assign_to="left" value="1"/><test assign_to="enough" variable="left" compare="less_than" value="1"/>
</action></nop>
<nop test="enough" next="hang up"/>
<nop next="talk"/>
<label id="hang up"/>
{_write_down("[field0] hung-up")}
{send(says.bye, 'retrans="500"')}
<recv response="200" next="done"/>
<label id="refused"/>
{send(says.refusal_ack)}
{_write_down("[field0] refused", "[$code]")}
<label id="done"/>
</scenario>
"""


def desk_scenario(media_file: str) -> str:
    """Return the scenario of a called phone that writes down when it is hung up on, with the caller's number."""
    to = "[last_To:];tag=[pid]-[call_number]"
    return f"""\
<?xml version="1.0" encoding="UTF-8"?>
<scenario name="voxrec desk that writes down">
<recv request="INVITE"><action>
<ereg regexp="[+]4990[0-9]+" search_in="hdr" header="From:" assign_to="number"/>
</action></recv>
{send(answer(to, "[rtpstream_audio_port]"), 'retrans="500"')}
<recv request="ACK"/>
{play(media_file)}
<recv request="BYE" timeout="{round(FORSAKEN_SECONDS * 1000)}" ontimeout="done"/>
{_write_down("[$number] far-ended")}
{send(response(200, "OK", "[last_To:]"))}
<label id="done"/>
</scenario>
"""


def _write_down(what: str, detail: str = "") -> str:
    return (
        '<nop><action><gettimeofday assign_to="second,micro"/>'
        f'<log message="{what} [$second] [$micro] {detail}"/></action></nop>'
    )


def witnessed(callers: str, desks: str) -> list[Witnessed]:
    """Read what the phones wrote down, one `Witnessed` for each INVITE."""
    calls: dict[str, dict[str, float]] = {}
    codes: dict[str, int] = {}
    for number, event, at, code in (*_lines(callers), *_lines(desks)):
        # a far end that was told of twice was called twice: the first is the one that counts
        calls.setdefault(number, {}).setdefault(event, at)
        if event == "refused":
            codes[number] = code
    return [
        Witnessed(
            number=number,
            invited=at["invited"],
            code=200 if "answered" in at else codes.get(number, 0),
            settled=at.get("answered", at.get("refused")),
            ended=at.get("cut", at.get("hung-up")),
            by_caller="cut" not in at,
            far_ended=at.get("far-ended"),
        )
        for number, at in calls.items()
        if "invited" in at
    ]


def _lines(log: str) -> Iterator[tuple[str, str, float, int]]:
    for line in log.splitlines():
        number, event, second, micro, *code = line.split()
        yield number, event, float(second) + float(micro) / 1e6, int(code[0]) if code else 0
