"""Recordings of calls that another process left behind, looked up within a bounded time."""

from collections.abc import Collection, Mapping
from typing import Final, Protocol
from uuid import UUID

from twisted.internet.defer import Deferred, TimeoutError  # noqa: A004
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.errors import VoxrecError
from voxrec.model import Recording
from voxrec.postgres.pool import Pool
from voxrec.store.recordings import Recordings

_TIMEOUT: Final = 3.0  # seconds that the calls may wait for PostgreSQL


class Journal(Protocol):
    """The journal that the previous process left (`voxrec.journal.recording_journal`)."""

    async def when_applied(self) -> None:
        """Wait until PostgreSQL has stored what the journal contains now."""

    async def latest(self, recording_ids: Collection[UUID], /) -> Mapping[UUID, Recording]:
        """Return the last snapshot of each of these Recordings that the journal has. Raises OSError."""


class RecordingLookup:
    """Reads Recordings from PostgreSQL once it has stored the snapshots of the journal, or from the journal."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, pool: Pool, journal: Journal, recordings: Recordings) -> None:
        self._clock = clock
        self._pool = pool
        self._journal = journal
        self._recordings = recordings

    async def __call__(self, recording_ids: Collection[UUID]) -> Mapping[UUID, Recording]:
        """Return the Recordings that exist, by id; those in the journal if PostgreSQL does not answer in time."""
        try:
            recordings: list[Recording] = await Deferred.fromCoroutine(self._read(recording_ids)).addTimeout(
                _TIMEOUT, self._clock
            )
        except (TimeoutError, VoxrecError) as error:
            found = await self._read_journal(recording_ids)
            self._log.warn(
                "the recordings of the calls in progress could not be read; taking these calls over with the {count} "
                "of {total} recordings that the journal has: {error}",
                count=len(found),
                total=len(recording_ids),
                error=error if isinstance(error, VoxrecError) else f"PostgreSQL did not respond within {_TIMEOUT:g} s",
            )
            return found
        return {recording.id: recording for recording in recordings}

    async def _read(self, recording_ids: Collection[UUID]) -> list[Recording]:
        await self._pool.when_ready()
        await self._journal.when_applied()
        return await self._recordings.get_many(recording_ids)

    async def _read_journal(self, recording_ids: Collection[UUID]) -> Mapping[UUID, Recording]:
        try:
            return await self._journal.latest(recording_ids)
        except OSError as error:
            self._log.error(
                "the recordings of the calls in progress cannot be read from the journal: {error}", error=error
            )
            return {}
