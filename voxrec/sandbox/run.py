"""``make run``: run the complete stack in the foreground for manual calls and REST requests; Ctrl-C stops it.

``make run DATA=DIRECTORY`` runs it with the data of an earlier run, such as one of ``make demo``.
"""

import json
import secrets
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from voxrec.errors import VoxrecError
from voxrec.sandbox.console import console, print_error, print_step
from voxrec.sandbox.directory_lock import lock_directory
from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.rootfs import asterisk_rootfs
from voxrec.sandbox.sipp import SippAnswerer
from voxrec.sandbox.stack import Stack

DIRECTORY = Path("run")
STATE_FILE = DIRECTORY / "run.json"
"""Addresses and ids of the running stack, as the line of JSON that ``make run`` prints; ``make call`` reads it."""
PROFILE_NAME = "echo phone"
_CHECK_SECONDS = 0.5


class ForegroundStack:
    """The stack with the data in ``directory``, a phone that answers, and a Profile with that phone as its far end."""

    def __init__(self, reactor: Any, rootfs: Path | None, directory: Path = DIRECTORY) -> None:
        self._reactor = reactor
        self._stack = Stack(reactor, directory.absolute(), rootfs)
        self._callee = SippAnswerer(reactor, directory.absolute() / "phones", rootfs)
        self._process_check = LoopingCall(self._check_processes)
        self.exit_status = 0

    def start(self) -> None:
        """Start everything; the reactor's shutdown stops it again."""
        self._reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(self._stop()))
        Deferred.fromCoroutine(self._start()).addErrback(self._fail)

    async def _start(self) -> None:
        await self._stack.start(print_step)
        await self._callee.start()
        profile_id = await self._ensure_profile()
        recordings = await self._stack.request_json("GET", "/recordings?limit=1")
        credentials = await self._set_password("anna")
        self._print_instructions(profile_id, credentials, recordings[0]["id"] if recordings else None)
        self._publish_state(profile_id)
        self._process_check.start(_CHECK_SECONDS).addErrback(self._fail)

    async def _ensure_profile(self) -> str:
        """Return the id of the Profile of the phone; create it, unless a previous run has."""
        found = await self._stack.request_json("GET", f"/profiles?{urlencode({'search': PROFILE_NAME})}")
        far_end = {"remoteSipUri": self._callee.uri}
        for profile in found:
            if profile["name"] == PROFILE_NAME:
                await self._stack.request_json("POST", f"/profiles/{profile['id']}", far_end)
                return str(profile["id"])
        settings = {
            "name": PROFILE_NAME,
            "email": "records@example.test",
            "record": True,
            "recordChannels": "dual",
            "recordPrompt": "default",
        }
        return str((await self._stack.request_json("PUT", "/profiles", {**settings, **far_end}))["id"])

    async def _set_password(self, name: str) -> str:
        """Create an administrator of the console, unless a previous run has, and return a new password."""
        password = secrets.token_urlsafe(12)
        existing = await self._stack.request_json("GET", f"/users?name={name}")
        if existing:
            await self._stack.request_json("POST", f"/users/{existing[0]['id']}", {"password": password})
        else:
            await self._stack.request_json("PUT", "/users", {"name": name, "role": "admin", "password": password})
        return f"sign in as {name} with the password {password}"

    def _print_instructions(self, profile_id: str, credentials: str, recording_id: str | None) -> None:
        stack = self._stack
        console.rule("voxrec is ready")
        newest = (
            [("recording", f"{stack.url}/console/recordings/{recording_id}, the newest one")] if recording_id else []
        )
        for name, value in (
            ("console", f"{stack.url}/console, {credentials}"),
            *newest,
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


def main() -> None:
    """Run until a signal arrives, or until a process ends unexpectedly (exit status 1)."""
    from twisted.internet import reactor

    directory = Path(sys.argv[1]) if sys.argv[1:] else DIRECTORY
    if sys.argv[1:] and not (directory / "data").is_dir():
        sys.exit(f"failed: {directory} has no data of an earlier run; 'make demo' prints the directory of its own")
    try:
        with ExitStack() as locks:
            for used in dict.fromkeys((DIRECTORY, directory)):
                locks.enter_context(lock_directory(used))
            stack = ForegroundStack(reactor, asterisk_rootfs(print_step), directory)
            reactor.callWhenRunning(stack.start)
            reactor.run()
    except VoxrecError as error:
        sys.exit(f"failed: {error.detail}")
    sys.exit(stack.exit_status)


if __name__ == "__main__":
    main()
