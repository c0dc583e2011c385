"""What the database knows of objects in S3."""

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
_LOCATIONS: Final = """
    SELECT DISTINCT archive_bucket, archive_prefix FROM profiles
    WHERE archive_bucket IS NOT NULL OR archive_prefix IS NOT NULL
"""


class StoredObjects:
    """Queries for the check for objects that belong to no Recording."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def unknown_objects(self, bucket: str, objects: Mapping[str, UUID]) -> set[str]:
        """Return the keys of objects that no Recording has, or may get. ``objects`` maps keys to the ids in them."""
        if not objects:
            return set()
        rows = await self._database.query(_UNKNOWN, (list(objects), list(objects.values()), bucket))
        return {key for (key,) in rows}

    async def locations(self) -> list[tuple[str | None, str | None]]:
        """Return the buckets and prefixes of Profiles; None stands for those of the settings."""
        return [(bucket, prefix) for bucket, prefix in await self._database.query(_LOCATIONS)]
