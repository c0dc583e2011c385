"""``make run``: run the complete stack in the foreground for manual calls and REST requests; Ctrl-C stops it."""

import fcntl
import json
import secrets
import sys
from pathlib import Path
from typing import Any, TextIO

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from voxrec.errors import VoxrecError
from voxrec.sandbox.console import console, print_error, print_step
from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.rootfs import asterisk_rootfs
from voxrec.sandbox.sipp import SippAnswerer
from voxrec.sandbox.stack import Stack

DIRECTORY = Path("run")
STATE_FILE = DIRECTORY / "run.json"
"""Addresses and ids of the running stack, as the line of JSON that ``make run`` prints; ``make call`` reads it."""
_CHECK_SECONDS = 0.5


class ForegroundStack:
    """The stack, a phone that answers, and a Profile with that phone as its far end."""

    def __init__(self, reactor: Any, rootfs: Path | None) -> None:
        self._reactor = reactor
        self._stack = Stack(reactor, DIRECTORY.absolute(), rootfs)
        self._callee = SippAnswerer(reactor, DIRECTORY.absolute() / "phones", rootfs)
        self._process_check = LoopingCall(self._check_processes)
        self.exit_status = 0

    def start(self) -> None:
        """Start everything; the reactor's shutdown stops it again."""
        self._reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(self._stop()))
        Deferred.fromCoroutine(self._start()).addErrback(self._fail)

    async def _start(self) -> None:
        await self._stack.start(print_step)
        await self._callee.start()
        profile = await self._stack.request_json(
            "PUT",
            "/profiles",
            {
                "name": "echo phone",
                "email": "records@example.test",
                "remoteSipUri": self._callee.uri,
                "record": True,
                "recordChannels": "dual",
                "recordPrompt": "default",
            },
        )
        self._print_instructions(profile["id"], await self._set_password("anna"))
        self._publish_state(profile["id"])
        self._process_check.start(_CHECK_SECONDS).addErrback(self._fail)

    async def _set_password(self, name: str) -> str:
        """Create an administrator of the console, unless a previous run has, and return a new password."""
        password = secrets.token_urlsafe(12)
        existing = await self._stack.request_json("GET", f"/users?name={name}")
        if existing:
            await self._stack.request_json("POST", f"/users/{existing[0]['id']}", {"password": password})
        else:
            await self._stack.request_json("PUT", "/users", {"name": name, "role": "admin", "password": password})
        return f"sign in as {name} with the password {password}"

    def _print_instructions(self, profile_id: str, credentials: str) -> None:
        stack = self._stack
        console.rule("voxrec is ready")
        for name, value in (
            ("console", f"{stack.url}/console, {credentials}"),
            ("REST", stack.url),
            ("token", stack.token),
            ("SIP", f"sip:<Profile id or number>@{stack.sip_host_port}, from 127.0.0.1"),
            ("mailbox", f"{stack.mailbox_directory}, one file per mail"),
            ("archive", str(stack.archive_directory)),
            ("log", str(stack.log_file)),
            ("Profile", f"{profile_id}; its far end is a phone that echoes its caller ({self._callee.uri})"),
        ):
            console.print(f"{name:>10}  {value}", soft_wrap=True, markup=False)
        console.print("\nIn another terminal:", markup=False)
        console.print(f"  make call PROFILE={profile_id}", soft_wrap=True, markup=False)
        console.print(
            f"  curl -H 'Authorization: Bearer {stack.token}' {stack.url}/recordings", soft_wrap=True, markup=False
        )
        console.print("Press Ctrl-C to stop.\n")

    def _publish_state(self, profile_id: str) -> None:
        stack = self._stack
        state = json.dumps(
            {
                "url": stack.url,
                "token": stack.token,
                "sip": stack.sip_host_port,
                "mailbox": str(stack.mailbox_directory),
                "archive": str(stack.archive_directory),
                "asterisk": stack.asterisk.version,
                "pid": stack.pid,
                "profileId": profile_id,
            }
        )
        STATE_FILE.touch(mode=0o600)
        STATE_FILE.write_text(state)
        print(state, flush=True)

    def _check_processes(self) -> None:
        if not self._stack.running:
            raise SandboxError(f"voxrec has ended unexpectedly:\n{self._stack.voxrec_log_tail()}")
        if not self._stack.asterisk.running:
            raise SandboxError(f"Asterisk has ended unexpectedly:\n{self._stack.asterisk.log_tail()}")

    def _fail(self, failure: Failure) -> None:
        self.exit_status = 1
        if failure.check(VoxrecError):
            print_error(str(failure.value))
        else:
            failure.printTraceback()
        self._reactor.stop()

    async def _stop(self) -> None:
        if self._process_check.running:
            self._process_check.stop()
        print_step("stopping all processes")
        STATE_FILE.unlink(missing_ok=True)
        await self._callee.stop()
        await self._stack.stop()


def _lock_directory(directory: Path) -> TextIO:
    """Lock the directory until the returned file is closed. Raises SandboxError if another process holds the lock."""
    directory.mkdir(exist_ok=True)
    lock = (directory / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SandboxError(f"'make run' is already running in {directory.absolute()}") from None
    return lock


def main() -> None:
    """Run until a signal arrives, or until a process ends unexpectedly (exit status 1)."""
    from twisted.internet import reactor

    try:
        with _lock_directory(DIRECTORY):
            stack = ForegroundStack(reactor, asterisk_rootfs(print_step))
            reactor.callWhenRunning(stack.start)
            reactor.run()
    except VoxrecError as error:
        sys.exit(f"failed: {error.detail}")
    sys.exit(stack.exit_status)


if __name__ == "__main__":
    main()
