"""Tests of voxrec.type_violation: the code of each constraint that a value can violate."""

import enum
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta, Struct
from twisted.trial.unittest import SynchronousTestCase

from tests.subtest import subtest
from voxrec.error_codes import FieldErrorCode as Code
from voxrec.type_violation import Violation, find_violation


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Item(Struct, rename="camel"):
    max_count: Annotated[int, Meta(le=3)] = 0


Word = Annotated[str, Meta(min_length=2, max_length=4, pattern="^[a-z]+$", examples=["abc"])]
CASES: tuple[tuple[Any, Any, Violation], ...] = (
    (str, 1, Violation(Code.WRONG_TYPE, {"expected": "string"})),
    (str, None, Violation(Code.WRONG_TYPE, {"expected": "string"})),
    (int | None, "x", Violation(Code.WRONG_TYPE, {"expected": "integer"})),
    (int, True, Violation(Code.WRONG_TYPE, {"expected": "integer"})),
    (float, "1", Violation(Code.WRONG_TYPE, {"expected": "number"})),
    (bool, 1, Violation(Code.WRONG_TYPE, {"expected": "boolean"})),
    (dict[str, Any], [], Violation(Code.WRONG_TYPE, {"expected": "object"})),
    (tuple[str, ...], "a", Violation(Code.WRONG_TYPE, {"expected": "array"})),
    (Word | None, 5, Violation(Code.WRONG_TYPE, {"expected": "string"})),
    (Word, "a", Violation(Code.TOO_SHORT, {"minimum": 2})),
    (Word | None, "abcde", Violation(Code.TOO_LONG, {"maximum": 4})),
    (Word, "ABC", Violation(Code.WRONG_FORMAT, {"example": "abc"})),
    (tuple[Word, ...], ["abc", "ABC"], Violation(Code.WRONG_FORMAT, {"example": "abc"})),
    (Annotated[int, Meta(ge=1, le=5)], 0, Violation(Code.TOO_SMALL, {"minimum": 1})),
    (Annotated[int, Meta(ge=1, le=5)] | None, 6, Violation(Code.TOO_LARGE, {"maximum": 5})),
    (Annotated[float, Meta(gt=0, lt=5)], 0, Violation(Code.TOO_SMALL, {"minimum": 0})),
    (Annotated[float, Meta(gt=0, lt=5)], 5, Violation(Code.TOO_LARGE, {"maximum": 5})),
    (Annotated[tuple[str, ...], Meta(min_length=1)], [], Violation(Code.TOO_FEW, {"minimum": 1})),
    (Annotated[list[str], Meta(max_length=1)], ["a", "b"], Violation(Code.TOO_MANY, {"maximum": 1})),
    (Colour, "green", Violation(Code.NOT_ONE_OF, {"allowed": ["red", "blue"]})),
    (Literal["a", "b"], "c", Violation(Code.NOT_ONE_OF, {"allowed": ["a", "b"]})),
    (Colour | None, "green", Violation(Code.NOT_ONE_OF, {"allowed": ["red", "blue"]})),
    (UUID, "x", Violation(Code.NOT_A_UUID)),
    (datetime | None, "yesterday", Violation(Code.NOT_A_TIMESTAMP)),
    (Annotated[datetime, Meta(tz=True)], "2026-01-01T00:00:00", Violation(Code.NO_UTC_OFFSET)),
    (dict[str, Word], {"a": "ABC"}, Violation(Code.WRONG_FORMAT, {"example": "abc"})),
    (Item, {"maxCount": 4}, Violation(Code.TOO_LARGE, {"maximum": 3})),
    (list[Item], [{}, {"maxCount": 4}], Violation(Code.TOO_LARGE, {"maximum": 3})),
)


class ViolationTests(SynchronousTestCase):
    def test_each_constraint(self) -> None:
        for type_, value, expected in CASES:
            with subtest(f"{type_} {value!r}"):
                self.assertRaises(msgspec.ValidationError, msgspec.convert, value, type_)
                self.assertEqual(find_violation(value, msgspec.inspect.type_info(type_)), expected)

    def test_what_msgspec_alone_knows_has_the_general_code(self) -> None:
        info = msgspec.inspect.type_info(Annotated[int, Meta(multiple_of=3)])
        self.assertEqual(find_violation(4, info), Violation(Code.INVALID))
