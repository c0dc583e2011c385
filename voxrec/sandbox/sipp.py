"""SIPp as caller and as callee for many concurrent calls with audio, and the result of each call."""

import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from twisted.internet.interfaces import IReactorTime

from voxrec.sandbox.asterisk import LOOPBACK, free_port
from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.namespaces import MountNamespace
from voxrec.sandbox.process import Process, wait_until
from voxrec.sandbox.sipp_scenario import OK, answerer_scenario, caller_scenario

# Below the port ranges of Asterisk (from 20000) and of the phones (from 10000).
CALLER_FIRST_RTP_PORT = 3000
TONE_SECONDS = 2
TONE_HZ = 440
START_SECONDS = 10.0
END_OF_RUN_MESSAGE = "Test Terminated"


@dataclass(frozen=True)
class CallResult:
    """Result of one call: the code of the final response (0 if there was none), and if answered, seconds to the 200."""

    code: int
    seconds: float | None


@dataclass(frozen=True)
class SippResult:
    """Results of all calls of one run; ``placed`` is the number of INVITEs."""

    placed: int
    calls: tuple[CallResult, ...]

    @property
    def succeeded(self) -> int:
        """Number of calls that were answered and ended normally."""
        return self.codes[OK]

    @property
    def failed(self) -> int:
        """Number of all other calls."""
        return self.placed - self.succeeded

    @property
    def codes(self) -> Counter[int]:
        """Number of calls by the code of their final response."""
        return Counter(call.code for call in self.calls)

    @property
    def response_seconds(self) -> list[float]:
        """Seconds from INVITE to 200 of each answered call, in the order in which the calls ended."""
        return [call.seconds for call in self.calls if call.seconds is not None]


class SippCaller:
    """Places ``count`` calls, ``rate`` per second, to the user ``target`` at the host and port ``to``.

    Each call is hung up ``talk_seconds`` after its answer, unless the other end hangs up earlier.
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
        media_file = self._sipp.path_inside("tone.ul") if media else None
        self._scenario = caller_scenario(number, display_name, talk_seconds, media_file)
        self._arguments = [
            *(f"{to[0]}:{to[1]}", "-s", target, "-m", str(count), "-l", str(count)),
            *("-r", str(round(rate * 1000)), "-rp", "1000000"),
            *("-mp", str(CALLER_FIRST_RTP_PORT)),
        ]

    async def start(self) -> None:
        """Start to place the calls."""
        self._sipp.start(self._scenario, self._arguments)

    async def finish(self, seconds: float = 60.0) -> SippResult:
        """Wait until all calls are over and return their results. Raises SandboxError after ``seconds``."""
        await self._sipp.wait_until_ended(seconds)
        return SippResult(self._count, tuple(parse_results(self._sipp.results())))

    async def run(self, seconds: float = 60.0) -> SippResult:
        """Place the calls, wait until all are over, and return their results."""
        await self.start()
        return await self.finish(seconds)

    async def stop(self) -> None:
        """Stop SIPp without waiting for its calls."""
        await self._sipp.stop()


class SippAnswerer:
    """A callee that answers any number of concurrent calls and echoes each caller's audio.

    It rings for ``ring_seconds`` (None: until the caller cancels) and then answers, or rejects the call with ``code``.
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
        """The SIP URI of this callee."""
        return f"sip:desk@{LOOPBACK}:{self.port}"

    async def start(self) -> None:
        """Start SIPp and wait until it listens."""
        await self._sipp.start_listening(self._scenario, ["-rtp_echo", "-mp", str(free_port(socket.SOCK_DGRAM))])

    async def stop(self) -> None:
        """Stop SIPp without waiting for its calls."""
        await self._sipp.stop()


def parse_results(lines: str) -> Iterator[CallResult]:
    """Parse the log of a caller's scenario: ``200 s0 u0 s1 u1`` (seconds, microseconds of INVITE, 200), or a code."""
    for line in lines.splitlines():
        code, *times = line.split()
        if not times:
            yield CallResult(int(code), None)
            continue
        sent, sent_micro, answered, answered_micro = map(float, times)
        yield CallResult(int(code), answered - sent + (answered_micro - sent_micro) / 1e6)


