"""The indexes by which Recordings that match one filter of a list can be found, if these are few."""

# ruff: noqa: S608 - only constants and conditions of this package are formatted into statements; values are parameters

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Final
from uuid import UUID

from voxrec.model import VerdictFilter
from voxrec.postgres.database import Database
from voxrec.store.keyset import IN_INDEX_ORDER, NEWEST_FIRST, Conditions
from voxrec.store.metadata_index import MAX_TERMS, index_terms, tag_terms
from voxrec.store.recording_filter import DURATION, USE_TIME_INDEX, VERDICTS, RecordingFilter, are_few

_SELECT_ID: Final = "SELECT id FROM recordings"


@dataclass(frozen=True, slots=True)
class Source:
    """The ids of the Recordings that match one filter, from its index.

    ``order`` is that of the index, where PostgreSQL might otherwise read the whole table: it assumes that matches are
    spread evenly. ``by_words``: the filter is a part of the search, and the time is the column ``at``.
    """

    select: str
    conditions: Conditions
    order: str = ""
    by_words: bool = False

    def ids(self, limit: int | None = None) -> tuple[str, list[object]]:
        """Return a statement for all ids, or at most ``limit`` of them, and its parameters."""
        sql = f"{self.select} WHERE {self.conditions}"
        return sql if limit is None else f"{sql} {self.order} LIMIT {limit}", self.conditions.params


async def smallest_source(database: Database, sources: Sequence[Source], limit: int) -> Source | None:
    """Return the source with the fewest ids, or None if each has ``limit`` or more. Counts no further than that."""
    counted = [
        *await _count(database, IN_INDEX_ORDER, [source for source in sources if not source.by_words], limit),
        *await _count(database, "", [source for source in sources if source.by_words], limit),  # has no order
    ]
    count, source = min(counted, key=itemgetter(0), default=(limit, None))
    return source if count < limit else None


async def _count(
    database: Database, setting: str, sources: Sequence[Source], limit: int
) -> Iterator[tuple[int, Source]]:
    """Return at most ``limit`` as the number of ids of each source."""
    if not sources:
        return iter(())
    statements = [source.ids(limit) for source in sources]
    counts = ", ".join(f"(SELECT count(*) FROM ({sql}) AS entries)" for sql, _ in statements)
    params = [param for _, params in statements for param in params]
    (row,) = await database.query(f"{setting}{'; ' if setting else ''}SELECT {counts}", params)
    return zip(row, sources, strict=True)


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


async def word_sources(database: Database, filters: RecordingFilter) -> list[Source]:
    """Return a source for each word and number of the search, at most MAX_TERMS: the longest ones, which are rare.

    Together they would be fewer ids, but PostgreSQL would read the entries of all of them: of a common word, those of
    nearly all Recordings.
    """
    if filters.search is None:
        return []
    rows = await database.query(
        "SELECT condition::text FROM voxrec_search_conditions(%s) AS condition", (filters.search,)
    )
    conditions = sorted({condition: None for (condition,) in rows}, key=len, reverse=True)
    return [_by_words(filters, "%s::tsquery", condition) for condition in conditions[:MAX_TERMS]]


def search_source(filters: RecordingFilter) -> Source:
    """Return the source of all words and numbers of the search."""
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


def _by_words(filters: RecordingFilter, query: str, text: str | None) -> Source:
    conditions = _times(filters, "at")
    conditions.add(f"document @@ {query}", text)
    return Source("SELECT recording_id FROM recording_search", conditions, by_words=True)


def _times(filters: RecordingFilter, column: str) -> Conditions:
    conditions = Conditions()
    conditions.add(f"{column} >= %s", filters.since)
    conditions.add(f"{column} < %s", filters.until)
    return conditions
