"""Child processes that outlive a single test but never the process that started them.

Twisted's process support ties a child to the reactor of the test that started it. The sandbox's programs are shared by
several tests and must end even if this process is killed; therefore they are started with ``Popen``, log to a file, and
receive SIGKILL from the kernel when their parent ends (prctl(2), PR_SET_PDEATHSIG).
"""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from voxrec.sandbox.errors import SandboxError

POLL_SECONDS = 0.02
AUDIO_NICE: Final = -10
"""The nice value of a program with audio: nine times the CPU of one with the value 0, where both want all of it."""


async def wait_until(reactor: IReactorTime, condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until ``condition()`` is true; return False if it is still false after ``seconds``."""
    deadline = reactor.seconds() + seconds
    while not condition():
        if reactor.seconds() >= deadline:
            return False
        await deferLater(reactor, POLL_SECONDS)
    return True


def credential_options(account: int | None) -> list[str]:
    """Return the options of setpriv(1) that change to the user and group with the id ``account``; None: no change."""
    return [] if account is None else [f"--reuid={account}", f"--regid={account}", "--clear-groups"]


def with_parent_death_signal(program: Sequence[str], account: int | None = None) -> list[str]:
    """Return the command that runs ``program`` and lets the kernel kill it when the thread that started it ends.

    See `credential_options` for ``account``.
    """
    return ["setpriv", *credential_options(account), "--pdeathsig", "KILL", "--", *program]


class Process:
    """A child process, started by the constructor; its output is appended to the file ``log``.

    Construct it in the reactor's thread: the parent death signal is sent when the thread that started the child ends.
    ``command`` must keep its process id over every exec, as the commands of voxrec.sandbox.namespaces do, because
    signals are sent to that id. With ``stdin_pipe`` the program reads the lines of `write_line`; otherwise its standard
    input is empty. ``umask`` -1 is that of this process. Raises SandboxError if the program cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        stdin_pipe: bool = False,
        umask: int = -1,
    ) -> None:
        self.name = log.stem
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            try:
                self._popen = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE if stdin_pipe else subprocess.DEVNULL,
                    bufsize=0,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    cwd=directory,
                    umask=umask,
                    # Ctrl-C in the terminal must reach only this process, which then stops its children in order.
                    start_new_session=True,
                )
            except OSError as error:
                raise SandboxError(f"cannot start {command[0]}: {error}") from error

    @property
    def pid(self) -> int:
        """The process id of the program itself."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """None while the process runs; then its exit code, or the negative number of the signal that ended it."""
        return self._popen.poll()

    @property
    def running(self) -> bool:
        """Whether the process still runs."""
        return self.returncode is None

    def log_tail(self, lines: int = 20) -> str:
        """Return the last lines of the output."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def prefer_for_audio(self) -> None:
        """Let the kernel prefer this process to others, if this one is permitted to: its audio must not wait for them.

        Where the kernel divides the CPU between sessions first (sched(7), autogroup), the value is that of the session,
        which each `Process` has for itself. Real-time priority does not do: programs that have it take time slices of
        100 ms from each other, for example while one starts.
        """
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self.pid, AUDIO_NICE)
        with suppress(OSError):
            Path(f"/proc/{self.pid}/autogroup").write_text(str(AUDIO_NICE))

    def write_line(self, line: str) -> None:
        """Write a line to the standard input; does not block for a few kilobytes.

        Raises SandboxError if the process has ended or was started without ``stdin_pipe``.
        """
        if self._popen.stdin is None or self._popen.stdin.closed:
            raise SandboxError(f"{self.name} has no open standard input")
        try:
            self._popen.stdin.write(f"{line}\n".encode())
        except OSError as error:
            raise SandboxError(f"{self.name} has ended; its last output was:\n{self.log_tail()}") from error

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal if the process still runs."""
        if self.running:
            self._popen.send_signal(number)

    def kill(self) -> int:
        """Kill the process (SIGKILL) and return its exit code as in `returncode`."""
        self.send_signal(signal.SIGKILL)
        return self._reap()

    async def wait_until_ended(self, reactor: IReactorTime, seconds: float) -> int:
        """Wait until the process ends by itself and return its exit code.

        Raises SandboxError if it still runs after ``seconds``.
        """
        if await wait_until(reactor, lambda: not self.running, seconds):
            return self._reap()
        raise SandboxError(f"{self.name} did not end within {seconds:g} s; its last output was:\n{self.log_tail()}")

    async def stop(self, reactor: IReactorTime, grace: float = 5.0) -> int:
        """Send SIGTERM, after ``grace`` seconds SIGKILL, and return the exit code as in `returncode`."""
        self.send_signal(signal.SIGTERM)
        if not await wait_until(reactor, lambda: not self.running, grace):
            return self.kill()
        return self._reap()

    def _reap(self) -> int:
        if self._popen.stdin is not None:
            self._popen.stdin.close()
        return self._popen.wait()