class Sipp:
    """One SIPp process in its own mount namespace, with a tone of ``hz`` in the file ``tone.ul``."""

    def __init__(
        self, reactor: IReactorTime, directory: Path, rootfs: Path | None, name: str, hz: float = TONE_HZ
    ) -> None:
        self.port = free_port(socket.SOCK_DGRAM)
        self._reactor = reactor
        self._directory = directory.absolute()
        self._namespace = MountNamespace(rootfs, self._directory)
        self._name = name
        self._hz = hz
        self._process: Process | None = None

    def path_inside(self, name: str) -> str:
        """Return the path of a file in the instance directory as the scenario must name it."""
        return self._namespace.path_inside(self._directory / name)

    def start(self, scenario: str, arguments: list[str]) -> None:
        """Start SIPp with a scenario and with additional command-line ``arguments``."""
        self._namespace.prepare()
        (self._directory / f"{self._name}.xml").write_text(scenario)
        _write_tone(self._directory / "tone.ul", self._hz)
        program = [
            *("sipp", *arguments, "-sf", self.path_inside(f"{self._name}.xml"), "-nostdin"),
            *("-i", LOOPBACK, "-mi", LOOPBACK, "-p", str(self.port)),
            *("-trace_logs", "-log_file", self.path_inside(f"{self._name}.results")),
            *("-trace_err", "-error_file", self.path_inside(f"{self._name}.errors")),
        ]
        self._process = Process(self._namespace.command(program), self._directory / f"{self._name}.log")

    async def start_listening(self, scenario: str, arguments: list[str]) -> None:
        """Start SIPp with a scenario and wait until it listens. Raises SandboxError if it does not."""
        self.start(scenario, arguments)
        listening = await wait_until(
            self._reactor, lambda: _udp_port_in_use(self.port) or not self._running(), START_SECONDS
        )
        if not listening or not self._running():
            raise SandboxError(f"SIPp does not listen on port {self.port}:\n{self._error_output()}")

    async def wait_until_ended(self, seconds: float) -> None:
        """Wait until all calls are over. Raises SandboxError if SIPp did not run or still runs after ``seconds``."""
        if self._process is None:
            raise SandboxError("SIPp has not been started")
        # 0: all calls succeeded. 1: some failed, or SIPp could not start; only in the former case does it print this.
        code = await self._process.wait_until_ended(self._reactor, seconds)
        if code not in {0, 1} or END_OF_RUN_MESSAGE not in self._process.log_tail():
            raise SandboxError(f"SIPp failed with status {code}:\n{self._error_output()}")

    def results(self) -> str:
        """Return what the scenario has logged so far."""
        path = self._directory / f"{self._name}.results"
        return path.read_text() if path.exists() else ""

    async def stop(self) -> None:
        """Stop SIPp without waiting for its calls."""
        if self._process is not None:
            # On SIGTERM, SIPp would wait for the end of its current calls.
            await self._process.stop(self._reactor, grace=0.2)

    def _running(self) -> bool:
        return self._process is not None and self._process.running

    def _error_output(self) -> str:
        errors = self._directory / f"{self._name}.errors"
        printed = self._process.log_tail() if self._process is not None else ""
        return printed + (errors.read_text(errors="replace") if errors.exists() else "")


def _udp_port_in_use(port: int) -> bool:
    # Not tested by binding the port, which could make SIPp fail to bind it at the same moment.
    sockets = Path("/proc/net/udp").read_text().splitlines()[1:]
    return any(line.split()[1].endswith(f":{port:04X}") for line in sockets)


def _write_tone(path: Path, hz: float) -> None:
    # SIPp streams raw payload: G.711 without a header.
    time = np.arange(TONE_SECONDS * 8000) / 8000
    soundfile.write(path, 0.25 * np.sin(2 * np.pi * hz * time), 8000, format="RAW", subtype="ULAW")
