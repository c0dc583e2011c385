"""Search of Recordings by metadata and tags, by an inverted index in the table ``recording_marks``.

Triggers insert a row with the time of the Recording for each tag and for each term of its metadata: a value and the
keys that lead to it. GIN indexes of the columns would not help, since they have no order: every page would have to sort
all matches.
"""

# ruff: noqa: S608 - only constants and conditions of this package are formatted into statements; values are parameters

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from voxrec.cursor import Cursor
from voxrec.postgres.database import Database
from voxrec.postgres.statement import Row
from voxrec.store.keyset import IN_INDEX_ORDER, Conditions

COMMON_TERM_ROWS: Final = 3000
"""A term with at least this number of Recordings is common: the index of another column is preferred."""
MAX_TERMS: Final = 4
"""Terms that are considered for the search; the rows found are compared with all of them."""


class MetadataIndex:
    """The index entries of Recordings with all ``terms``, in a range of time and after a cursor."""

    def __init__(
        self,
        database: Database,
        terms: Sequence[str],
        since: datetime | None,
        until: datetime | None,
        after: Cursor | None,
    ) -> None:
        self._database = database
        self._terms = terms[:MAX_TERMS]
        self._range = (("at >= %s", since), ("at < %s", until), ("(at, recording_id) < %s", after))

    async def rarest_term(self, *, has_alternative: bool) -> str | None:
        """Return the term with the fewest Recordings, or None if there is no term.

        With ``has_alternative``, the index of another column can be used: return None if all terms are common.
        """
        if len(self._terms) < 2 and not has_alternative:
            return next(iter(self._terms), None)
        if not self._terms:
            return None
        conditions = [self._conditions(term) for term in self._terms]
        counts = ", ".join(
            f"(SELECT count(*) FROM (SELECT FROM recording_marks WHERE {condition} ORDER BY at "
            f"LIMIT {COMMON_TERM_ROWS}) AS entries)"
            for condition in conditions
        )
        params = [param for condition in conditions for param in condition.params]
        (row,) = await self._database.query(f"{IN_INDEX_ORDER}; SELECT {counts}", params)
        count, term = min(zip(row, self._terms, strict=True))
        return None if has_alternative and count == COMMON_TERM_ROWS else term

    async def fetch_page(self, term: str, columns: str, conditions: Conditions, limit: int) -> list[Row]:
        """Return at most ``limit`` rows of Recordings with a term that meet ``conditions``, newest first."""
        entries = self._conditions(term)
        # LATERAL with LIMIT 1 makes PostgreSQL look up one row at a time, and never sort all of them.
        return await self._database.query(
            f"{IN_INDEX_ORDER}; SELECT {columns}"
            f" FROM (SELECT at, recording_id FROM recording_marks WHERE {entries}) AS entries"
            f" CROSS JOIN LATERAL (SELECT * FROM recordings WHERE id = recording_id AND {conditions} LIMIT 1)"
            " AS recordings ORDER BY at DESC, recording_id DESC LIMIT %s",
            [*entries.params, *conditions.params, limit],
        )

    def _conditions(self, term: str) -> Conditions:
        conditions = Conditions()
        conditions.add("mark = jsonb_hash_extended(%s::jsonb, 0)", term)
        for sql, value in self._range:
            conditions.add(sql, value)
        return conditions


def index_terms(metadata: Mapping[str, Any]) -> list[str]:
    """Return the terms of metadata: each value with the keys that lead to it, as a JSON array.

    Metadata that contain ``metadata`` have all of its terms; the converse nearly always holds too. Positions in arrays
    are not part of a term, since ``@>`` ignores them.
    """
    return [msgspec.json.encode(term).decode() for term in _terms((), metadata)]


def tag_terms(tags: Iterable[str]) -> list[str]:
    """Return the terms of tags, which differ from those of all metadata."""
    return [msgspec.json.encode({"tag": tag}).decode() for tag in tags]


def _terms(keys: tuple[str, ...], value: Any) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, Mapping) and (value or not keys):
        for key, item in value.items():
            yield from _terms((*keys, key), item)
    elif isinstance(value, list) and value:
        for item in value:
            yield from _terms(keys, item)
    else:
        yield (*keys, value)
