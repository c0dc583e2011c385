"""Recordings: what the calls say, what came of it, and what users add. None of them overwrites another."""

# ruff: noqa: S608 - what is put into the statements are names of columns, all our own; values are parameters

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from voxrec.cursor import Cursor
from voxrec.errors import Conflict, FieldError, NotFound
from voxrec.model import Job, JobKind, JobState, Recording, RecordingState
from voxrec.postgres.pool import Pool
from voxrec.postgres.statement import PreparedStatement, Row
from voxrec.postgres.transaction import Transaction
from voxrec.store.columns import Columns
from voxrec.store.jobs import JOB_COLUMNS, enqueue_erase, job_from_row
from voxrec.store.keyset import Conditions, iterate_pages, newest
from voxrec.store.metadata_index import MetadataIndex
from voxrec.store.transaction_hook import NO_HOOK, TransactionHook

_JSONB: Final = frozenset({"timeline", "verdict", "metadata"})
_COLUMNS: Final = Columns(Recording, jsonb=_JSONB)
_SELECT: Final = f"SELECT {_COLUMNS.listed} FROM recordings"
_GET: Final = PreparedStatement(f"{_SELECT} WHERE id = %s")
_INSERT: Final = f"""
    INSERT INTO recordings ({_COLUMNS.listed}) VALUES ({_COLUMNS.placeholders}) ON CONFLICT (id) DO NOTHING
    RETURNING {_COLUMNS.listed}
"""
_UPDATE: Final = f"""
    UPDATE recordings SET ({_COLUMNS.listed}) = ROW ({_COLUMNS.placeholders}) WHERE id = %s
    RETURNING {_COLUMNS.listed}
"""
# Once FINISH is owed the call has said its last word, even where the row was deleted since. Before that, a later
# snapshot goes before an earlier one, and the end of the call before all, whatever the clock did meanwhile.
_RECORD: Final = PreparedStatement(f"""
    WITH told AS (
        INSERT INTO recordings AS old ({_COLUMNS.listed}, snapshot_at)
        SELECT {_COLUMNS.listed}, updated_at FROM jsonb_populate_recordset(NULL::recordings, %s) AS said
        WHERE NOT EXISTS (SELECT FROM jobs WHERE recording_id = said.id AND kind = 'finish')
        ON CONFLICT (id) DO UPDATE
        SET {_COLUMNS.excluded(keep=frozenset({"id", "metadata", "legal_hold", "created_at", "updated_at"}))},
            updated_at = greatest(old.updated_at, excluded.updated_at),
            snapshot_at = greatest(old.snapshot_at, excluded.snapshot_at)
        WHERE old.state IN ('pending', 'recording', 'paused')
          AND (old.snapshot_at IS NULL
               OR old.snapshot_at <= excluded.snapshot_at
               OR excluded.state NOT IN ('pending', 'recording', 'paused'))
        RETURNING id, state
    ), ended AS (
        SELECT id, (row_number() OVER () <= %s)::integer AS claims FROM told WHERE state = 'processing'
    )
    INSERT INTO jobs (kind, recording_id, attempts, claims, leased_until)
    SELECT 'finish', id, claims, claims, CASE claims WHEN 1 THEN now() + %s::interval END FROM ended
    ON CONFLICT DO NOTHING
    RETURNING {JOB_COLUMNS}
""")
# What came of it; the rest is the users', or never changes.
_RESULT: Final = Columns(
    Recording,
    jsonb=_JSONB,
    elsewhere=frozenset({"id", "metadata", "legal_hold", "created_at", "updated_at"}),
)
# Whose Profile has no address is mailed to nobody; of a Profile that is gone the job has to say so.
_SETTLE: Final = PreparedStatement(f"""
    WITH settled AS (
        UPDATE recordings AS old
        SET ({_RESULT.listed}) = ROW ({_RESULT.placeholders}), updated_at = greatest(old.updated_at, %s)
        WHERE id = %s
        RETURNING id, profile_id
    ), owed AS (
        INSERT INTO jobs (kind, recording_id) SELECT kind, id FROM settled CROSS JOIN unnest(%s::text[]) AS kind
        WHERE kind <> 'mail'
           OR NOT EXISTS (SELECT FROM profiles WHERE id = settled.profile_id AND coalesce(email, '') = '')
        ON CONFLICT DO NOTHING
    )
    SELECT id FROM settled
""")

