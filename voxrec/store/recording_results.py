"""The statement that stores the results of finishing Recordings, and enqueues the jobs that follow."""

# ruff: noqa: S608 - only names of columns are formatted into statements; values are parameters

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from voxrec.model import JobKind, Recording
from voxrec.postgres.database import Database
from voxrec.postgres.statement import PreparedStatement
from voxrec.store.recording_columns import COLUMNS, RESULT_COLUMNS

_NEW_VALUES: Final = ", ".join(f"new.{name}" for name in RESULT_COLUMNS.names)
# A statement about several rows skips those that are locked: it would wait for them while it has locked others. No
# MAIL job if the Profile has no address. If the Profile was deleted, the job is enqueued, and logs that.
_COMPLETE: Final = f"""
    WITH locked AS MATERIALIZED (
        SELECT id FROM recordings WHERE id = ANY(%s::uuid[]) FOR NO KEY UPDATE {{wait}}
    ), completed AS (
        UPDATE recordings AS old
        SET ({RESULT_COLUMNS.column_list}) = ROW ({_NEW_VALUES}),
            updated_at = greatest(old.updated_at, new.updated_at),
            event_sequence = old.event_sequence + (old.state <> new.state)::integer
        FROM locked JOIN jsonb_populate_recordset(NULL::recordings, %s) AS new USING (id)
        WHERE old.id = locked.id
        RETURNING old.id, old.profile_id
    ), enqueued AS (
        INSERT INTO jobs (kind, recording_id, target, node)
        SELECT kind, completed.id, CASE kind WHEN 'upload' THEN archive_bucket END, CASE kind WHEN 'upload' THEN %s END
        FROM unnest(%s::uuid[], %s::text[]) AS follow_up (recording_id, kind)
            JOIN completed ON completed.id = recording_id LEFT JOIN profiles ON profiles.id = profile_id
        WHERE kind <> 'mail' OR profiles.id IS NULL OR email <> ''
        ON CONFLICT DO NOTHING
    )
    SELECT id FROM completed
"""
_COMPLETE_ONE: Final = PreparedStatement(_COMPLETE.format(wait=""))
_COMPLETE_SEVERAL: Final = PreparedStatement(_COMPLETE.format(wait="SKIP LOCKED"))


class RecordingResult(NamedTuple):
    """A Recording in its final state, and the kinds of the jobs that follow."""

    recording: Recording
    follow_up: Sequence[JobKind] = ()


async def store_result(database: Database, result: RecordingResult, upload_node: str | None) -> bool:
    """Store a result, and return whether the Recording exists.

    ``metadata``, ``tags`` and ``legal_hold`` keep what users have set meanwhile. MAIL is enqueued only if the Profile
    has an address; ``upload_node`` is the only node that can execute UPLOAD, None: any node.
    """
    return bool(await database.returning(_COMPLETE_ONE, _params([result], upload_node)))


async def store_results(database: Database, results: Collection[RecordingResult], upload_node: str | None) -> set[UUID]:
    """Do as `store_result` for Recordings that no other transaction has locked, all or none, and return their ids."""
    rows = await database.returning(_COMPLETE_SEVERAL, _params(results, upload_node))
    return {recording_id for (recording_id,) in rows}


def _params(results: Collection[RecordingResult], upload_node: str | None) -> tuple[object, ...]:
    jobs = [(result.recording.id, kind.value) for result in results for kind in result.follow_up]
    return (
        [result.recording.id for result in results],
        COLUMNS.json_rows(result.recording for result in results),
        upload_node,
        [recording_id for recording_id, _ in jobs],
        [kind for _, kind in jobs],
    )
