"""``make run``: the whole stack in the foreground, to call, to ask by REST and to break. Ctrl-C ends all of it."""

import fcntl
import json
import sys
from pathlib import Path
from typing import Any, TextIO

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from voxrec.errors import VoxrecError
from voxrec.sandbox.demo import console, step
from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.rootfs import asterisk_rootfs
from voxrec.sandbox.sipp import SippAnswerer
from voxrec.sandbox.stack import Stack

DIRECTORY = Path("run")
NOTE = DIRECTORY / "run.json"
"""What is running: the line of JSON that ``make run`` prints, for ``make call`` to find."""


class Run:
    """The stack, a phone that answers, and a Profile that leads to it."""

    def __init__(self, reactor: Any, rootfs: Path | None) -> None:
        self._reactor = reactor
        self._stack = Stack(reactor, DIRECTORY.absolute(), rootfs)
        self._desk = SippAnswerer(reactor, DIRECTORY.absolute() / "phones", rootfs)
        self._watch = LoopingCall(self._look)
        self.status = 0

    def start(self) -> None:
        """Begin; what was started is stopped when the reactor stops, whyever it does."""
        self._reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(self._stop()))
        Deferred.fromCoroutine(self._start()).addErrback(self._failed)

    async def _start(self) -> None:
        await self._stack.start(step)
        await self._desk.start()
        profile = await self._stack.ask(
            "PUT",
            "/profiles",
            {
                "name": "a phone that repeats what it hears",
                "email": "records@example.test",
                "remoteSipUri": self._desk.uri,
                "record": True,
                "recordChannels": "dual",
                "recordPrompt": "default",
            },
        )
        self._tell(profile["id"])
        self._watch.start(0.5)

    def _tell(self, profile_id: str) -> None:
        stack = self._stack
        console.rule("voxrec is ready")
        for name, value in (
            ("REST", stack.url),
            ("token", stack.token),
            ("SIP", f"sip:<Profile id or number>@{stack.sip}, from any loopback address"),
            ("mailbox", f"{stack.mailbox_directory}, a file for each mail"),
            ("archive", str(stack.archive_directory)),
            ("log", str(stack.log_file)),
            ("a Profile", f"{profile_id}, leads to a phone that repeats what it hears ({self._desk.uri})"),
        ):
            console.print(f"{name:>10}  {value}", soft_wrap=True, markup=False)
        console.print("\nIn another terminal:", markup=False)
        console.print(f"  make call PROFILE={profile_id}", soft_wrap=True, markup=False)
        console.print(
            f"  curl -H 'Authorization: Bearer {stack.token}' {stack.url}/recordings", soft_wrap=True, markup=False
        )
        console.print("Ctrl-C ends all of it.\n")
        note = json.dumps(
            {
                "url": stack.url,
                "token": stack.token,
                "sip": stack.sip,
                "mailbox": str(stack.mailbox_directory),
                "archive": str(stack.archive_directory),
                "asterisk": stack.asterisk.version,
                "pid": stack.pid,
                "profileId": profile_id,
            }
        )
        NOTE.touch(mode=0o600)
        NOTE.write_text(note)
        print(note, flush=True)

    def _look(self) -> None:
        if not self._stack.running:
            raise SandboxError(f"voxrec has ended by itself:\n{self._stack.voxrec_log()}")
        if not self._stack.asterisk.running:
            raise SandboxError(f"Asterisk has ended by itself:\n{self._stack.asterisk.log_tail()}")

    def _failed(self, failure: Failure) -> None:
        self.status = 1
        if failure.check(VoxrecError):
            console.print(f"failed: {failure.value}", style="red", soft_wrap=True, markup=False)
        else:
            failure.printTraceback()
        self._reactor.stop()

    async def _stop(self) -> None:
        if self._watch.running:
            self._watch.stop()
        step("stopping everything")
        NOTE.unlink(missing_ok=True)
        await self._desk.stop()
        await self._stack.stop()


def _claimed(directory: Path) -> TextIO:
    """Hold the directory for this process: two stacks in one would fight for it."""
    directory.mkdir(exist_ok=True)
    lock = (directory / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SandboxError(f"'make run' runs already in {directory.absolute()}") from None
    return lock


def main() -> None:
    """Run until a signal or until something ends by itself (exit status 1)."""
    from twisted.internet import reactor

    try:
        with _claimed(DIRECTORY):
            run = Run(reactor, asterisk_rootfs(step))
            reactor.callWhenRunning(run.start)
            reactor.run()
    except VoxrecError as error:
        sys.exit(f"failed: {error.detail}")
    sys.exit(run.status)


if __name__ == "__main__":
    main()
