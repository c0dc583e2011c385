"""Tests of voxrec.store.keyset."""

from typing import NamedTuple
from uuid import UUID

from tests.database import DatabaseTestCase
from tests.store.samples import NOON, later
from voxrec.cursor import Cursor
from voxrec.store.keyset import Conditions, fetch_page, iterate_pages

SELECT = "SELECT created_at, id, color, size FROM things"


class Thing(NamedTuple):
    created_at: object
    id: UUID
    color: str
    size: int


class ConditionsTests(DatabaseTestCase):
    def test_conditions_without_a_value_are_left_out(self) -> None:
        conditions = Conditions()
        self.assertEqual(str(conditions), "TRUE")
        conditions.add("a = %s", 1)
        conditions.add("b = %s", None)
        conditions.add("c IS NULL")
        self.assertEqual(str(conditions), "TRUE AND a = %s AND c IS NULL")
        self.assertEqual(conditions.params, [1])

    def test_newest_first(self) -> None:
        conditions = Conditions()
        conditions.add("a = %s", 1)
        self.assertEqual(
            conditions.first_rows("SELECT x FROM t", 5),
            ("SELECT x FROM t WHERE TRUE AND a = %s ORDER BY created_at DESC, id DESC LIMIT %s", [1, 5]),
        )

    def test_one_value_is_an_equality(self) -> None:
        conditions = Conditions()
        conditions.add_any_of("color", ["red", "red"], "text")
        self.assertEqual(str(conditions), "TRUE AND color = %s")
        self.assertEqual(conditions.params, ["red"])


class PageTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        await self.pool.execute("CREATE TABLE things (created_at timestamptz, id uuid, color text, size int)")
        self.things = [
            Thing(later(-(n // 2)), UUID(int=100 - n), ("red", "green", "blue")[n % 3], n % 4) for n in range(24)
        ]
        for thing in self.things:
            await self.pool.execute("INSERT INTO things VALUES (%s, %s, %s, %s)", thing)

    async def page(self, conditions: Conditions, limit: int = 100, after: Cursor | None = None) -> list[Thing]:
        return [Thing(*row) for row in await fetch_page(self.pool, SELECT, conditions, limit, after)]

    async def test_newest_first_and_after_a_cursor(self) -> None:
        self.assertEqual(await self.page(Conditions(), 5), self.things[:5])
        after = Cursor(later(-2), self.things[4].id)
        self.assertEqual(await self.page(Conditions(), 3, after), self.things[5:8])

    async def test_any_of_several_values(self) -> None:
        conditions = Conditions()
        conditions.add_any_of("color", ["red", "blue", "red"], "text")
        conditions.add_any_of("size", [0, 1], "int")
        conditions.add("created_at <= %s", NOON)
        expected = [thing for thing in self.things if thing.color != "green" and thing.size < 2]
        self.assertEqual(await self.page(conditions), expected)

    async def test_any_of_no_values_matches_nothing(self) -> None:
        conditions = Conditions()
        conditions.add_any_of("color", [], "text")
        self.assertEqual(await self.page(conditions), [])

    async def test_iterating_over_pages(self) -> None:
        cursors: list[Cursor | None] = []

        async def page(after: Cursor | None) -> list[Thing]:
            cursors.append(after)
            return await self.page(Conditions(), 10, after)

        pages = [page async for page in iterate_pages(page, 10)]  # type: ignore[type-var]
        self.assertEqual([len(page) for page in pages], [10, 10, 4])
        self.assertEqual([thing for page in pages for thing in page], self.things)
        self.assertEqual(len(cursors), 3)
