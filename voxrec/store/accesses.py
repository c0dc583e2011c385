"""Accesses to the audio of Recordings: entries of the audit log, which outlive the Recordings."""

# ruff: noqa: S608 - only names of columns are formatted into statements; values are parameters

from typing import Final
from uuid import UUID

import msgspec

from voxrec.cursor import Cursor
from voxrec.model import AccessPurpose, AuditEntry, RecordingAccess
from voxrec.postgres.database import Database
from voxrec.postgres.statement import Row
from voxrec.store.audit import INSERT_ENTRY, entry_params
from voxrec.store.keyset import Conditions, fetch_page
from voxrec.store.repository import PagedTable

# Entries of opened links that an earlier version has stored have no "access".
_IS_ACCESS: Final = "(access IS NOT NULL OR (kind = 'recording link' AND user_agent IS NOT NULL))"
_SELECT: Final = f"""
    SELECT id, created_at, coalesce(access, '{AccessPurpose.LINK}'), who, user_id, token_id, path, address, user_agent
    FROM audit
"""


class Accesses:
    """The accesses to audio. Methods raise StoreUnavailable while PostgreSQL cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, entry: AuditEntry) -> None:
        """Insert the entry of an access, unless there is one with this id."""
        await self._database.execute(f"{INSERT_ENTRY} ON CONFLICT (id) DO NOTHING", entry_params(entry))

    def of_recording(self, recording_id: UUID) -> "AccessesOfRecording":
        """Return the accesses to the audio of a Recording."""
        return AccessesOfRecording(self._database, recording_id)


class AccessesOfRecording(PagedTable[RecordingAccess, None]):
    """The accesses to the audio of one Recording."""

    _no_filters = None

    def __init__(self, database: Database, recording_id: UUID) -> None:
        super().__init__(database)
        self._recording_id = recording_id

    async def _fetch_page(self, _filters: None, limit: int, after: Cursor | None) -> list[Row]:
        conditions = Conditions()
        conditions.add(f"{_IS_ACCESS} AND target_id = %s", self._recording_id)
        return await fetch_page(self._database, _SELECT, conditions, limit, after)

    def _from_row(self, row: Row) -> RecordingAccess:
        id_, created_at, purpose, who, user_id, token_id, path, address, user_agent = row
        return msgspec.convert(
            {
                "id": id_,
                "createdAt": created_at,
                "purpose": purpose,
                "who": who,
                "userId": user_id,
                "tokenId": token_id,
                "linkId": path.rpartition("/")[2] if purpose == AccessPurpose.LINK else None,
                "address": address,
                "userAgent": user_agent or "",
            },
            RecordingAccess,
        )
