"""What the database knows of objects in S3, and where those of each Profile are stored."""

# ruff: noqa: S608 - only constant expressions are formatted into statements; values are parameters

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from voxrec.postgres.database import Database

_UNKNOWN: Final = """
    SELECT file.key FROM unnest(%s::text[], %s::uuid[]) AS file (key, id)
    WHERE NOT EXISTS (
        SELECT FROM recordings
        WHERE id = file.id AND stored_object ->> 'key' = file.key AND stored_object ->> 'bucket' = %s
    ) AND NOT EXISTS (
        SELECT FROM jobs WHERE recording_id = file.id AND kind IN ('erase', 'upload') AND done_at IS NULL
    )
"""
PLACE: Final = """
    coalesce(profiles.archive_bucket, %s::text) AS target_bucket,
    coalesce(profiles.archive_prefix, %s::text) AS target_prefix
"""
"""The select list for the bucket of a Profile's Recordings, and the beginning of their keys.

Its parameters are those of Profiles that have no others, and of Recordings whose Profile was deleted.
"""
_PLACES: Final = f"SELECT DISTINCT {PLACE} FROM profiles"
_PLACE_OF: Final = f"SELECT {PLACE} FROM (SELECT) AS default_place LEFT JOIN profiles ON profiles.id = %s"


class StoredObjects:
    """Queries about objects. ``bucket`` and ``prefix`` apply to Profiles that have no others."""

    def __init__(self, database: Database, bucket: str, prefix: str) -> None:
        self._database = database
        self._default = (bucket, prefix)

    async def unknown_objects(self, bucket: str, objects: Mapping[str, UUID]) -> set[str]:
        """Return the keys of objects that no Recording has, or may get. ``objects`` maps keys to the ids in them."""
        if not objects:
            return set()
        rows = await self._database.query(_UNKNOWN, (list(objects), list(objects.values()), bucket))
        return {key for (key,) in rows}

    async def places(self) -> set[tuple[str, str]]:
        """Return the buckets of Recordings, each with a prefix of their keys."""
        rows = await self._database.query(_PLACES, self._default)
        return {self._default} | {(bucket, prefix) for bucket, prefix in rows}

    async def place_of(self, profile_id: UUID) -> tuple[str, str]:
        """Return the bucket and the prefix of a Profile's Recordings."""
        ((bucket, prefix),) = await self._database.query(_PLACE_OF, (*self._default, profile_id))
        return bucket, prefix
