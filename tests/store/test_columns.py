"""Tests of voxrec.store.columns."""

from typing import Any

from msgspec import Struct
from twisted.trial.unittest import SynchronousTestCase

from voxrec.store.columns import Columns


class Letter(Struct, frozen=True, rename="camel", kw_only=True):
    id: int
    from_: str
    sent_to: tuple[str, ...] = ()
    extra: dict[str, Any] | None = None
    copies: int = 0


class ColumnsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.columns = Columns(Letter, jsonb=frozenset({"extra"}), exclude=frozenset({"copies"}))
        self.letter = Letter(id=1, from_="Ann", sent_to=("Bob", "Eve"), extra={"a": 1})

    def test_names_are_quoted_columns(self) -> None:
        self.assertEqual(self.columns.column_list, '"id", "from", "sent_to", "extra"')
        self.assertEqual(self.columns.placeholders, "%s, %s, %s, %s")

    def test_params(self) -> None:
        self.assertEqual(self.columns.params(self.letter), (1, "Ann", ["Bob", "Eve"], '{"a":1}'))
        self.assertEqual(self.columns.params(Letter(id=2, from_="Bob")), (2, "Bob", [], None))

    def test_json_rows(self) -> None:
        self.assertEqual(
            self.columns.json_rows([self.letter]), '[{"id":1,"from":"Ann","sent_to":["Bob","Eve"],"extra":{"a":1}}]'
        )

    def test_from_row(self) -> None:
        row = (1, "Ann", ["Bob", "Eve"], {"a": 1})
        self.assertEqual(self.columns.from_row(row), self.letter)
        self.assertEqual(self.columns.from_row(row, copies=3).copies, 3)

    def test_upsert_assignments(self) -> None:
        self.assertEqual(
            self.columns.upsert_assignments(keep=frozenset({"id", "sent_to"})),
            '"from" = excluded."from", "extra" = excluded."extra"',
        )
