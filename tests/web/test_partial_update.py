"""Tests of voxrec.web.partial_update."""

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct
from twisted.trial.unittest import SynchronousTestCase

from voxrec.errors import FieldError, InvalidInput
from voxrec.web.partial_update import PartialUpdate


class Item(Struct, frozen=True):
    id: int
    count: int = 0
    note: str = ""


CURRENT: Final = Item(id=1, count=4)
REPRESENTATION: Final = b'{"id": 1, "count": 4}'


def _note_required(item: Item, values: Mapping[str, Any]) -> list[FieldError]:
    return [FieldError("note", "is required with count")] if "count" in values and not item.note else []


def make_update(values: Mapping[str, Any], read_only: Mapping[str, Any], *errors: FieldError) -> PartialUpdate[Item]:
    return PartialUpdate(
        values=values, conversion_errors=(), read_only=read_only, value_errors=errors, validators=(_note_required,)
    )


class PartialUpdateTests(SynchronousTestCase):
    def fields(self, update: PartialUpdate[Item]) -> list[str]:
        with self.assertRaises(InvalidInput) as caught:
            update.apply(CURRENT, REPRESENTATION)
        return [error.field for error in caught.exception.field_errors]

    def test_given_values_replace_the_current_ones(self) -> None:
        update = make_update({"count": 5, "note": "x"}, {})
        self.assertEqual(update.apply(CURRENT, REPRESENTATION), Item(id=1, count=5, note="x"))

    def test_read_only_values_may_be_repeated_unchanged(self) -> None:
        self.assertEqual(make_update({}, {"id": 1}).apply(CURRENT, REPRESENTATION), CURRENT)
        self.assertEqual(self.fields(make_update({}, {"id": 2, "unknown": 3})), ["id", "unknown"])

    def test_validators_see_the_changed_instance_and_the_given_values(self) -> None:
        self.assertEqual(self.fields(make_update({"count": 5}, {})), ["note"])
        self.assertEqual(make_update({"note": ""}, {}).apply(CURRENT, REPRESENTATION), CURRENT)

    def test_all_errors_are_reported(self) -> None:
        update = make_update({"count": 5}, {"id": 2}, FieldError("count", "must be even"))
        self.assertEqual(self.fields(update), ["id", "count", "note"])
