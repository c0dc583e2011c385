"""Processes that kill themselves at a step, as a crash of the daemon does."""

import os
import signal
import sys
from pathlib import Path
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from tests.database import reactor

_TIMEOUT: Final = 60.0  # seconds


class _CrashingProcess(ProcessProtocol):
    """Waits for the end of a process and keeps its output."""

    def __init__(self) -> None:
        self.ended: Deferred[int | None] = Deferred()
        self.output = b""

    def outReceived(self, data: bytes) -> None:
        self.output += data

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        self.ended.callback(reason.value.signal if isinstance(reason.value, ProcessTerminated) else None)


async def run_until_crash(module: str, *arguments: str) -> None:
    """Run a module of the tests in a process. Raises AssertionError unless the process kills itself."""
    process = _CrashingProcess()
    command = [sys.executable, "-m", module, *arguments]
    variables = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    reactor.spawnProcess(process, sys.executable, command, variables)  # type: ignore[attr-defined]
    status = await process.ended.addTimeout(_TIMEOUT, reactor)
    assert status == signal.SIGKILL, process.output.decode()
