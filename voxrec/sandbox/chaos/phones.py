"""The phones of a chaos run. Their logs of each call are the only source of the expected results.

One SIPp places the calls and another one answers them; each call has its own caller's number and its own length. The
callers play a tone of ``CALLER_HZ`` and the callees one of ``CALLEE_HZ``.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from twisted.internet.interfaces import IReactorTime

from voxrec.sandbox.asterisk import LOOPBACK
from voxrec.sandbox.chaos.schedule import PlannedCall
from voxrec.sandbox.sipp import Sipp
from voxrec.sandbox.sipp_scenario import (
    OTHER_RESPONSES,
    CallerMessages,
    invite_ok_message,
    play_step,
    response_message,
    send_step,
)

CALLER_HZ = 440.0
CALLEE_HZ = 880.0
# Below the port ranges of Asterisk (from 20000) and of the phones (from 10000).
CALLER_RTP = ("-min_rtp_port", "3000", "-max_rtp_port", "5998")
CALLEE_RTP = ("-min_rtp_port", "6000", "-max_rtp_port", "9998")
TICK_SECONDS = 0.25
"""Resolution of a call's length."""
CALLEE_TIMEOUT_SECONDS = 90.0
"""Time without a BYE after which a callee ends its call; longer than the longest call, and than a restart after it."""
ANSWER_SECONDS = 32.0
"""Time that a caller waits for an answer, even if Asterisk is killed after it has sent 100."""
CALL_END_SECONDS = 40.0
"""Maximum time from a call's planned end to the end of its signalling; longer than RFC 3261's timer B of 32 s."""


@dataclass(frozen=True, slots=True)
class ObservedCall:
    """One call as its phones observed it; times are seconds since the epoch, None for what did not happen.

    ``code``: the final response to the INVITE, 0 if there was none. ``ended``: when the caller hung up or, if
    ``by_caller`` is false, when it received a BYE. ``far_ended``: when the callee received a BYE.
    """

    number: str
    invited: float
    code: int = 0
    settled: float | None = None
    ended: float | None = None
    by_caller: bool = False
    far_ended: float | None = None
    node_port: int = 0
    """The SIP port of the Asterisk that has called the far end; 0: none, or the log does not say it."""
    far_end_calls: int = 0
    """How often the far end was called."""

    @property
    def answered(self) -> float | None:
        """When the caller received a 200."""
        return self.settled if self.code == 200 else None


class CallerPhones:
    """Places the planned calls, ``rate`` per second, to the user ``target`` at the host and port ``to``."""

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
            *("-inf", self._sipp.path_inside("calls.csv")),
        ]

    @property
    def seconds(self) -> float:
        """Maximum time to place all calls and to wait for their end."""
        longest = max(call.seconds for call in self._calls)
        return len(self._calls) / self._rate + longest + CALL_END_SECONDS

    def start(self) -> None:
        """Start to place the calls."""
        self._directory.mkdir(parents=True, exist_ok=True)
        lines = (f"{call.number};{round(call.seconds / TICK_SECONDS)};" for call in self._calls)
        (self._directory / "calls.csv").write_text("\n".join(["SEQUENTIAL", *lines, ""]))
        self._sipp.start(caller_scenario(self._sipp.path_inside("tone.ul")), self._arguments)

    async def finish(self) -> None:
        """Wait until all calls are over. Raises SandboxError if they take longer than `seconds`."""
        await self._sipp.wait_until_ended(self.seconds)

    async def stop(self) -> None:
        """Stop SIPp without waiting for its calls."""
        await self._sipp.stop()

    @property
    def log(self) -> str:
        """The log of all calls, for `parse_call_logs`."""
        return self._sipp.results()


class CalleePhones:
    """Answers any number of concurrent calls immediately."""

    def __init__(self, reactor: IReactorTime, directory: Path, rootfs: Path | None) -> None:
        self._sipp = Sipp(reactor, directory, rootfs, "answerer", CALLEE_HZ)

    @property
    def uri(self) -> str:
        """The SIP URI of the callees."""
        return f"sip:desk@{LOOPBACK}:{self._sipp.port}"

    async def start(self) -> None:
        """Start SIPp and wait until it listens."""
        await self._sipp.start_listening(callee_scenario(self._sipp.path_inside("tone.ul")), [*CALLEE_RTP])

    async def stop(self) -> None:
        """Stop SIPp without waiting for its calls."""
        await self._sipp.stop()

    @property
    def log(self) -> str:
        """The log of all calls, for `parse_call_logs`."""
        return self._sipp.results()


