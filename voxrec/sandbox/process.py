"""Programs beside the reactor: started, watched and stopped without a signal handler of its own.

Twisted's own process support ties a child to the reactor of the test that started it. A sandbox's programs outlive
single tests, and must die even when this process is killed: so ``Popen``, a log file, and the kernel's word.
"""

import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from voxrec.sandbox.errors import SandboxError

POLL_SECONDS = 0.02


async def wait_until(reactor: IReactorTime, condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until ``condition()`` holds; False when it did not within ``seconds``."""
    deadline = reactor.seconds() + seconds
    while not condition():
        if reactor.seconds() >= deadline:
            return False
        await deferLater(reactor, POLL_SECONDS)
    return True


def dying_with_parent(program: Sequence[str]) -> list[str]:
    """Put ``program`` behind the kernel's promise to kill it when the thread that started it ends."""
    return ["setpriv", "--pdeathsig", "KILL", "--", *program]


class Process:
    """One program, running from the moment of construction; what it prints goes to ``log``.

    Construct it in the reactor's thread: the kernel ties the child's life to the thread that started it.
    ``command`` must keep its process id over every exec (as voxrec.sandbox.namespaces does): signals go to that id.
    One that ``listens`` is told things with ``tell``; the others have nothing on their standard input.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        listens: bool = False,
    ) -> None:
        self.name = log.stem
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            try:
                self._popen = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE if listens else subprocess.DEVNULL,
                    bufsize=0,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    cwd=directory,
                    # A Ctrl-C in the terminal is for us; we then end our programs in order.
                    start_new_session=True,
                )
            except OSError as error:
                raise SandboxError(f"cannot start {command[0]}: {error}") from error

    @property
    def pid(self) -> int:
        """The id of the program itself: signals sent to it reach the program."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; then its exit code, or minus the signal that ended it."""
        return self._popen.poll()

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self.returncode is None

    def log_tail(self, lines: int = 20) -> str:
        """Return the end of what it printed."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def tell(self, line: str) -> None:
        """Write a line to its standard input; SandboxError when it has ended. A few kilobytes never block."""
        if self._popen.stdin is None or self._popen.stdin.closed:
            raise SandboxError(f"{self.name} does not listen")
        try:
            self._popen.stdin.write(f"{line}\n".encode())
        except OSError as error:
            raise SandboxError(f"{self.name} has ended; it last printed:\n{self.log_tail()}") from error

    def send(self, number: signal.Signals) -> None:
        """Send a signal; one that has ended already does not mind."""
        if self.running:
            self._popen.send_signal(number)

    def kill(self) -> int:
        """End it now, with no chance to clean up, and return how it ended."""
        self.send(signal.SIGKILL)
        return self._reap()

    async def ended(self, reactor: IReactorTime, seconds: float) -> int:
        """Wait for its own end and return its exit code; SandboxError when that takes longer than ``seconds``."""
        if await wait_until(reactor, lambda: not self.running, seconds):
            return self._reap()
        raise SandboxError(f"{self.name} did not end within {seconds:g} s; it last printed:\n{self.log_tail()}")

    async def stop(self, reactor: IReactorTime, grace: float = 5.0) -> int:
        """Ask it to end (SIGTERM), insist (SIGKILL) after ``grace`` seconds, and return how it ended."""
        self.send(signal.SIGTERM)
        if not await wait_until(reactor, lambda: not self.running, grace):
            return self.kill()
        return self._reap()

    def _reap(self) -> int:
        if self._popen.stdin is not None:
            self._popen.stdin.close()
        return self._popen.wait()
