"""What is known of Recordings whose calls another process left: soon, or not at all."""

from collections.abc import Collection, Mapping
from typing import Final
from uuid import UUID

from twisted.internet.defer import Deferred, TimeoutError  # noqa: A004
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.errors import VoxrecError
from voxrec.journal.recording_journal import RecordingJournal
from voxrec.model import Recording
from voxrec.postgres.pool import Pool
from voxrec.store.recordings import Recordings

_PATIENCE: Final = 3.0  # seconds that live calls may wait for PostgreSQL


class RecordingLookup:
    """Asks PostgreSQL once it has what the journal of the process before still held."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, pool: Pool, journal: RecordingJournal, recordings: Recordings) -> None:
        self._clock = clock
        self._pool = pool
        self._journal = journal
        self._recordings = recordings

    async def __call__(self, recording_ids: Collection[UUID]) -> Mapping[UUID, Recording]:
        """Those that are known, by id; never fails."""
        try:
            found: list[Recording] = await Deferred.fromCoroutine(self._read(recording_ids)).addTimeout(
                _PATIENCE, self._clock
            )
        except (TimeoutError, VoxrecError) as error:
            self._log.warn("what PostgreSQL knows of the live calls is not asked for: {error}", error=error)
            return {}
        return {recording.id: recording for recording in found}

    async def _read(self, recording_ids: Collection[UUID]) -> list[Recording]:
        await self._pool.when_ready()
        await self._journal.when_applied()
        return await self._recordings.get_many(recording_ids)