_NOT_TO_BE_ERASED: Final = """
    NOT EXISTS (SELECT FROM jobs WHERE recording_id = file.id AND kind = 'erase' AND done_at IS NULL)
"""
_UNCLAIMED: Final = f"""
    SELECT file.path FROM unnest(%s::text[], %s::uuid[]) AS file (path, id)
    WHERE NOT EXISTS (
        SELECT FROM recordings
        WHERE id = file.id AND (path = file.path OR state NOT IN ('completed', 'failed', 'absent'))
    ) AND {_NOT_TO_BE_ERASED}
"""
_UNKNOWN: Final = f"""
    SELECT file.id FROM unnest(%s::uuid[]) AS file (id)
    WHERE NOT EXISTS (SELECT FROM recordings WHERE id = file.id) AND {_NOT_TO_BE_ERASED}
"""
# True of every row, and in the definition of the index of all by time: PostgreSQL goes through that one only where this
# is asked for. Otherwise it would take what is looked for as spread evenly over time, and pass by millions of rows
# where it lies far back.
_THROUGH_ALL: Final = "channels > 0"
_LOOKED_AT: Final = 10_000  # entries of the Profiles' index for one page, which take some milliseconds


@dataclass(frozen=True, kw_only=True)
class RecordingFilter:
    """Which Recordings are wanted: all where nothing is given.

    ``since`` (from it on) and ``until`` (before it) are about ``created_at``; ``metadata`` has to be contained.
    """

    profile_id: UUID | None = None
    states: Collection[RecordingState] = ()
    from_: str | None = None
    to: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    metadata: Mapping[str, Any] | None = None

    def by_index(self, profile_ids: Collection[UUID] | None, limit: int) -> Conditions:
        """The same, for PostgreSQL, of these Profiles (None: all), to go through the index of one of the columns."""
        where = self._plain()
        if profile_ids is not None and _few(profile_ids, limit):
            where.among("profile_id", profile_ids, "uuid")
        elif profile_ids is not None:
            where.add("profile_id = ANY(%s)", list(profile_ids))
        if self._rare_states:
            where.add("state <> 'completed'")  # as the indexes say it
            where.among("state", self._states, "text")
        else:
            where.add("state = ANY(%s)", self._states or None)
        where.add("created_at >= %s", self.since)
        where.add("created_at < %s", self.until)
        if not self.has_index(profile_ids, limit):
            where.add(_THROUGH_ALL)
        return where

    def by_mark(self, profile_ids: Collection[UUID] | None) -> Conditions:
        """The same, where the rows are found by what is in their metadata."""
        where = self._plain()
        where.add("profile_id = ANY(%s)", None if profile_ids is None else list(profile_ids))
        where.add("state = ANY(%s)", self._states or None)
        return where

    def has_index(self, profile_ids: Collection[UUID] | None, limit: int) -> bool:
        """Whether one of the columns that it asks for has an index, and not the time alone."""
        of_profiles = profile_ids is not None and _few(profile_ids, limit)
        return bool(of_profiles or self.from_ or self.to or self._rare_states)

    @property
    def _states(self) -> list[str]:
        return [state.value for state in self.states]

    @property
    def _rare_states(self) -> bool:
        return bool(self.states) and RecordingState.COMPLETED not in self.states

    def _plain(self) -> Conditions:
        where = Conditions()
        where.add('"from" = %s', self.from_)
        where.add('"to" = %s', self.to)
        if self.metadata:
            # in a CASE, because what PostgreSQL guesses about @> would lead it astray
            contained = msgspec.json.encode(self.metadata).decode()
            where.add("CASE WHEN metadata @> %s::jsonb THEN TRUE END", contained)
        return where


def _few(profile_ids: Collection[UUID], limit: int) -> bool:
    """Whether it pays to look into each; the Recordings of many Profiles are spread over all time."""
    return len(profile_ids) * limit <= _LOOKED_AT


