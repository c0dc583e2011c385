"""What uploads read and write of Recordings: one statement for all uploads that have reached the same point."""

# ruff: noqa: S608 - only names of columns are formatted into statements; values are parameters

from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
from twisted.internet.interfaces import IReactorTime

from voxrec.errors import NotFound
from voxrec.model import Recording, StoredObject
from voxrec.postgres.database import Database
from voxrec.postgres.statement import PreparedStatement
from voxrec.store.recording_columns import RECORDING_COLUMNS, recording_from_row
from voxrec.store.recordings import Recordings
from voxrec.store.row_batcher import RowBatcher
from voxrec.store.stored_objects import PLACE

_BEGIN: Final = """
    WITH planned AS MATERIALIZED (
        SELECT recordings.*, {place} FROM recordings LEFT JOIN profiles ON profiles.id = profile_id
        WHERE recordings.id = ANY (%s::uuid[])
        FOR NO KEY UPDATE OF recordings {wait}
    ), named AS (
        UPDATE recordings
        SET stored_object = jsonb_build_object('bucket', target_bucket, 'key', target_prefix || planned.path)
        FROM planned
        WHERE recordings.id = planned.id AND planned.stored_object IS NULL AND planned.path IS NOT NULL AND %s::boolean
    )
    SELECT target_bucket, target_prefix || path, {columns} FROM planned
"""
_BEGIN_ONE: Final = PreparedStatement(_BEGIN.format(place=PLACE, wait="", columns=RECORDING_COLUMNS))
_BEGIN_SEVERAL: Final = PreparedStatement(_BEGIN.format(place=PLACE, wait="SKIP LOCKED", columns=RECORDING_COLUMNS))
_SET_STORED_OBJECTS: Final = PreparedStatement(f"""
    WITH unlocked AS MATERIALIZED (
        SELECT id FROM recordings WHERE id = ANY (%s::uuid[]) FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE recordings SET stored_object = new.stored_object::jsonb
    FROM unnest(%s::uuid[], %s::text[]) AS new (recording_id, stored_object)
    WHERE id = recording_id AND id IN (SELECT id FROM unlocked)
    RETURNING {", ".join(f"recordings.{column}" for column in RECORDING_COLUMNS.split(", "))}
""")


class PlannedUpload(NamedTuple):
    """A Recording as it was before, and the object that is to have its audio; None if it has no audio."""

    recording: Recording
    target: StoredObject | None


class UploadRecords:
    """The Recordings that are being uploaded.

    ``bucket`` and ``prefix`` apply to Profiles that have no others. ``uploads``: whether new objects are named.
    """

    def __init__(
        self,
        clock: IReactorTime,
        database: Database,
        recordings: Recordings,
        *,
        bucket: str,
        prefix: str,
        uploads: bool = True,
    ) -> None:
        self._database = database
        self._default = (bucket, prefix)
        self._uploads = uploads
        self._beginnings = RowBatcher(clock, self._begin_several, self._begin_one)
        self._results = RowBatcher(clock, self._set_several, lambda result: recordings.set_stored_object(*result))

    async def begin(self, recording_id: UUID) -> PlannedUpload:
        """Return a Recording and its object, and name the latter in the row, unless that names one. Raises NotFound.

        The Profile may have been deleted, or have another bucket than when the row named the object.
        """
        return await self._beginnings.change(recording_id)

    async def set_stored_object(self, recording_id: UUID, stored: StoredObject) -> Recording:
        """See `Recordings.set_stored_object`."""
        return await self._results.change((recording_id, stored))

    async def _begin_several(self, ids: Sequence[UUID]) -> list[PlannedUpload | None]:
        planned = await self._begin(_BEGIN_SEVERAL, ids)
        return [planned.get(recording_id) for recording_id in ids]

    async def _begin_one(self, recording_id: UUID) -> PlannedUpload:
        planned = await self._begin(_BEGIN_ONE, [recording_id])
        if recording_id not in planned:
            raise NotFound(f"There is no recording {recording_id}.")
        return planned[recording_id]

    async def _begin(self, statement: str, ids: Sequence[UUID]) -> dict[UUID, PlannedUpload]:
        rows = await self._database.returning(statement, (*self._default, list(ids), self._uploads))
        planned = {}
        for bucket, key, *columns in rows:
            recording = recording_from_row(tuple(columns))
            target = None if key is None else StoredObject(bucket=bucket, key=key)
            planned[recording.id] = PlannedUpload(recording, target)
        return planned

    async def _set_several(self, results: Sequence[tuple[UUID, StoredObject]]) -> list[Recording | None]:
        ids = [recording_id for recording_id, _ in results]
        stored = [msgspec.json.encode(each).decode() for _, each in results]
        rows = await self._database.returning(_SET_STORED_OBJECTS, (ids, ids, stored))
        changed = {recording.id: recording for recording in map(recording_from_row, rows)}
        return [changed.get(recording_id) for recording_id in ids]
