"""Pages of the list of Recordings, for any combination of filters and orders.

Most filters have an index that yields their Recordings by time, and need one statement. For the others (words, verdict,
duration, node, hold, and orders other than by time) a page is read in two steps:

1. The first PROBED Recordings in the order of the list are checked. That finds a page of what is frequent, such as a
   common word, and everything within a Profile with few Recordings.
2. If these were not enough, matches are rare in this part of the list: all of them are found by the index of the
   filter, and sorted.
"""

# ruff: noqa: S608 - only constants and conditions of this package are formatted into statements; values are parameters

from collections.abc import Collection
from typing import Final
from uuid import UUID

from voxrec.cursor import Cursor
from voxrec.errors import ListTimeout, StatementTimeout
from voxrec.model import Position, RecordingSort
from voxrec.postgres.database import Database
from voxrec.postgres.statement import Row
from voxrec.store.keyset import NEWEST_FIRST, OLDEST_FIRST, Conditions, fetch_page
from voxrec.store.metadata_index import MetadataIndex, index_terms, tag_terms
from voxrec.store.recording_filter import DURATION, SIZE, RecordingFilter

PROBED: Final = 4000
"""Recordings that are checked first; that takes some milliseconds."""
_KEYS: Final = {"createdAt": "created_at", "duration": DURATION, "size": SIZE}


class RecordingPages:
    """Reads pages with ``columns`` of the Recordings of some Profiles; None stands for all."""

    def __init__(
        self, database: Database, columns: str, filters: RecordingFilter, profile_ids: Collection[UUID] | None
    ) -> None:
        self._database = database
        self._columns = columns
        self._filters = filters
        self._profile_ids = profile_ids
        self._key = _KEYS[filters.sort.field]
        self._by_time = filters.sort.field == "createdAt"

    async def fetch(self, limit: int, after: Position | None) -> list[Row]:
        """Return at most ``limit`` rows after a position.

        Raises ListTimeout, which names the filters, if PostgreSQL does not find them in time.
        """
        try:
            return await self._fetch(limit, after)
        except StatementTimeout as error:
            raise ListTimeout(
                f"Too many recordings have to be compared for {' and '.join(self._filters.names)}. Limit the time by "
                "since and until, name a profile, or search for more of a word."
            ) from error

    async def _fetch(self, limit: int, after: Position | None) -> list[Row]:
        filters, newest_first = self._filters, self._filters.sort is RecordingSort.NEWEST
        if filters.ids is not None:
            return await self._gather(limit, after)
        is_simple = newest_first and not filters.has_residual_conditions
        terms = [*tag_terms(filters.tags), *index_terms(filters.metadata or {})]
        index_after = after if newest_first and isinstance(after, Cursor) else None
        index = MetadataIndex(self._database, terms, filters.since, filters.until, index_after)
        has_alternative = not is_simple or filters.has_column_index(self._profile_ids, limit)
        term = await index.rarest_term(has_alternative=has_alternative)
        if term is not None and newest_first:
            conditions = filters.conditions_for_metadata_index(self._profile_ids)
            return await index.fetch_page(term, self._columns, conditions, limit)
        if term is not None:
            return await self._gather(limit, after, term)
        if is_simple and (after is None or isinstance(after, Cursor)):
            conditions = filters.conditions_for_column_index(self._profile_ids, limit)
            return await fetch_page(self._database, f"SELECT {self._columns} FROM recordings", conditions, limit, after)
        rows, is_complete = await self._probe(limit, after)
        return rows if is_complete or len(rows) == limit else await self._gather(limit, after)

    async def _probe(self, limit: int, after: Position | None) -> tuple[list[Row], bool]:
        """Return matches among the first PROBED rows, and whether there are no further rows."""
        if self._by_time:
            candidates = self._filters.conditions_for_column_index(self._profile_ids, limit)
            checks = self._filters.residual_conditions()
        else:
            candidates = Conditions()
            checks = self._filters.conditions_for_metadata_index(self._profile_ids)
            checks.add("created_at >= %s", self._filters.since)
            checks.add("created_at < %s", self._filters.until)
        self._add_position(candidates, after)
        select, key = "SELECT * FROM recordings", self._key
        if not self._by_time:  # the planner knows the order of columns, not that of expressions
            select, key = f"SELECT *, {self._key} AS sort_key FROM recordings", "sort_key"
        statement, params = candidates.first_rows(select, PROBED, self._order(self._key))
        # The last candidate is returned in any case, which shows that there may be more.
        rows = await self._database.query(
            f"SELECT {self._columns}, number, {checks} FROM ("
            f"SELECT *, row_number() OVER ({self._order(key)}) AS number FROM ({statement}) AS first_rows"
            f") AS recordings WHERE ({checks}) OR number = {PROBED} {self._order(key)} LIMIT %s",
            [*checks.params, *params, *checks.params, limit],
        )
        return [row[:-2] for row in rows if row[-1]], all(row[-2] != PROBED for row in rows)

    async def _gather(self, limit: int, after: Position | None, term: str | None = None) -> list[Row]:
        """Return the first of all matches. ``term`` is one of few Recordings, see `MetadataIndex`."""
        conditions = self._filters.all_conditions(self._profile_ids)
        if term is not None:
            conditions.add(
                "id = ANY (ARRAY(SELECT recording_id FROM recording_marks "
                "WHERE mark = jsonb_hash_extended(%s::jsonb, 0)))",
                term,
            )
        elif self._filters.search is not None and self._by_time and self._filters.ids is None:
            return await self._gather_by_time(conditions, limit, after)
        if self._filters.search is not None:
            conditions.add(
                "id = ANY (ARRAY(SELECT recording_id FROM recording_search WHERE document @@ voxrec_search_query(%s)))",
                self._filters.search,
            )
        self._add_position(conditions, after)
        # Not the indexed expression: its index has been probed already.
        order = self._order(self._key if self._by_time else f"({self._key} + 0)")
        return await self._database.query(
            f"SELECT {self._columns} FROM recordings WHERE {conditions} {order} LIMIT %s", [*conditions.params, limit]
        )

    async def _gather_by_time(self, conditions: Conditions, limit: int, after: Position | None) -> list[Row]:
        """Return the newest or oldest Recordings with the searched words: sorted first, then looked up one by one."""
        found = Conditions()
        found.add("document @@ voxrec_search_query(%s)", self._filters.search)
        found.add("at >= %s", self._filters.since)
        found.add("at < %s", self._filters.until)
        found.add(f"(at, recording_id) {self._comparison} %s", after)
        direction = "DESC" if self._filters.sort.descending else "ASC"
        order = f"ORDER BY at {direction}, recording_id {direction}"
        return await self._database.query(
            f"WITH found AS MATERIALIZED (SELECT at, recording_id FROM recording_search WHERE {found})"
            f" SELECT {self._columns} FROM (SELECT * FROM found {order}) AS entries"
            f" CROSS JOIN LATERAL (SELECT * FROM recordings WHERE id = recording_id AND {conditions} LIMIT 1)"
            f" AS recordings {order} LIMIT %s",
            [*found.params, *conditions.params, limit],
        )

    def _add_position(self, conditions: Conditions, after: Position | None) -> None:
        conditions.add(f"({self._key}, id) {self._comparison} %s", after)

    @property
    def _comparison(self) -> str:
        return "<" if self._filters.sort.descending else ">"

    def _order(self, key: str) -> str:
        if self._by_time:
            return NEWEST_FIRST if self._filters.sort.descending else OLDEST_FIRST
        direction = "DESC" if self._filters.sort.descending else "ASC"
        return f"ORDER BY {key} {direction}, id {direction}"
