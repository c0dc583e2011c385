"""What is to be moved between the local archive and S3."""

# ruff: noqa: S608 - only names of columns are formatted into statements; values are parameters

from datetime import UTC, datetime
from typing import Final, NamedTuple
from uuid import UUID

from voxrec.model import Recording, StoredObject
from voxrec.postgres.database import Database
from voxrec.store.recording_columns import RECORDING_COLUMNS, recording_from_row

_NOT_UPLOADED: Final = """
    recordings.path IS NOT NULL AND coalesce(stored_object ->> 'stored_at', '') = ''
"""
# Each statement reads the next part of the table, so that no transaction is long, however many Recordings are uploaded
# already. What has a job that is not done is not enqueued again. The condition on channels is that of the index.
_ENQUEUE_UPLOADS: Final = f"""
    WITH part AS MATERIALIZED (
        SELECT id, created_at, profile_id, node, path, stored_object FROM recordings
        WHERE channels > 0 AND (created_at, id) > (%s, %s) ORDER BY created_at, id LIMIT %s
    ), enqueued AS (
        INSERT INTO jobs (kind, recording_id, target, node)
        SELECT 'upload', recordings.id, profiles.archive_bucket, CASE WHEN %s THEN NULL ELSE recordings.node END
        FROM part AS recordings LEFT JOIN profiles ON profiles.id = profile_id
        WHERE {_NOT_UPLOADED}
          AND NOT EXISTS (
              SELECT FROM jobs
              WHERE recording_id = recordings.id AND kind = 'upload' AND done_at IS NULL AND NOT dead
          )
        ON CONFLICT (recording_id, kind) DO UPDATE
        SET target = excluded.target, node = excluded.node, due_at = now(), leased_until = NULL, dead = FALSE,
            done_at = NULL, attempts = 0
        RETURNING id
    )
    SELECT (SELECT count(*) FROM enqueued), created_at, id FROM part ORDER BY created_at DESC, id DESC LIMIT 1
"""
_UPLOAD_PROGRESS: Final = f"""
    SELECT count(*), coalesce(sum(size), 0)::bigint,
           count(*) FILTER (WHERE id IN (SELECT recording_id FROM jobs WHERE kind = 'upload' AND dead)),
           (SELECT (array_agg(last_error ORDER BY due_at DESC))[1] FROM jobs
            WHERE kind = 'upload' AND done_at IS NULL AND last_error IS NOT NULL)
    FROM recordings WHERE {_NOT_UPLOADED}
"""
# The condition on channels is that of the index.
_STORED: Final = f"""
    SELECT {RECORDING_COLUMNS} FROM recordings
    WHERE channels > 0 AND stored_object IS NOT NULL AND path IS NOT NULL AND (created_at, id) > (%s, %s)
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


class Position(NamedTuple):
    """The place of a Recording in the order in which they are examined: oldest first."""

    created_at: datetime
    id: UUID


BEGINNING: Final = Position(datetime.min.replace(tzinfo=UTC), UUID(int=0))


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

    async def enqueue_uploads(self, after: Position, limit: int, *, shared: bool) -> tuple[int, Position | None]:
        """Enqueue uploads for those of the next ``limit`` Recordings that need one. ``shared``: any node can do it.

        Return their number, and the position of the last Recording that was examined, None if there was none.
        """
        rows = await self._database.returning(_ENQUEUE_UPLOADS, (*after, limit, shared))
        if not rows:
            return 0, None
        ((count, *last),) = rows
        return count, Position(*last)

    async def not_uploaded(self) -> Remaining:
        """Return what is only in the local archive."""
        ((count, size, failed, error),) = await self._database.query(_UPLOAD_PROGRESS)
        return Remaining(count, size, failed, error)

    async def stored(self) -> Remaining:
        """Return what is in S3."""
        ((count, size),) = await self._database.query(_STORED_TOTAL)
        return Remaining(count, size)

    async def stored_recordings(self, after: Position, limit: int) -> list[Recording]:
        """Return the next Recordings in S3, oldest first."""
        rows = await self._database.query(_STORED, (*after, limit))
        return [recording_from_row(row) for row in rows]

    async def forget_object(self, recording_id: UUID, stored: StoredObject) -> bool:
        """Store that a Recording is not in S3 any more. Return False if it has another object, or was deleted."""
        return bool(await self._database.execute(_FORGET_OBJECT, (recording_id, stored.bucket, stored.key)))
