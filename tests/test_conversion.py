"""Tests of voxrec.conversion."""

import enum
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Meta, Struct
from twisted.trial.unittest import SynchronousTestCase

from voxrec.conversion import convert_fields
from voxrec.error_codes import FieldErrorCode
from voxrec.errors import FieldError
from voxrec.model import Profile

FIELD_NAMES = {field.encode_name: field.name for field in msgspec.structs.fields(Profile)}
ANY_VALUE = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text(), max_size=3)


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Example(Struct, rename="camel"):
    some_text: str = ""
    count: Annotated[int, Meta(ge=1)] = 1
    colour: Colour | None = None
    channels: Literal[1, 2] = 1


class WithTime(Struct):
    at: datetime | None = None


class Required(Struct):
    a: int
    b: str


class ConvertFieldsTests(SynchronousTestCase):
    def errors(self, **values: object) -> list[str]:
        return [str(error) for error in convert_fields(Example, values)[1]]

    def test_values_are_returned_by_attribute_name(self) -> None:
        values, errors = convert_fields(Example, {"someText": "x", "colour": "red"})
        self.assertEqual((values, errors), ({"some_text": "x", "colour": Colour.RED}, []))

    def test_only_the_given_fields_are_returned(self) -> None:
        self.assertEqual(convert_fields(Example, {}), ({}, []))
        self.assertEqual(
            convert_fields(Example, {"colour": None, "channels": 2}), ({"colour": None, "channels": 2}, [])
        )
        missing = convert_fields(Required, {"b": "x"})
        self.assertEqual(missing, ({"b": "x"}, []))

    def test_the_valid_fields_are_returned_beside_invalid_ones(self) -> None:
        values, errors = convert_fields(Example, {"someText": "x", "count": 0})
        self.assertEqual(values, {"some_text": "x"})
        self.assertEqual([error.field for error in errors], ["count"])

    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault
    @given(st.dictionaries(st.sampled_from(sorted(FIELD_NAMES)), ANY_VALUE))
    def test_all_fields_together_give_the_same_as_each_alone(self, values: dict[str, object]) -> None:
        alone: dict[str, object] = {}
        for key, value in values.items():
            alone |= convert_fields(Profile, {key: value})[0]
        self.assertEqual(convert_fields(Profile, values)[0], alone)

    def test_an_integral_float_is_an_integer(self) -> None:
        self.assertEqual(convert_fields(Example, {"count": 5.0}), ({"count": 5}, []))
        self.assertEqual(self.errors(count=5.5), ["count: invalid value 5.5: Expected int, got float"])

    def test_times_are_in_utc(self) -> None:
        for text, expected in (
            ("2026-01-31T09:30:00Z", datetime(2026, 1, 31, 9, 30, tzinfo=UTC)),
            ("2026-01-31T10:30:00+01:00", datetime(2026, 1, 31, 9, 30, tzinfo=UTC)),
            ("2026-01-31T09:30:00", datetime(2026, 1, 31, 9, 30)),
        ):
            values, errors = convert_fields(WithTime, {"at": text})
            self.assertEqual((repr(values), errors), (repr({"at": expected}), []))
        for text in ("0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01"):
            for others in ({}, {"unknown": 1}):
                values, errors = convert_fields(WithTime, {"at": text, **others})
                self.assertEqual(values, {})
                self.assertEqual(errors[0].field, "at")
                self.assertIn("years 1 to 9999", errors[0].message)

    def test_an_unknown_key(self) -> None:
        self.assertEqual(
            self.errors(some_text="x"), ["some_text: unknown field; expected one of channels, colour, count, someText"]
        )

    def test_a_read_only_key(self) -> None:
        _, errors = convert_fields(Example, {"count": 1, "x": 1}, read_only=frozenset({"count"}))
        self.assertEqual(
            errors,
            [
                FieldError("count", "read-only field; voxrec sets it", FieldErrorCode.READ_ONLY),
                FieldError(
                    *("x", "unknown field; expected one of channels, colour, someText"),
                    FieldErrorCode.UNKNOWN_FIELD,
                    {"allowed": ["channels", "colour", "someText"]},
                ),
            ],
        )

    def test_the_allowed_values_of_an_enumeration(self) -> None:
        self.assertEqual(
            self.errors(colour="green", channels=3),
            [
                "colour: invalid value 'green': Invalid enum value 'green'; expected one of red, blue",
                "channels: invalid value 3: Invalid enum value 3; expected one of 1, 2",
            ],
        )

    def test_an_example_of_a_regular_expression(self) -> None:
        _, errors = convert_fields(Profile, {"numbers": ["030"], "recordPauseCode": "x", "archiveBucket": "X"})
        self.assertEqual(
            [error.message.partition("regex ")[2] for error in errors],
            [
                r"'^\\+[1-9][0-9]{1,14}$' - at [0]; for example +4930123456",
                "'^[0-9*#]{1,8}$'; for example *1",
                "'^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$'",
            ],
        )

    def test_the_path_is_a_prefix(self) -> None:
        _, errors = convert_fields(Example, {"count": 0}, path="section.")
        self.assertEqual([error.field for error in errors], ["section.count"])

    def test_a_long_value_is_abbreviated(self) -> None:
        [error] = self.errors(count="x" * 1000)
        self.assertIn(f"invalid value '{'x' * 59}…: Expected int", error)

    def test_a_secret_value_is_not_repeated(self) -> None:
        _, errors = convert_fields(Example, {"someText": ["hush"]}, secret=frozenset({"someText"}))
        message = "invalid value: Expected str, got array"
        expected = FieldError("someText", message, FieldErrorCode.WRONG_TYPE, {"expected": "string"})
        self.assertEqual(errors, [expected])

    def test_every_invalid_field_of_a_profile_is_reported(self) -> None:
        values, field_errors = convert_fields(
            Profile,
            {
                "email": "x" * 256,
                "recordFormat": "x" * 13,
                "recordBeepInterval": -1,
                "recordChannels": "stereo",
                "record": "yes",
                "numbers": ["+4930", "030"],
                "colour": "red",
                "createdAt": "2026-01-01T00:00:00Z",
                "name": "fine",
            },
            read_only=frozenset({"createdAt"}),
        )
        self.assertEqual(values, {"name": "fine"})
        messages = {error.field: error.message for error in field_errors}
        self.assertIn("Expected str of length <= 255", messages["email"])
        self.assertIn("Expected str of length <= 12", messages["recordFormat"])
        self.assertIn("Expected int >= 0", messages["recordBeepInterval"])
        self.assertIn("expected one of mono, dual", messages["recordChannels"])
        self.assertIn("Expected bool, got str", messages["record"])
        self.assertIn("[1]", messages["numbers"])
        self.assertIn("unknown field; expected one of archiveBucket,", messages["colour"])
        self.assertIn("read-only field; voxrec sets it", messages["createdAt"])

    @given(st.dictionaries(st.sampled_from(sorted(FIELD_NAMES)), ANY_VALUE))
    def test_each_field_is_converted_or_reported(self, values: dict[str, object]) -> None:
        converted, field_errors = convert_fields(Profile, values)
        self.assertEqual(
            sorted([*converted, *(FIELD_NAMES[error.field] for error in field_errors)]),
            sorted(FIELD_NAMES[name] for name in values),
        )
