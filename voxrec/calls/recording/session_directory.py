"""A name of Asterisk's recording directory for each AMI session, which is revoked when the session has ended.

An action that was sent on a connection that is lost may be executed much later: Asterisk, or a proxy before it, may
have received it. A MixMonitor that is started so would write to the files of a Recording beside another one, unknown to
voxrec, and no pause would mute it. Therefore the MixMonitors of a session write to paths below a symbolic link of that
session. The link is a fencing token: before anything is done about the actions without a response, it is replaced by an
empty file. From then on no MixMonitor of that session can open a file; those that have are found by the header of their
file (`voxrec.calls.recording.leg_files`).

Until the former links are replaced and a new one exists, AMI does not become ready. If the file system fails at another
moment, the AMI connection is closed.

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
from voxrec.errors import Unavailable
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
        self._close_session: Callable[[str], object] = lambda _reason: None
        self._lock = DeferredLock()
        self._token = ""
        self._others_revoked = True
        # The names of this process that are not revoked. Only the change in progress, in its thread, touches them.
        self._valid: set[str] = set()

    @property
    def path(self) -> str:
        """The path, relative to the recording directory, after `renew`."""
        return f"{self._links.name}/{self._token}" if self._token else ""

    def set_close_session(self, close_session: Callable[[str], object]) -> None:
        """Set what closes the AMI session, for a reason, so that `renew` is called before anything else is sent."""
        self._close_session = close_session

    async def renew(self) -> None:
        """Revoke the names of the former AMI sessions of this process, and create another one.

        Raises `Unavailable` if that fails: what the former sessions have sent may still start a MixMonitor.
        """
        await self._run(self._renew)

    async def revoke_others(self) -> None:
        """Revoke the names of all other processes: this one has the application, and with it their calls.

        If that fails, the AMI session is closed, and `renew` attempts it again.
        """
        try:
            await self._run(self._revoke_others)
        except Unavailable as error:
            self._others_revoked = False
            self._close_session(error.detail)

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
            try:
                await self._change(self._create)
            except Unavailable as error:
                self._close_session(error.detail)

    async def _run(self, change: Callable[[], str]) -> None:
        """Run a change. Raises `Unavailable`; if the file system does not respond in time, it has its effect later."""
        changed = self._lock.run(lambda: Deferred.fromCoroutine(self._change(change)))
        try:
            await shielded(changed).addTimeout(_TIMEOUT, self._clock)
        except TimeoutError:
            self._token = ""
            raise self._unavailable(f"it does not respond within {_TIMEOUT:g} s") from None

    async def _change(self, change: Callable[[], str]) -> None:
        try:
            self._token = await self._defer_to_thread(change)
        except OSError as error:
            self._token = ""
            raise self._unavailable(error) from None

    def _unavailable(self, error: object) -> Unavailable:
        return Unavailable(
            f"{self._links}: cannot replace the link to the recording directory, so a MixMonitor that a former AMI "
            f"session starts late could record; voxrec needs to write there, and symbolic links: {error}"
        )

    def _renew(self) -> str:
        self._create_directory()
        if not self._others_revoked:
            if not self._is_active():
                raise OSError("the links of other processes are not replaced yet")
            self._revoke_names_of_others("")
        for token in tuple(self._valid):
            self._revoke(token)
            self._valid.discard(token)
        self._remove_expired()
        return self._create()

    def _create_directory(self) -> None:
        with suppress(FileExistsError):
            self._links.mkdir()
        if self._links.stat().st_mode & _MODE != _MODE:  # also if another process was killed before it did so
            self._links.chmod(_MODE)

    def _create(self) -> str:
        """Return a new name. Blocks. Raises OSError."""
        self._create_directory()
        token = secrets.token_hex(8)
        self._valid.add(token)
        (self._links / token).symlink_to("..")
        return token

    def _revoke_others(self) -> str:
        token = self._token
        self._revoke_names_of_others(token)
        # another process may have revoked this one's name, while that had the application
        return token if not token or (self._links / token).is_symlink() else self._create()

    def _revoke_names_of_others(self, own: str) -> None:
        for path in self._links.iterdir() if self._links.is_dir() else ():
            if path.is_symlink() and path.name != own:
                self._revoke(path.name)
        self._others_revoked = True

    def _remove_expired(self) -> None:
        """Remove the names that were revoked long ago: there is one for each session."""
        now = time.time()
        for path in self._links.iterdir():
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and now - status.st_mtime > _REVOKED_TIME:
                path.unlink(missing_ok=True)

    def _revoke(self, token: str) -> None:
        path = self._links / token
        replacement = path.with_name(f"{token}.revoked")
        replacement.touch()
        try:
            replacement.replace(path)
        except IsADirectoryError:  # Asterisk created it where the link was deleted; it is not the recording directory
            replacement.unlink()


def _is_deleted(path: Path) -> bool:
    """Return whether a link is neither there nor revoked; Asterisk may have created a directory in its place."""
    try:
        return not (path.is_symlink() or path.is_file())
    except OSError:
        return False
