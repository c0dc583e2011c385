"""Recordings of calls that another process left behind, looked up within a bounded time."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final
from uuid import UUID

from twisted.internet.defer import Deferred, TimeoutError  # noqa: A004
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.errors import VoxrecError
from voxrec.model import Recording
from voxrec.postgres.pool import Pool
from voxrec.store.recordings import Recordings

_TIMEOUT: Final = 3.0  # seconds that the calls may wait for PostgreSQL


class RecordingLookup:
    """Reads Recordings once PostgreSQL has stored the snapshots of the journal.

    ``when_journal_applied`` waits until the journal that the previous process left has been applied.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        pool: Pool,
        when_journal_applied: Callable[[], Awaitable[None]],
        recordings: Recordings,
    ) -> None:
        self._clock = clock
        self._pool = pool
        self._when_journal_applied = when_journal_applied
        self._recordings = recordings

    async def __call__(self, recording_ids: Collection[UUID]) -> Mapping[UUID, Recording]:
        """Return the Recordings that exist, by id; an empty mapping if PostgreSQL does not answer in time."""
        try:
            recordings: list[Recording] = await Deferred.fromCoroutine(self._read(recording_ids)).addTimeout(
                _TIMEOUT, self._clock
            )
        except (TimeoutError, VoxrecError) as error:
            self._log.warn(
                "the recordings of the calls in progress could not be read; taking these calls over without them: "
                "{error}",
                error=error if isinstance(error, VoxrecError) else f"PostgreSQL did not respond within {_TIMEOUT:g} s",
            )
            return {}
        return {recording.id: recording for recording in recordings}

    async def _read(self, recording_ids: Collection[UUID]) -> list[Recording]:
        await self._pool.when_ready()
        await self._when_journal_applied()
        return await self._recordings.get_many(recording_ids)
