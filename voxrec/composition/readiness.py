"""The readiness probes of /health/ready."""

import math
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

from twisted.internet.interfaces import IReactorTime

from voxrec.files import make_directory
from voxrec.threads import DeferToThread

DISK_PROBES: Final = ("archive", "spool")
"""The probes that write or look at file systems, in a thread."""
_REMEMBERED: Final = 5.0  # seconds
_MIN_ARCHIVE_SPACE: Final = 100_000_000  # bytes; below it, the next Recordings may not fit
_BLOCK: Final = 4096  # bytes that are written to find out whether the archive is writable


class RememberedProbe:
    """Repeats a probe only after 5 s, for a caller that asks every second."""

    def __init__(self, clock: IReactorTime, probe: Callable[[], Awaitable[str | None]]) -> None:
        self._clock = clock
        self._probe = probe
        self._result: str | None = None
        self._expires = -math.inf

    async def __call__(self) -> str | None:
        """Return None if ready, otherwise the reason."""
        if self._clock.seconds() >= self._expires:
            self._result = await self._probe()
            self._expires = self._clock.seconds() + _REMEMBERED
        return self._result


class Pool(Protocol):
    """The connection pool of PostgreSQL."""

    @property
    def ready(self) -> bool:
        """Whether a connection is open."""

    async def ping(self) -> None:
        """Check that PostgreSQL responds."""


class Profiles(Protocol):
    """The cache of the Profiles.

    ``loaded``: Profiles are known, if only from the snapshot on disk. ``confirmed``: they were read from PostgreSQL
    since the start.
    """

    loaded: bool
    confirmed: bool


class Session(Protocol):
    """The session with Asterisk."""

    replaced: bool
    version: str | None


class DatabaseProbe:
    """PostgreSQL is ready if it responds, and the Profiles were read from it."""

    def __init__(self, pool: Pool, profiles: Profiles) -> None:
        self._pool = pool
        self._profiles = profiles

    async def __call__(self) -> str | None:
        """Return None if ready, otherwise the reason."""
        if not self._pool.ready:
            missing = "" if self._profiles.loaded else ", and no Profiles are known: new calls are refused"
            return f"PostgreSQL is unreachable{missing}"
        await self._pool.ping()
        return None if self._profiles.confirmed else "the Profiles have not been read yet"


class AsteriskProbe:
    """Asterisk is ready while this daemon receives the events of the application."""

    def __init__(self, session: Session, is_standby: Callable[[], bool] = lambda: False) -> None:
        self._session = session
        self._is_standby = is_standby

    async def __call__(self) -> str | None:
        """Return None if ready, otherwise the reason."""
        if self._is_standby():
            return "standing by: another voxrec has the Stasis application"
        if self._session.replaced:
            return "another program has taken over the Stasis application"
        return None if self._session.version is not None else "the event websocket is not open"


class AmiConnection(Protocol):
    """The AMI connection."""

    @property
    def problem(self) -> str | None:
        """Why it is not ready."""


class AmiProbe:
    """AMI is ready while recordings can be started. Calls are connected without it."""

    def __init__(self, connection: AmiConnection) -> None:
        self._connection = connection

    async def __call__(self) -> str | None:
        """Return None if ready, otherwise the reason."""
        problem = self._connection.problem
        return None if problem is None else f"calls cannot be recorded: {problem}"


class AnnouncementCheck(Protocol):
    """The check of the default announcement."""

    playable: bool | None


class AnnouncementProbe:
    """The announcement is ready if Asterisk could play it when that was last checked."""

    def __init__(self, check: AnnouncementCheck) -> None:
        self._check = check

    async def __call__(self) -> str | None:
        """Return None if ready, otherwise the reason."""
        if self._check.playable is None:
            return "whether Asterisk can play the default announcement has not been checked yet"
        return None if self._check.playable else "Asterisk cannot play the default announcement; the log says why"


class ArchiveProbe:
    """The archive is ready if a file can be written to it, and there is free space for Recordings.

    An S3 store that is down does not matter before the local archive, which then keeps everything, is full; the reason
    then names the errors of uploads, which ``upload_failures`` returns by bucket.
    """

    def __init__(
        self,
        root: Path,
        work_directory: Path,
        defer_to_thread: DeferToThread,
        upload_failures: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._root = root
        self._upload_failures = upload_failures
        self._work_directory = work_directory
        self._defer_to_thread = defer_to_thread

    async def __call__(self) -> str | None:
        """Return None if ready, otherwise the reason."""
        problem: str | None = await self._defer_to_thread(self._check)
        errors = "; ".join(self._upload_failures().values())
        return f"{problem}; uploads to S3 fail: {errors}" if problem is not None and errors else problem

    def _check(self) -> str | None:
        if not self._root.is_dir():
            return "the archive directory does not exist; its file system may not be mounted"
        try:
            make_directory(self._work_directory, 0o750)
            with tempfile.TemporaryFile(dir=self._work_directory, buffering=0) as file:
                file.write(bytes(_BLOCK))
            return _space_problem("the archive", self._root, _MIN_ARCHIVE_SPACE)
        except OSError as error:
            return f"the archive is not writable: {error.strerror}"


class SpoolProbe:
    """Asterisk's recording directory is ready if voxrec can read and delete files there, and Asterisk can record.

    ``floor`` returns the free space in bytes below which calls are not recorded.
    """

    def __init__(self, spool: Path, floor: Callable[[], int], defer_to_thread: DeferToThread) -> None:
        self._spool = spool
        self._floor = floor
        self._defer_to_thread = defer_to_thread

    async def __call__(self) -> str | None:
        """Return None if ready, otherwise the reason."""
        problem: str | None = await self._defer_to_thread(self._check)
        return problem

    def _check(self) -> str | None:
        if not self._spool.is_dir():
            return "Asterisk's recording directory does not exist; its file system may not be mounted"
        if not os.access(self._spool, os.R_OK | os.W_OK | os.X_OK):
            return "Asterisk's recording directory is not readable and writable for voxrec"
        try:
            return _space_problem("Asterisk's recording directory", self._spool, self._floor())
        except OSError as error:
            return f"Asterisk's recording directory cannot be examined: {error.strerror}"


def _space_problem(name: str, directory: Path, minimum: int) -> str | None:
    free = shutil.disk_usage(directory).free
    return None if free >= minimum else f"{name} has {free} bytes free; at least {minimum} are required"
