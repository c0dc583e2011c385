"""The text index of Recordings that were stored before it existed."""

from typing import Final

from voxrec.postgres.database import Database

BATCH: Final = 500
_INDEX_OLDER: Final = """
    WITH progress AS (
        SELECT at, recording_id FROM recording_search_progress FOR UPDATE SKIP LOCKED
    ), batch AS MATERIALIZED (
        SELECT id, created_at FROM recordings, progress
        WHERE channels > 0 AND (created_at, id) < (progress.at, progress.recording_id)
        ORDER BY created_at DESC, id DESC LIMIT %s
    ), indexed AS MATERIALIZED (
        SELECT id, voxrec_index_text(id) FROM batch
    ), last AS (
        SELECT id, created_at FROM batch ORDER BY created_at, id LIMIT 1
    ), moved AS (
        UPDATE recording_search_progress SET (at, recording_id) = (SELECT created_at, id FROM last)
        WHERE EXISTS (SELECT FROM last) RETURNING at
    ), ended AS (
        DELETE FROM recording_search_progress
        WHERE EXISTS (SELECT FROM progress) AND NOT EXISTS (SELECT FROM batch) RETURNING at
    )
    SELECT (SELECT count(*) FROM indexed)
"""


async def index_older_recordings(database: Database) -> int:
    """Index the next newest Recordings that have no index yet, and return their number; 0 if all have one.

    Raises StoreUnavailable. Another daemon that does the same works on others, or this returns 0.
    """
    ((count,),) = await database.returning(_INDEX_OLDER, (BATCH,))
    return int(count)
