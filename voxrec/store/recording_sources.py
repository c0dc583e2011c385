"""The indexes by which Recordings that match one filter of a list can be found, if these are few."""

# ruff: noqa: S608 - only constants and conditions of this package are formatted into statements; values are parameters

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Final
from uuid import UUID

from voxrec.model import VerdictFilter
from voxrec.postgres.database import Database
from voxrec.store.keyset import IN_INDEX_ORDER, NEWEST_FIRST, Conditions
from voxrec.store.metadata_index import MAX_TERMS, index_terms, tag_terms
from voxrec.store.recording_filter import DURATION, USE_TIME_INDEX, VERDICTS, RecordingFilter, are_few

_SELECT_ID: Final = "SELECT id FROM recordings"
_BY_INDEX: Final = "SET LOCAL enable_seqscan = off"
"""Precedes a statement that looks for several words at once.

PostgreSQL assumes that words are independent. If they rarely occur together, it would expect to find some soon, and
would read the whole table.
"""


@dataclass(frozen=True, slots=True)
class Source:
    """The ids of the Recordings that match one filter, from its index.

    ``order`` is that of the index, where PostgreSQL might otherwise read the whole table: it assumes that matches are
    spread evenly. ``by_words``: the filter is a part of the search, and the time is the column ``at``. ``setting``
    precedes statements with the source, so that its index is used.
    """

    select: str
    conditions: Conditions
    order: str = ""
    by_words: bool = False
    setting: str = ""

    def ids(self, limit: int | None = None) -> tuple[str, list[object]]:
        """Return a statement for all ids, or at most ``limit`` of them, and its parameters."""
        sql = f"{self.select} WHERE {self.conditions}"
        return sql if limit is None else f"{sql} {self.order} LIMIT {limit}", self.conditions.params


async def smallest_source(database: Database, sources: Sequence[Source], limit: int) -> Source | None:
    """Return the source with the fewest ids, or None if each has ``limit`` or more. Counts no further than that."""
    counted: list[tuple[int, Source]] = []
    for by_words, setting in sorted({(source.by_words, source.setting) for source in sources}):
        group = [source for source in sources if (source.by_words, source.setting) == (by_words, setting)]
        counted += await _count(database, setting if by_words else IN_INDEX_ORDER, group, limit)  # words have no order
    count, source = min(counted, key=itemgetter(0), default=(limit, None))
    return source if count < limit else None


async def _count(
    database: Database, setting: str, sources: Sequence[Source], limit: int
) -> Iterator[tuple[int, Source]]:
    """Return at most ``limit`` as the number of ids of each source."""
    statements = [source.ids(limit) for source in sources]
    counts = ", ".join(f"(SELECT count(*) FROM ({sql}) AS entries)" for sql, _ in statements)
    params = [param for _, params in statements for param in params]
    (row,) = await database.query(preceded_by(setting, f"SELECT {counts}"), params)
    return zip(row, sources, strict=True)


def preceded_by(setting: str, statement: str) -> str:
    """Return a statement with a setting that applies only to it; an empty one is none."""
    return f"{setting}; {statement}" if setting else statement


def residual_sources(filters: RecordingFilter) -> Iterator[Source]:
    """Return the sources of the filters by node, verdict, legal hold and duration, and of tags and metadata."""
    if filters.node is not None:
        yield _by_time(filters, "node = %s", filters.node)
    if filters.verdict is VerdictFilter.PROBLEM:
        yield _by_time(filters, VERDICTS[VerdictFilter.PROBLEM])
    if filters.legal_hold:
        yield _by_time(filters, "legal_hold")
    if filters.min_duration is not None or filters.max_duration is not None:
        conditions = Conditions()
        conditions.add(f"{DURATION} >= %s", filters.min_duration or 0)
        conditions.add(f"{DURATION} <= %s", filters.max_duration)
        yield Source(_SELECT_ID, conditions, f"ORDER BY {DURATION}, id")
    for term in (*tag_terms(filters.tags), *index_terms(filters.metadata or {}))[:MAX_TERMS]:
        conditions = _times(filters, "at")
        conditions.add("mark = jsonb_hash_extended(%s::jsonb, 0)", term)
        yield Source("SELECT recording_id FROM recording_marks", conditions, "ORDER BY at DESC")


async def rare_words(database: Database, filters: RecordingFilter) -> list[str]:
    """Return queries for words and numbers of the search, at most MAX_TERMS: the longest ones, which are rare."""
    if filters.search is None:
        return []
    rows = await database.query(
        "SELECT condition::text FROM voxrec_search_conditions(%s) AS condition", (filters.search,)
    )
    return sorted({condition: None for (condition,) in rows}, key=len, reverse=True)[:MAX_TERMS]


def word_sources(filters: RecordingFilter, words: Sequence[str]) -> Iterator[Source]:
    """Return a source for each of some words."""
    for word in words:
        yield _by_words(filters, "%s::tsquery", word)


def source_of_all(filters: RecordingFilter, words: Sequence[str]) -> Source:
    """Return the source of the Recordings that have all of some words.

    These are fewer ids than those of each word, but PostgreSQL reads the index entries of all of them.
    """
    return replace(_by_words(filters, " && ".join(["%s::tsquery"] * len(words)), *words), setting=_BY_INDEX)


async def estimated_entries(database: Database, words: Sequence[str]) -> float:
    """Return how many index entries some words have together, as PostgreSQL estimates from its statistics."""
    selects = ["SELECT FROM recording_search WHERE document @@ %s::tsquery"] * len(words)
    ((plans,),) = await database.query(f"EXPLAIN (FORMAT JSON) {' UNION ALL '.join(selects)}", words)
    rows: float = plans[0]["Plan"]["Plan Rows"]
    return rows


def search_source(filters: RecordingFilter) -> Source:
    """Return the source of the whole search."""
    return _by_words(filters, "voxrec_search_query(%s)", filters.search)


def column_sources(filters: RecordingFilter, profile_ids: Collection[UUID] | None, limit: int) -> Iterator[Source]:
    """Return the sources of the filters by Profile, state, party and time. They do not help a list by time."""
    if profile_ids is not None and are_few(profile_ids, limit):
        conditions = Conditions()
        conditions.add("profile_id = ANY(%s)", list(profile_ids))
        yield Source(_SELECT_ID, conditions, "ORDER BY profile_id")
    if filters.only_rare_states:
        conditions = Conditions()
        conditions.add("state <> 'completed' AND state = ANY(%s)", filters.state_names)
        yield Source(_SELECT_ID, conditions, "ORDER BY state")
    for column, number in (("from", filters.from_), ("to", filters.to)):
        if number is not None:
            yield _by_time(filters, f'"{column}" = %s', number)
    if filters.since is not None or filters.until is not None:
        yield _by_time(filters, USE_TIME_INDEX)


def _by_time(filters: RecordingFilter, condition: str, *values: object) -> Source:
    """Return the source of a condition with an index that yields its Recordings by time."""
    conditions = _times(filters, "created_at")
    conditions.add(condition, *values)
    return Source(_SELECT_ID, conditions, NEWEST_FIRST)


def _by_words(filters: RecordingFilter, query: str, *texts: str | None) -> Source:
    conditions = _times(filters, "at")
    conditions.add(f"document @@ ({query})", *texts)
    return Source("SELECT recording_id FROM recording_search", conditions, by_words=True)


def _times(filters: RecordingFilter, column: str) -> Conditions:
    conditions = Conditions()
    conditions.add(f"{column} >= %s", filters.since)
    conditions.add(f"{column} < %s", filters.until)
    return conditions
