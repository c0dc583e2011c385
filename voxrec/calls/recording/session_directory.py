"""A name of Asterisk's recording directory for each AMI session, which is revoked when the session has ended.

An action that was sent on a connection that is lost may be executed much later: Asterisk, or a proxy before it, may
have received it. A MixMonitor that is started so would write to the files of a Recording beside another one, unknown to
voxrec, and no pause would mute it. Therefore the MixMonitors of a session write to paths below a symbolic link of that
session. The link is a fencing token: before anything is done about the actions without a response, it is replaced by an
empty file. From then on no MixMonitor of that session can open a file; those that have are found by the header of their
file (`voxrec.calls.recording.leg_files`).

A link that is only removed would not be enough: MixMonitor creates missing directories (``filename_parse`` in
``apps/app_mixmonitor.c``). For the same reason it is verified that the link still exists: a program that deletes old
files in the recording directory may delete it, and what Asterisk records then is not found.

Each application of an Asterisk has a directory of links: a process revokes only those of its own application, since
others may record in the same recording directory, also as other users.
"""

import secrets
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from twisted.application.internet import TimerService
from twisted.internet.defer import Deferred, DeferredLock, TimeoutError  # noqa: A004
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.deferreds import shielded
from voxrec.threads import DeferToThread

DIRECTORY: Final = ".voxrec-sessions"
"""The directory of the links, in the recording directory, is called so, with a hyphen and the application behind it."""
_MODE: Final = 0o755  # Asterisk, which may be another user, follows the links
_REVOKED_TIME: Final = 7 * 86_400.0  # seconds for which a revoked name is kept, longer than any call
_INTERVAL: Final = 5.0  # seconds between checks whether the link exists
_TIMEOUT: Final = 5.0  # seconds; without it, a file system that does not respond would stop new calls, too


class SessionDirectory(TimerService):
    """The name of the recording directory for the present AMI session; ``spool`` is that directory.

    ``app`` is the name of the Stasis application, and ``is_active`` returns whether this process has it. As a Service
    it creates another name if the present one was deleted.
    """

    name = "session directory"
    _log = Logger()

    def __init__(
        self, clock: IReactorTime, spool: Path, app: str, is_active: Callable[[], bool], defer_to_thread: DeferToThread
    ) -> None:
        super().__init__(_INTERVAL, self.check)
        self.clock = self._clock = clock
        self._links = spool / f"{DIRECTORY}-{app}"
        self._is_active = is_active
        self._defer_to_thread = defer_to_thread
        self._lock = DeferredLock()
        self._token = ""

    @property
    def path(self) -> str:
        """The path, relative to the recording directory; empty if no link can be created there."""
        return f"{self._links.name}/{self._token}" if self._token else ""

    async def renew(self) -> None:
        """Revoke the name of the former AMI session of this process, and create another one."""
        await self._run(lambda: self._replace(self._token))

    async def revoke_others(self) -> None:
        """Revoke the names of all other processes: this one has the application, and with it their calls."""
        await self._run(self._revoke_others)

    async def check(self) -> None:
        """Create another name if the present one was deleted."""
        if self._token and self._is_active():
            await self._lock.run(lambda: Deferred.fromCoroutine(self._replace_if_deleted()))

    async def _replace_if_deleted(self) -> None:
        path = self._links / self._token
        if self._token and await self._defer_to_thread(_is_deleted, path):
            self._log.error(
                "{path} was deleted, and is replaced; what Asterisk has begun to record since then is lost, or below "
                "this path: nothing but voxrec may delete files in the recording directory",
                path=str(path),
            )
            await self._change(lambda: self._replace(""))

    async def _run(self, change: Callable[[], str]) -> None:
        """Run a change. If the file system does not respond in time, it has its effect later."""
        changed = self._lock.run(lambda: Deferred.fromCoroutine(self._change(change)))
        try:
            await shielded(changed).addTimeout(_TIMEOUT, self._clock)
        except TimeoutError:
            self._token = ""
            self._report(f"it does not respond within {_TIMEOUT:g} s")

    async def _change(self, change: Callable[[], str]) -> None:
        try:
            self._token = await self._defer_to_thread(change)
        except OSError as error:
            self._token = ""
            self._report(error)

    def _report(self, error: object) -> None:
        self._log.error(
            "{directory}: cannot link to the recording directory, so a MixMonitor that a lost AMI connection starts "
            "late could record beside another one; voxrec needs to write there, and symbolic links: {error}",
            directory=str(self._links),
            error=error,
        )

    def _replace(self, token: str) -> str:
        """Revoke a name, unless it is empty, and return another one. Blocks. Raises OSError."""
        with suppress(FileExistsError):
            self._links.mkdir()
        if self._links.stat().st_mode & _MODE != _MODE:  # also if another process was killed before it did so
            self._links.chmod(_MODE)
        if token:
            self._revoke(self._links / token)
        self._remove_expired()
        token = secrets.token_hex(8)
        (self._links / token).symlink_to("..")
        return token

    def _revoke_others(self) -> str:
        token = self._token
        for path in self._links.iterdir() if self._links.is_dir() else ():
            if path.is_symlink() and path.name != token:
                self._revoke(path)
        # another process may have revoked this one's name, while that had the application
        return token if token and (self._links / token).is_symlink() else self._replace("")

    def _remove_expired(self) -> None:
        """Remove the names that were revoked long ago: there is one for each session."""
        now = time.time()
        for path in self._links.iterdir():
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and now - status.st_mtime > _REVOKED_TIME:
                path.unlink(missing_ok=True)

    def _revoke(self, path: Path) -> None:
        replacement = path.with_name(f"{path.name}.revoked")
        replacement.touch()
        replacement.replace(path)


def _is_deleted(path: Path) -> bool:
    """Return whether a link is neither there nor revoked; Asterisk may have created a directory in its place."""
    try:
        return not (path.is_symlink() or path.is_file())
    except OSError:
        return False
