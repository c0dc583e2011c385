"""The text index of Recordings: new ones by their events, and those that were stored before the index existed.

Triggers index changes by users. A row that exists is therefore never replaced here: it may be newer.
"""

# ruff: noqa: S608 - only constants are formatted into statements; values are parameters

from typing import Final

from voxrec.postgres.database import Database
from voxrec.postgres.statement import PreparedStatement

BATCH: Final = 500
"""Recordings, or events, for one statement."""
# FOR KEY SHARE waits for a transaction that deletes the Recording, as the foreign key would, but then raises no error.
_MISSING: Final = """
    NOT EXISTS (SELECT FROM recording_search WHERE recording_id = recordings.id) ORDER BY id FOR KEY SHARE OF recordings
"""
_INSERT: Final = """
    INSERT INTO recording_search
    SELECT (recording).id, (recording).created_at, voxrec_recording_document(recording) FROM missing
    ON CONFLICT DO NOTHING
"""
_HAS_NEW: Final = PreparedStatement(
    "SELECT (SELECT max(id) FROM events) > (SELECT event_id FROM recording_search_position)"
)
# Events are deleted after some days. If that happened before their Recordings were indexed, all Recordings are checked.
_INDEX_NEW: Final = PreparedStatement(f"""
    WITH position AS MATERIALIZED (
        SELECT event_id FROM recording_search_position FOR UPDATE SKIP LOCKED
    ), new AS MATERIALIZED (
        SELECT id, type, data FROM events WHERE id > (SELECT event_id FROM position) ORDER BY id LIMIT %s
    ), missing AS MATERIALIZED (
        SELECT recordings AS recording FROM recordings
        WHERE id = ANY (ARRAY(SELECT (data ->> 'id')::uuid FROM new WHERE type LIKE 'recording.%%')) AND {_MISSING}
    ), indexed AS (
        {_INSERT}
    ), moved AS (
        UPDATE recording_search_position SET event_id = (SELECT max(id) FROM new) WHERE EXISTS (SELECT FROM new)
    ), newest AS (
        SELECT created_at + interval '1 second' AS at, id FROM recordings
        WHERE channels > 0 AND (SELECT event_id FROM position) < (SELECT min(id) FROM events)
        ORDER BY created_at DESC, id DESC LIMIT 1
    ), restarted AS (
        UPDATE recording_search_progress SET (at, recording_id) = (SELECT at, id FROM newest)
        WHERE EXISTS (SELECT FROM newest)
    ), started AS (
        INSERT INTO recording_search_progress
        SELECT at, id FROM newest WHERE NOT EXISTS (SELECT FROM recording_search_progress)
    )
    SELECT count(*) FROM new
""")
_INDEX_OLDER: Final = f"""
    WITH progress AS (
        SELECT at, recording_id FROM recording_search_progress FOR UPDATE SKIP LOCKED
    ), batch AS MATERIALIZED (
        SELECT id, created_at FROM recordings, progress
        WHERE channels > 0 AND (created_at, id) < (progress.at, progress.recording_id)
        ORDER BY created_at DESC, id DESC LIMIT %s
    ), missing AS MATERIALIZED (
        SELECT recordings AS recording FROM recordings WHERE id = ANY (ARRAY(SELECT id FROM batch)) AND {_MISSING}
    ), indexed AS (
        {_INSERT}
    ), last AS (
        SELECT id, created_at FROM batch ORDER BY created_at, id LIMIT 1
    ), moved AS (
        UPDATE recording_search_progress SET (at, recording_id) = (SELECT created_at, id FROM last)
        WHERE EXISTS (SELECT FROM last) RETURNING at
    ), ended AS (
        DELETE FROM recording_search_progress
        WHERE EXISTS (SELECT FROM progress) AND NOT EXISTS (SELECT FROM batch) RETURNING at
    )
    SELECT count(*) FROM batch
"""


async def index_new_recordings(database: Database) -> int:
    """Index the Recordings of the next events, and return the number of these events; 0 if there are no new ones.

    Raises StoreUnavailable. While another daemon does the same, this returns 0.
    """
    ((has_new,),) = await database.query(_HAS_NEW)
    if not has_new:  # nothing is written each second
        return 0
    ((count,),) = await database.returning(_INDEX_NEW, (BATCH,))
    return int(count)


async def index_older_recordings(database: Database) -> int:
    """Index the next newest Recordings that may have no index yet, and return their number; 0 if all have one.

    Raises StoreUnavailable. While another daemon does the same, this returns 0.
    """
    ((count,),) = await database.returning(_INDEX_OLDER, (BATCH,))
    return int(count)