ALL_RECORDINGS: Final = RecordingFilter()


def _unchecked(_: Recording) -> None:
    """Nothing stands against it."""


class Recordings:
    """The Recordings in PostgreSQL. Everything raises StoreUnavailable while it does not answer.

    ``only`` are the Profiles whose Recordings there are, as far as this store goes; None: all.
    """

    def __init__(self, pool: Pool, only: frozenset[UUID] | None = None) -> None:
        self._pool = pool
        self._only = only

    def scoped_to(self, profile_ids: frozenset[UUID] | None) -> "Recordings":
        """The same store, as if there were Recordings of no other Profiles than these; None: of all of them.

        What users do is limited by it; what a call says of its Recording is not.
        """
        return self if profile_ids is None else Recordings(self._pool, profile_ids)

    def _within(self, recording: Recording) -> Recording:
        if self._only is not None and recording.profile_id not in self._only:
            raise _no_recording(recording.id)
        return recording

    async def get_many(self, recording_ids: Collection[UUID]) -> list[Recording]:
        """Those of the given Recordings that exist, in no particular order."""
        rows = await self._pool.query(f"{_SELECT} WHERE id = ANY(%s)", (list(recording_ids),))
        return [_COLUMNS.struct(row) for row in rows]

    async def get(self, recording_id: UUID) -> Recording:
        """One Recording. NotFound."""
        rows = await self._pool.query(_GET, (recording_id,))
        return self._within(_only(rows, recording_id))

    def pages(self, wanted: RecordingFilter = ALL_RECORDINGS, size: int = 500) -> AsyncIterator[list[Recording]]:
        """Every wanted Recording, newest first, ``size`` of them at a time."""
        return iterate_pages(lambda after: self.page(wanted, size, after), size)

    async def page(
        self, wanted: RecordingFilter = ALL_RECORDINGS, limit: int = 500, after: Cursor | None = None
    ) -> list[Recording]:
        """At most ``limit`` of the wanted Recordings, newest first, from behind ``after`` on."""
        profile_ids = self._profile_ids(wanted)
        if profile_ids is not None and not profile_ids:
            return []
        marks = MetadataIndex(self._pool, wanted.metadata or {}, wanted.since, wanted.until, after)
        mark = await marks.leading(wanted.has_index(profile_ids, limit))
        if mark is not None:
            rows = await marks.newest(mark, _COLUMNS.listed, wanted.by_mark(profile_ids), limit)
        else:
            rows = await newest(self._pool, _SELECT, wanted.by_index(profile_ids, limit), limit, after)
        return [_COLUMNS.struct(row) for row in rows]

    def _profile_ids(self, wanted: RecordingFilter) -> frozenset[UUID] | None:
        if wanted.profile_id is None:
            return self._only
        return frozenset([wanted.profile_id]) & (self._only if self._only is not None else {wanted.profile_id})

    async def expired(self, now: datetime, limit: int = 500) -> list[Recording]:
        """Those whose time is over and that no legal hold keeps, the longest overdue first."""
        rows = await self._pool.query(
            f"{_SELECT} WHERE expires_at <= %s AND NOT legal_hold ORDER BY expires_at LIMIT %s", (now, limit)
        )
        return [_COLUMNS.struct(row) for row in rows]

    async def unreferenced_paths(self, files: Mapping[str, UUID]) -> list[str]:
        """Which of these paths in the archive, each with the Recording it is named after, nobody knows any more.

        Known is what a Recording says is its audio, what may become that, and what is still to be erased.
        """
        rows = await self._pool.query(_UNCLAIMED, (list(files), list(files.values())))
        return [path for (path,) in rows]

    async def missing_ids(self, recording_ids: Collection[UUID]) -> set[UUID]:
        """Which of these are no Recordings, nor such as were deleted and still have files to be erased."""
        rows = await self._pool.query(_UNKNOWN, (list(recording_ids),))
        return {recording_id for (recording_id,) in rows}

    async def create(self, recording: Recording, hook: TransactionHook[Recording] = NO_HOOK) -> Recording:
        """Add one that no call has said anything about yet, and do ``hook``. Conflict where its id is in use."""
        self._within(recording)

        async def work(transaction: Transaction) -> Recording:
            if not (rows := await transaction.query(_INSERT, _COLUMNS.values(recording))):
                fault = FieldError("id", f"{recording.id} is in use by another recording")
                raise Conflict("The recording collides with another one.", [fault])
            stored = _COLUMNS.struct(rows[0])
            await hook(transaction, stored)
            return stored

        return await self._pool.transaction(work)

    async def update(self, recording_id: UUID, change: Callable[[Recording], Recording]) -> Recording:
        """Put what ``change`` makes of it in the place of a Recording; nobody else changes it meanwhile.

        Where ``change`` raises, nothing is written. The id and the time of creation stay. NotFound.
        """
        return await self._pool.transaction(
            lambda transaction: _change(transaction, recording_id, lambda current: change(self._within(current)))
        )

    async def update_async(self, recording_id: UUID, bring: Callable[[Recording], Awaitable[Recording]]) -> Recording:
        """As `update`, where what takes the Recording's place takes its time: nobody else changes it meanwhile.

        It holds one of the pool's connections until ``bring`` is done.
        """

        async def work(transaction: Transaction) -> Recording:
            brought = await bring(self._within(await _locked(transaction, recording_id)))
            return await _change(transaction, recording_id, lambda _: brought)

        return await self._pool.transaction(work)

    async def delete(self, recording_id: UUID, check: Callable[[Recording], None] = _unchecked) -> None:
        """Remove one, unless ``check`` raises; from then on it is owed that its files go too. NotFound."""

        async def work(transaction: Transaction) -> None:
            old = self._within(await _locked(transaction, recording_id))
            check(old)
            await transaction.execute("DELETE FROM recordings WHERE id = %s", (recording_id,))
            await enqueue_erase(transaction, recording_id, old.path)

        await self._pool.transaction(work)

    async def record(
        self, *snapshots: Recording, claim_limit: int = 0, lease: timedelta = timedelta(minutes=1)
    ) -> list[Job]:
        """Take what calls say of their Recordings, a snapshot of each; with PROCESSING, FINISH is owed from then on.

        All of them or none. Saying one again, or something older, changes nothing; nor does anything once the call has
        ended. ``metadata`` and ``legal_hold`` count where the Recording is new, then they are the users'.

        Whoever has ``room`` for so many jobs has them claimed, for ``lease``, of those that are new, and given back.
        """
        rows = await self._pool.returning(_RECORD, (_COLUMNS.json(snapshots), claim_limit, lease))
        return [job for row in rows if (job := job_from_row(row)).state is JobState.RUNNING]

    async def complete(self, recording: Recording, follow_up: Sequence[JobKind] = ()) -> None:
        """Write down what came of a Recording, and owe what follows. NotFound.

        ``metadata`` and ``legal_hold`` stay as users have set them meanwhile. MAIL is owed only where the Profile has
        an address.
        """
        kinds = [kind.value for kind in follow_up]
        params = (*_RESULT.values(recording), recording.updated_at, recording.id, kinds)
        if not await self._pool.returning(_SETTLE, params):
            raise _no_recording(recording.id)


async def _change(transaction: Transaction, recording_id: UUID, change: Callable[[Recording], Recording]) -> Recording:
    old = await _locked(transaction, recording_id)
    new = msgspec.structs.replace(change(old), id=old.id, created_at=old.created_at)
    # as it is stored, which for jsonb need not be as it was given: 1e2 becomes 100
    return _only(await transaction.query(_UPDATE, (*_COLUMNS.values(new), old.id)), old.id)


async def _locked(transaction: Transaction, recording_id: UUID) -> Recording:
    return _only(await transaction.query(f"{_SELECT} WHERE id = %s FOR UPDATE", (recording_id,)), recording_id)


def _only(rows: list[Row], recording_id: UUID) -> Recording:
    if not rows:
        raise _no_recording(recording_id)
    return _COLUMNS.struct(rows[0])


def _no_recording(recording_id: UUID) -> NotFound:
    return NotFound(f"There is no recording {recording_id}.")
