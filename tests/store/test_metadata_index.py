"""Tests of voxrec.store.metadata_index."""

from typing import Any, Final
from uuid import UUID, uuid4

from tests.database import DatabaseTestCase
from tests.store.samples import later, recording
from voxrec.cursor import Cursor
from voxrec.store import metadata_index
from voxrec.store.keyset import Conditions
from voxrec.store.metadata_index import MetadataIndex, index_terms
from voxrec.store.recordings import Recordings

METADATA: Final[dict[str, Any]] = {
    "case": 17,
    "site": {"city": "Hamburg", "floors": []},
    "tags": ["a", {"b": None}, [True]],
    "empty": {},
}


class IndexTermsTests(DatabaseTestCase):
    def test_terms(self) -> None:
        self.assertEqual(
            index_terms(METADATA),
            [
                '["case",17]',
                '["site","city","Hamburg"]',
                '["site","floors",[]]',
                '["tags","a"]',
                '["tags","b",null]',
                '["tags",true]',
                '["empty",{}]',
            ],
        )
        self.assertEqual(index_terms({}), [])

    async def test_terms_have_the_hashes_of_the_triggers(self) -> None:
        await Recordings(self.pool).create(recording(metadata=METADATA))
        rows = await self.pool.query(
            "SELECT term FROM unnest(%s::jsonb[]) AS term"
            " WHERE NOT EXISTS (SELECT FROM recording_marks WHERE mark = jsonb_hash_extended(term, 0))",
            (index_terms(METADATA),),
        )
        self.assertEqual(rows, [])


class MetadataIndexTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.recordings = [
            recording(created_at=later(-n), metadata={"site": "Hamburg", "case": n // 2}, from_=f"+{n % 2}")
            for n in range(8)
        ]
        for each in self.recordings:
            await Recordings(self.pool).create(each)

    def index(self, metadata: dict[str, Any], after: Cursor | None = None) -> MetadataIndex:
        return MetadataIndex(self.pool, index_terms(metadata), later(-6), later(0), after)

    async def test_rarest_term(self) -> None:
        both = self.index({"site": "Hamburg", "case": 2})
        self.assertEqual(await both.rarest_term(has_alternative=False), '["case",2]')
        self.assertIsNone(await self.index({}).rarest_term(has_alternative=False))

    async def test_common_terms_give_way_to_another_index(self) -> None:
        self.patch(metadata_index, "COMMON_TERM_ROWS", 3)
        site = self.index({"site": "Hamburg"})
        self.assertIsNone(await site.rarest_term(has_alternative=True))
        self.assertEqual(await site.rarest_term(has_alternative=False), '["site","Hamburg"]')

    async def fetch(self, conditions: Conditions, after: Cursor | None = None) -> list[UUID]:
        rows = await self.index({"site": "Hamburg"}, after).fetch_page('["site","Hamburg"]', "id", conditions, 3)
        return [id_ for (id_,) in rows]

    async def test_page_in_a_range_of_time(self) -> None:
        ids = [each.id for each in self.recordings]
        self.assertEqual(await self.fetch(Conditions()), ids[1:4])
        self.assertEqual(await self.fetch(Conditions(), Cursor.after(self.recordings[3])), ids[4:7])

    async def test_page_with_further_conditions(self) -> None:
        conditions = Conditions()
        conditions.add('"from" = %s', "+0")
        self.assertEqual(await self.fetch(conditions), [self.recordings[n].id for n in (2, 4, 6)])
        conditions.add("profile_id = %s", uuid4())
        self.assertEqual(await self.fetch(conditions), [])