def caller_scenario(media_file: str) -> str:
    """Return the scenario of a caller whose number and length in ticks come from a CSV file, and which logs."""
    messages = CallerMessages.of("[field0]", "", "[rtpstream_audio_port]")
    timeout = f'timeout="{round(ANSWER_SECONDS * 1000)}" ontimeout="done"'
    return f"""\
<?xml version="1.0" encoding="UTF-8"?>
<scenario name="voxrec chaos caller">
<nop><action>
<assignstr assign_to="ticks" value="[field1]"/><todouble assign_to="left" variable="ticks"/>
</action></nop>
{_log_step("[field0] invited")}
{send_step(messages.invite, 'retrans="500"')}
{OTHER_RESPONSES.replace("<recv ", f"<recv {timeout} ")}
<recv response="200" rrs="true" {timeout}/>
{_log_step("[field0] answered")}
{send_step(messages.ack)}
{play_step(media_file)}
<label id="talk"/>
<recv request="BYE" timeout="{round(TICK_SECONDS * 1000)}" ontimeout="tick"/>
{_log_step("[field0] dropped")}
{send_step(response_message(200, "OK", "[last_To:]"), 'next="done"')}
<label id="tick"/>
<nop><action>
<subtract assign_to="left" value="1"/><test assign_to="enough" variable="left" compare="less_than" value="1"/>
</action></nop>
<nop test="enough" next="hang up"/>
<nop next="talk"/>
<label id="hang up"/>
{_log_step("[field0] hung-up")}
{send_step(messages.bye, 'retrans="500"')}
<recv response="200" next="done"/>
<label id="rejected"/>
{send_step(messages.rejection_ack)}
{_log_step("[field0] rejected", "[$code]")}
<label id="done"/>
</scenario>
"""


def callee_scenario(media_file: str) -> str:
    """Return the scenario of a callee that logs the caller's number when it receives a BYE."""
    to = "[last_To:];tag=[pid]-[call_number]"
    return f"""\
<?xml version="1.0" encoding="UTF-8"?>
<scenario name="voxrec chaos callee">
<recv request="INVITE"><action>
<ereg regexp="[+]4990[0-9]+" search_in="hdr" header="From:" assign_to="number"/>
<ereg regexp="SIP/2.0/UDP [^:;]+:([0-9]+)" search_in="hdr" header="Via:" assign_to="via,port"/>
</action></recv>
{_log_step("[$number] called", "[$port]")}
{send_step(invite_ok_message(to, "[rtpstream_audio_port]"), 'retrans="500"')}
<recv request="ACK"/>
{play_step(media_file)}
<recv request="BYE" timeout="{round(CALLEE_TIMEOUT_SECONDS * 1000)}" ontimeout="done"/>
{_log_step("[$number] far-ended")}
{send_step(response_message(200, "OK", "[last_To:]"))}
<label id="done"/>
<Reference variables="via"/>
</scenario>
"""


def _log_step(event: str, detail: str = "") -> str:
    return (
        '<nop><action><gettimeofday assign_to="second,micro"/>'
        f'<log message="{event} [$second] [$micro] {detail}"/></action></nop>'
    )


def parse_call_logs(callers: str, callees: str) -> list[ObservedCall]:
    """Parse the logs of `CallerPhones` and `CalleePhones` into one `ObservedCall` for each INVITE of a caller."""
    calls: dict[str, dict[str, float]] = {}
    codes: dict[str, int] = {}
    ports: dict[str, int] = {}
    far_end_calls: Counter[str] = Counter()
    for number, event, at, code in (*_parse_lines(callers), *_parse_lines(callees)):
        # If the far end was called twice for one call, the first of its BYEs counts.
        calls.setdefault(number, {}).setdefault(event, at)
        if event == "rejected":
            codes[number] = code
        elif event == "called":
            ports[number] = code
            far_end_calls[number] += 1
    return [
        ObservedCall(
            number=number,
            invited=at["invited"],
            code=200 if "answered" in at else codes.get(number, 0),
            settled=at.get("answered", at.get("rejected")),
            ended=at.get("dropped", at.get("hung-up")),
            by_caller="dropped" not in at,
            far_ended=at.get("far-ended"),
            node_port=ports.get(number, 0),
            far_end_calls=far_end_calls[number],
        )
        for number, at in calls.items()
        if "invited" in at
    ]


def _parse_lines(log: str) -> Iterator[tuple[str, str, float, int]]:
    for line in log.splitlines():
        number, event, second, micro, *code = line.split()
        yield number, event, float(second) + float(micro) / 1e6, int(code[0]) if code else 0
