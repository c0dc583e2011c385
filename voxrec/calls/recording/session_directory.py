"""A name of Asterisk's recording directory for each AMI session, which is revoked when the session has ended.

An action that was sent on a connection that is lost may be executed much later: Asterisk, or a proxy before it, may
have received it. A MixMonitor that is started so would write to the files of a Recording beside another one, unknown to
voxrec, and no pause would mute it. Therefore the MixMonitors of a session write to paths below a symbolic link of that
session. The link is a fencing token: before anything is done about the actions without a response, it is replaced by an
empty file. From then on no MixMonitor of that session can open a file; those that have are found by the header of their
file (`voxrec.calls.recording.leg_files`).

A link that is only removed would not be enough: MixMonitor creates missing directories (``filename_parse`` in
``apps/app_mixmonitor.c``).
"""

import secrets
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from voxrec.threads import DeferToThread

DIRECTORY: Final = ".voxrec-sessions"
"""The directory of the links, in the recording directory."""
_MODE: Final = 0o755  # Asterisk, which may be another user, follows the links
_REVOKED_TIME: Final = 7 * 86_400.0  # seconds for which a revoked name is kept, longer than any call


class SessionDirectory:
    """The name of the recording directory for the present AMI session; ``spool`` is that directory."""

    _log = Logger()

    def __init__(self, spool: Path, defer_to_thread: DeferToThread) -> None:
        self._links = spool / DIRECTORY
        self._defer_to_thread = defer_to_thread
        self._lock = DeferredLock()
        self._token = ""

    @property
    def path(self) -> str:
        """The path, relative to the recording directory; empty if no link can be created there."""
        return f"{DIRECTORY}/{self._token}" if self._token else ""

    async def renew(self) -> None:
        """Revoke the name of the former AMI session of this process, and create another one."""
        await self._run(lambda: self._replace(self._token))

    async def revoke_others(self) -> None:
        """Revoke the names of all other processes: this one has the application, and with it their calls."""
        await self._run(self._revoke_others)

    async def _run(self, change: Callable[[], str]) -> None:
        await self._lock.run(lambda: Deferred.fromCoroutine(self._change(change)))

    async def _change(self, change: Callable[[], str]) -> None:
        try:
            self._token = await self._defer_to_thread(change)
        except OSError as error:
            self._token = ""
            self._log.error(
                "{directory}: cannot link to the recording directory, so a MixMonitor that a lost AMI connection "
                "starts late could record beside another one; make the directory writable for voxrec: {error}",
                directory=str(self._links),
                error=error,
            )

    def _replace(self, token: str) -> str:
        """Revoke a name, unless it is empty, and return another one. Blocks. Raises OSError."""
        with suppress(FileExistsError):
            self._links.mkdir()
            self._links.chmod(_MODE)
        if token:
            self._revoke(self._links / token)
        token = secrets.token_hex(8)
        (self._links / token).symlink_to("..")
        return token

    def _revoke_others(self) -> str:
        token, now = self._token, time.time()
        for path in self._links.iterdir() if self._links.is_dir() else ():
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode) and path.name != token:
                self._revoke(path)
            elif stat.S_ISREG(status.st_mode) and now - status.st_mtime > _REVOKED_TIME:
                path.unlink(missing_ok=True)
        # another process may have revoked this one's name, while that had the application
        return token if token and (self._links / token).is_symlink() else self._replace("")

    def _revoke(self, path: Path) -> None:
        replacement = path.with_name(f"{path.name}.revoked")
        replacement.touch()
        replacement.replace(path)
