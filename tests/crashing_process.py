"""Processes that kill themselves at a step, as a crash of the daemon does: what starts them, and what they run."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from tests.database import reactor
from voxrec.jobs.worker import Worker
from voxrec.postgres.pool import Pool

CrashPoint = tuple[Any, str, Callable[..., Callable[..., Any]]]
"""A class, the name of a method, and what replaces the method so that the process kills itself there."""
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


def run_worker(crash_point: CrashPoint, dsn: str, make_worker: Callable[[Pool], Worker[Any]]) -> None:
    """Run a worker in this process until it kills itself at the crash point."""
    owner, name, how = crash_point
    setattr(owner, name, how(getattr(owner, name)))
    pool = Pool(reactor, dsn, size=4)
    pool.startService()
    worker = make_worker(pool)
    Deferred.fromCoroutine(pool.when_ready()).addCallback(lambda _: worker.startService())
    reactor.run()
