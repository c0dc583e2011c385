"""Recordings by what is in their metadata: each value there has left a mark, and those are in the order of time.

An index of the metadata themselves (GIN) knows no order: it gives all rows that contain something, to be sorted for
each page.
"""

# ruff: noqa: S608 - what is put into the statements is our own; values are parameters

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from voxrec.cursor import Cursor
from voxrec.postgres.database import Database
from voxrec.postgres.statement import Row
from voxrec.store.keyset import Conditions

MANY: Final = 3000
"""So many rows of a value are looked through rather than those of an index of another column."""
_CONSIDERED: Final = 4  # values of those that are looked for; the others are only compared


class MetadataIndex:
    """The Recordings whose metadata contain ``wanted``, of a span of time and behind ``after``."""

    def __init__(
        self,
        database: Database,
        wanted: Mapping[str, Any],
        since: datetime | None,
        until: datetime | None,
        after: Cursor | None,
    ) -> None:
        self._database = database
        self._marks = marks_of(wanted)[:_CONSIDERED]
        self._times = (("at >= %s", since), ("at < %s", until), ("(at, recording_id) < %s", after))

    async def leading(self, otherwise: bool) -> str | None:
        """The mark to go by, which is the rarest.

        None where there is none, or where there are many of each and an index to go by ``otherwise``.
        """
        if len(self._marks) < 2 and not otherwise:
            return next(iter(self._marks), None)
        if not self._marks:
            return None
        found = [self._where(mark) for mark in self._marks]
        counts = ", ".join(
            f"(SELECT count(*) FROM (SELECT FROM recording_marks WHERE {where} ORDER BY at LIMIT {MANY}) AS seen)"
            for where in found
        )
        (row,) = await self._database.query(f"SELECT {counts}", [each for where in found for each in where.params])
        count, mark = min(zip(row, self._marks, strict=True))
        return None if otherwise and count == MANY else mark

    async def newest(self, mark: str, columns: str, where: Conditions, limit: int) -> list[Row]:
        """At most ``limit`` rows that have this mark and comply with ``where``, newest first."""
        marked = self._where(mark)
        # looked up one by one, so that it never seems better to sort them all
        return await self._database.query(
            f"SELECT {columns} FROM (SELECT at, recording_id FROM recording_marks WHERE {marked}) AS marked"
            f" CROSS JOIN LATERAL (SELECT * FROM recordings WHERE id = recording_id AND {where} LIMIT 1) AS recordings"
            " ORDER BY at DESC, recording_id DESC LIMIT %s",
            [*marked.params, *where.params, limit],
        )

    def _where(self, mark: str) -> Conditions:
        where = Conditions()
        where.add("mark = jsonb_hash_extended(%s::jsonb, 0)", mark)
        for sql, value in self._times:
            where.add(sql, value)
        return where


def marks_of(wanted: Mapping[str, Any]) -> list[str]:
    """What leaves a mark: each value with the keys on the way to it, as a JSON array.

    Metadata that contain ``wanted`` have them all; those that have them all nearly always contain it. Arrays on the way
    leave no trace: to ``@>`` it does not matter where in them something is.
    """
    return [msgspec.json.encode(mark).decode() for mark in _marks((), wanted)]


def _marks(way: tuple[str, ...], value: Any) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, Mapping) and (value or not way):
        for key, each in value.items():
            yield from _marks((*way, key), each)
    elif isinstance(value, list) and value:
        for each in value:
            yield from _marks(way, each)
    else:
        yield (*way, value)
