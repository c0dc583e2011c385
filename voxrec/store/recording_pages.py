"""Pages of the list of Recordings, for any combination of filters and orders.

Most filters have an index that yields their Recordings by time, and need one statement. For the others (words, verdict,
duration, node, hold, and orders other than by time) it is not known which is cheaper:

- to walk: to read Recordings in the order of the list, and to check the filters. That soon fills a page with what is
  frequent, such as a common word;
- to gather: to read all that match one filter, by its index, and to sort those that match the others too. That is
  cheap for what is rare.

PostgreSQL estimates both, but it assumes that filters and orders are independent of each other, and can be wrong by
any factor. So both are tried in turns, each within a number of rows that grows from turn to turn: whichever succeeds
first costs at most a few times what the better one would have cost alone.

All words of a search together can be rare although each of them is common. What they have in common is found by
reading all index entries of each word, whose number PostgreSQL estimates well: that is the turn of the words once the
walk has cost as much.
"""

# ruff: noqa: S608 - only constants and conditions of this package are formatted into statements; values are parameters

import math
from collections.abc import Collection
from typing import Any, Final
from uuid import UUID

from voxrec.cursor import Cursor
from voxrec.errors import ListTimeout, StatementTimeout
from voxrec.model import Position, RecordingSort, SortPosition
from voxrec.postgres.database import Database
from voxrec.postgres.statement import Row
from voxrec.store.keyset import IN_INDEX_ORDER, NEWEST_FIRST, OLDEST_FIRST, Conditions
from voxrec.store.metadata_index import MetadataIndex, index_terms, tag_terms
from voxrec.store.recording_filter import DURATION, SIZE, RecordingFilter
from voxrec.store.recording_sources import (
    Source,
    column_sources,
    estimated_entries,
    preceded_by,
    rare_words,
    residual_sources,
    search_source,
    smallest_source,
    source_of_all,
    word_sources,
)

FIRST_TURN: Final = 500
"""Rows that the first turn for a short page reads; that takes about a millisecond."""
_GROWTH: Final = 4
_LAST_TURN: Final = 128_000  # beyond, PostgreSQL decides
_ENTRIES_PER_ROW: Final = 100
"""Entries of the search index that cost as much as to read and check a Recording: by time about 40, by pages 16,000."""
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
        filters = self._filters
        if filters.ids is not None:
            return await self._gather(limit, after)
        if filters.sort is RecordingSort.NEWEST and (after is None or isinstance(after, Cursor)):
            is_simple = not filters.has_residual_conditions
            terms = [*tag_terms(filters.tags), *index_terms(filters.metadata or {})]
            index = MetadataIndex(self._database, terms, filters.since, filters.until, after)
            has_alternative = not is_simple or filters.has_column_index(self._profile_ids, limit)
            term = await index.rarest_term(has_alternative=has_alternative)
            if term is not None:
                conditions = filters.conditions_for_metadata_index(self._profile_ids)
                return await index.fetch_page(term, self._columns, conditions, limit)
            if is_simple:
                conditions = filters.conditions_for_column_index(self._profile_ids, limit)
                self._add_position(conditions, after)
                statement, params = conditions.first_rows(f"SELECT {self._columns} FROM recordings", limit)
                return await self._database.query(f"{IN_INDEX_ORDER}; {statement}", params)
        return await self._take_turns(limit, after)

    async def _take_turns(self, limit: int, after: Position | None) -> list[Row]:
        """Walk and gather in turns, until a page is complete."""
        filters = self._filters
        sources = [*residual_sources(filters)]
        if not self._by_time:
            sources += column_sources(filters, self._profile_ids, limit)
        rows: list[Row] = []
        position, size, walked = after, max(FIRST_TURN, _GROWTH * limit), 0
        words: list[str] = []
        entries = math.inf
        while size <= _LAST_TURN:
            found, position = await self._walk(limit - len(rows), position, size)
            rows += found
            if position is None or len(rows) == limit:
                return rows
            if not walked:
                words = await rare_words(self._database, filters)
                sources += word_sources(filters, words)
                if len(words) > 1:
                    entries = await estimated_entries(self._database, words)
            walked += size
            if entries <= walked * _ENTRIES_PER_ROW:
                sources.append(source_of_all(filters, words))
                entries = math.inf
            if (source := await smallest_source(self._database, sources, size)) is not None:
                return await self._gather(limit, after, source)
            size *= _GROWTH
        return await self._gather(limit, after)

    async def _walk(self, limit: int, after: Position | None, size: int) -> tuple[list[Row], Position | None]:
        """Return at most ``limit`` matches among the next ``size`` rows, and the position of the last of these rows.

        The position is None if there are no further rows.
        """
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
        statement, params = candidates.first_rows(select, size, self._order(self._key))
        # The last candidate is returned in any case, which shows that there may be more.
        rows = await self._database.query(
            f"{IN_INDEX_ORDER}; SELECT {self._columns}, number, {key}, id, {checks} FROM ("
            f"SELECT *, row_number() OVER ({self._order(key)}) AS number FROM ({statement}) AS first_rows"
            f") AS recordings WHERE ({checks}) OR number = {size} {self._order(key)} LIMIT %s",
            [*checks.params, *params, *checks.params, limit],
        )
        matches = [row[:-4] for row in rows if row[-1]]
        if not rows or rows[-1][-4] != size:
            return matches, None
        return matches, self._position(rows[-1][-3], rows[-1][-2])

    def _position(self, key: Any, recording_id: UUID) -> Position:
        return Cursor(key, recording_id) if self._by_time else SortPosition(key, recording_id)

    async def _gather(self, limit: int, after: Position | None, source: Source | None = None) -> list[Row]:
        """Return the first of all matches: those of a source, or by any index that the planner chooses."""
        filters = self._filters
        conditions = filters.all_conditions(self._profile_ids)
        if source is None and filters.search is not None and filters.ids is None:
            source = search_source(filters)
        if source is not None and source.by_words and self._by_time:
            return await self._gather_by_time(source, limit, after)
        if source is not None:
            sql, params = source.ids()
            conditions.add(f"id = ANY (ARRAY({sql}))", *params)
        filters.add_search(conditions)
        self._add_position(conditions, after)
        # Not the indexed expression: its index has been walked already.
        order = self._order(self._key if self._by_time else f"({self._key} + 0)")
        statement = f"SELECT {self._columns} FROM recordings WHERE {conditions} {order} LIMIT %s"
        setting = "" if source is None else source.setting
        return await self._database.query(preceded_by(setting, statement), [*conditions.params, limit])

    async def _gather_by_time(self, source: Source, limit: int, after: Position | None) -> list[Row]:
        """Return the newest or oldest Recordings with the searched words: sorted first, then looked up one by one."""
        found, conditions = source.conditions, self._filters.all_conditions(self._profile_ids)
        found.add(f"(at, recording_id) {self._comparison} %s", after)
        self._filters.add_search(conditions)
        direction = "DESC" if self._filters.sort.descending else "ASC"
        order = f"ORDER BY at {direction}, recording_id {direction}"
        statement = (
            f"WITH found AS MATERIALIZED (SELECT at, recording_id FROM recording_search WHERE {found})"
            f" SELECT {self._columns} FROM (SELECT * FROM found {order}) AS entries"
            f" CROSS JOIN LATERAL (SELECT * FROM recordings WHERE id = recording_id AND {conditions} LIMIT 1)"
            f" AS recordings {order} LIMIT %s"
        )
        return await self._database.query(
            preceded_by(source.setting, statement), [*found.params, *conditions.params, limit]
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
