"""Repository of the notes about Recordings."""

# ruff: noqa: S608 - only names of columns are formatted into statements; values are parameters

from collections.abc import Callable, Collection
from typing import Final
from uuid import UUID

from psycopg2.errors import ForeignKeyViolation

from voxrec.cursor import Cursor
from voxrec.errors import NotFound
from voxrec.model import Note
from voxrec.postgres.database import Database
from voxrec.postgres.statement import Row
from voxrec.postgres.transaction import Transaction
from voxrec.store.columns import Columns
from voxrec.store.keyset import Conditions, fetch_page
from voxrec.store.repository import PagedTable
from voxrec.store.transaction_hook import NO_HOOK, TransactionHook

_COLUMNS: Final = Columns(Note, jsonb=frozenset())
_SELECT: Final = f"SELECT {_COLUMNS.column_list} FROM notes"
_GET: Final = f"{_SELECT} WHERE id = %s AND recording_id = %s"
_INSERT: Final = f"INSERT INTO notes ({_COLUMNS.column_list}) VALUES ({_COLUMNS.placeholders})"
_UPDATE: Final = f"UPDATE notes SET ({_COLUMNS.column_list}) = ROW ({_COLUMNS.placeholders}) WHERE id = %s"


class Notes:
    """The table of notes. Methods raise StoreUnavailable while PostgreSQL cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_recording(self, recording_id: UUID) -> "NotesOfRecording":
        """Return the notes about a Recording."""
        return NotesOfRecording(self._database, recording_id)

    async def of_recordings(self, recording_ids: Collection[UUID]) -> dict[UUID, list[Note]]:
        """Return the notes about several Recordings, the oldest first; those without notes have no key."""
        rows = await self._database.query(
            f"{_SELECT} WHERE recording_id = ANY(%s) ORDER BY created_at, id", (list(recording_ids),)
        )
        notes: dict[UUID, list[Note]] = {}
        for row in rows:
            note = _COLUMNS.from_row(row)
            notes.setdefault(note.recording_id, []).append(note)
        return notes

    async def get(self, recording_id: UUID, note_id: UUID) -> Note:
        """Return a note about a Recording. Raises NotFound."""
        return _require_found(await self._database.query(_GET, (note_id, recording_id)), recording_id, note_id)

    async def create(self, note: Note, hook: TransactionHook[Note] = NO_HOOK) -> Note:
        """Insert a note, run ``hook``, and return the note. Raises NotFound if its Recording does not exist."""

        async def work(transaction: Transaction) -> Note:
            try:
                await transaction.execute(_INSERT, _COLUMNS.params(note))
            except ForeignKeyViolation as error:
                raise NotFound(f"There is no recording {note.recording_id}.") from error
            await hook(transaction, note)
            return note

        return await self._database.transaction(work)

    async def update(
        self, recording_id: UUID, note_id: UUID, change: Callable[[Note], Note], hook: TransactionHook[Note] = NO_HOOK
    ) -> Note:
        """Replace a note by ``change(old)``, which locks it, run ``hook``, and return the note. Raises NotFound."""

        async def work(transaction: Transaction) -> Note:
            new = change(await _lock(transaction, recording_id, note_id))
            await transaction.execute(_UPDATE, (*_COLUMNS.params(new), note_id))
            await hook(transaction, new)
            return new

        return await self._database.transaction(work)

    async def delete(self, recording_id: UUID, note_id: UUID, check: Callable[[Note], None]) -> None:
        """Delete a note unless ``check`` raises. Raises NotFound."""

        async def work(transaction: Transaction) -> None:
            check(await _lock(transaction, recording_id, note_id))
            await transaction.execute("DELETE FROM notes WHERE id = %s", (note_id,))

        await self._database.transaction(work)


class NotesOfRecording(PagedTable[Note, None]):
    """The notes about one Recording."""

    _no_filters = None

    def __init__(self, database: Database, recording_id: UUID) -> None:
        super().__init__(database)
        self._recording_id = recording_id

    async def _fetch_page(self, _filters: None, limit: int, after: Cursor | None) -> list[Row]:
        conditions = Conditions()
        conditions.add("recording_id = %s", self._recording_id)
        return await fetch_page(self._database, _SELECT, conditions, limit, after)

    def _from_row(self, row: Row) -> Note:
        return _COLUMNS.from_row(row)


async def _lock(transaction: Transaction, recording_id: UUID, note_id: UUID) -> Note:
    rows = await transaction.query(f"{_GET} FOR UPDATE", (note_id, recording_id))
    return _require_found(rows, recording_id, note_id)


def _require_found(rows: list[Row], recording_id: UUID, note_id: UUID) -> Note:
    if not rows:
        raise NotFound(f"Recording {recording_id} has no note {note_id}.")
    return _COLUMNS.from_row(rows[0])
