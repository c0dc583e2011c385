"""What is to be moved between the local archive and S3."""

# ruff: noqa: S608 - only names of columns are formatted into statements; values are parameters

from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from voxrec.model import Recording, StoredObject
from voxrec.postgres.database import Database
from voxrec.store.recordings import RECORDING_COLUMNS, recording_from_row

_NOT_UPLOADED: Final = """
    recordings.path IS NOT NULL AND coalesce(stored_object ->> 'stored_at', '') = ''
"""
# Each statement enqueues a part, so that no transaction is long; what has a job that is not done is not enqueued again.
_ENQUEUE_UPLOADS: Final = f"""
    INSERT INTO jobs (kind, recording_id, target, node)
    SELECT 'upload', recordings.id, profiles.archive_bucket, CASE WHEN %s THEN NULL ELSE recordings.node END
    FROM recordings LEFT JOIN profiles ON profiles.id = profile_id
    WHERE {_NOT_UPLOADED}
      AND NOT EXISTS (
          SELECT FROM jobs
          WHERE recording_id = recordings.id AND kind = 'upload' AND done_at IS NULL AND NOT dead
      )
    LIMIT %s
    ON CONFLICT (recording_id, kind) DO UPDATE
    SET target = excluded.target, node = excluded.node, due_at = now(), leased_until = NULL, dead = FALSE,
        done_at = NULL, attempts = 0
"""
_UPLOAD_PROGRESS: Final = f"""
    SELECT count(*), coalesce(sum(size), 0)::bigint,
           count(*) FILTER (WHERE id IN (SELECT recording_id FROM jobs WHERE kind = 'upload' AND dead)),
           (SELECT (array_agg(last_error ORDER BY due_at DESC))[1] FROM jobs
            WHERE kind = 'upload' AND done_at IS NULL AND last_error IS NOT NULL)
    FROM recordings WHERE {_NOT_UPLOADED}
"""
_STORED: Final = f"""
    SELECT {RECORDING_COLUMNS} FROM recordings
    WHERE stored_object IS NOT NULL AND path IS NOT NULL AND (created_at, id) > (%s, %s)
    ORDER BY created_at, id LIMIT %s
"""
_STORED_TOTAL: Final = """
    SELECT count(*), coalesce(sum(size), 0)::bigint FROM recordings
    WHERE stored_object IS NOT NULL AND path IS NOT NULL
"""
_FORGET_OBJECT: Final = """
    UPDATE recordings SET stored_object = NULL
    WHERE id = %s AND stored_object ->> 'bucket' = %s AND stored_object ->> 'key' = %s
"""


class Remaining(NamedTuple):
    """Recordings that are still to be moved, their size in bytes, and why one of them failed.

    ``failed`` is the number of those that are not attempted again.
    """

    recordings: int
    size: int
    failed: int = 0
    last_error: str | None = None


class ArchiveMigration:
    """Queries and changes of ``voxrec archive migrate``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def enqueue_uploads(self, limit: int, *, shared: bool) -> int:
        """Enqueue the upload of Recordings that have none, and return their number. ``shared``: any node can do it."""
        return await self._database.execute(_ENQUEUE_UPLOADS, (shared, limit))

    async def not_uploaded(self) -> Remaining:
        """Return what is only in the local archive."""
        ((count, size, failed, error),) = await self._database.query(_UPLOAD_PROGRESS)
        return Remaining(count, size, failed, error)

    async def stored(self) -> Remaining:
        """Return what is in S3."""
        ((count, size),) = await self._database.query(_STORED_TOTAL)
        return Remaining(count, size)

    async def stored_recordings(self, after: tuple[datetime, UUID], limit: int) -> list[Recording]:
        """Return Recordings in S3 that were created after a time and an id, oldest first."""
        rows = await self._database.query(_STORED, (*after, limit))
        return [recording_from_row(row) for row in rows]

    async def forget_object(self, recording_id: UUID, stored: StoredObject) -> bool:
        """Store that a Recording is not in S3 any more. Return False if it has another object, or was deleted."""
        return bool(await self._database.execute(_FORGET_OBJECT, (recording_id, stored.bucket, stored.key)))
