"""Query parameters of common types, from which resources declare their own."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, TypeVar
from uuid import UUID

from voxrec.error_codes import FieldErrorCode
from voxrec.errors import InvalidValue
from voxrec.web.query import QueryParameter, query_parameter

MAX_TEXT_LENGTH: Final = 255
_NO_NUL: Final = r"^[^\u0000]*$"
_UUID: Final = "[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_UUID_LIST: Final = f"{_UUID}(,{_UUID})*"

E = TypeVar("E", bound=str)
T = TypeVar("T")


@query_parameter(type="string", minLength=1, maxLength=MAX_TEXT_LENGTH, pattern=_NO_NUL)
def text(value: str) -> str:
    """Text that PostgreSQL can store."""
    if not value:
        raise InvalidValue("must have at least 1 character", FieldErrorCode.TOO_SHORT, {"minimum": 1})
    require_length(value, MAX_TEXT_LENGTH)
    if "\0" in value:
        raise InvalidValue("must not contain the character U+0000", FieldErrorCode.NUL_CHARACTER)
    return value


def require_length(value: str, maximum: int) -> None:
    """Raise InvalidValue if a value has more than ``maximum`` characters."""
    if len(value) > maximum:
        raise InvalidValue(
            f"must have at most {maximum} characters; it has {len(value)}",
            FieldErrorCode.TOO_LONG,
            {"maximum": maximum},
        )


@query_parameter(type="string", format="date-time", examples=["2026-01-31T09:30:00Z"])
def timestamp(value: str) -> datetime:
    """A date and time with UTC offset (RFC 3339)."""
    code = FieldErrorCode.NOT_A_TIMESTAMP
    try:
        parsed = datetime.fromisoformat(value.upper())  # RFC 3339 permits t and z
        if parsed.tzinfo is not None:
            return parsed.astimezone(UTC)
        code = FieldErrorCode.NO_UTC_OFFSET
    except (ValueError, OverflowError):
        pass
    raise InvalidValue("must be a date and time with UTC offset, such as 2026-01-31T09:30:00Z (encode + as %2B)", code)


def integer(minimum: int, maximum: int, description: str) -> QueryParameter[int]:
    """Return a parameter for an integer from ``minimum`` (not negative) to ``maximum``."""
    digits = re.compile(f"[0-9]{{1,{len(str(maximum))}}}")

    def parse(value: str) -> int:
        if not digits.fullmatch(value) or not minimum <= int(value) <= maximum:
            raise InvalidValue(
                f"must be a number from {minimum} to {maximum}",
                FieldErrorCode.NUMBER_RANGE,
                {"minimum": minimum, "maximum": maximum},
            )
        return int(value)

    return QueryParameter(parse, description, {"type": "integer", "minimum": minimum, "maximum": maximum})


def one_of(values: Sequence[E], description: str, *, title: str) -> QueryParameter[E]:
    """Return a parameter for exactly one of ``values``, such as the members of a StrEnum. ``title`` names the type."""
    by_text = {str(member): member for member in values}

    def parse(value: str) -> E:
        if value not in by_text:
            raise InvalidValue(
                f"must be one of {', '.join(by_text)}", FieldErrorCode.NOT_ONE_OF, {"allowed": list(by_text)}
            )
        return by_text[value]

    return QueryParameter(parse, description, {"title": title, "type": "string", "enum": list(by_text)})


def some_of(values: Sequence[E], description: str, *, example: str) -> QueryParameter[tuple[E, ...]]:
    """Return a parameter for one or more of ``values``, separated by commas."""
    by_text = {str(member): member for member in values}
    choice = "|".join(by_text).replace(".", "[.]")

    def parse(value: str) -> tuple[E, ...]:
        try:
            return tuple(by_text[part] for part in value.split(","))
        except KeyError:
            raise InvalidValue(
                f"must be one or more of {', '.join(by_text)}, separated by commas",
                FieldErrorCode.NOT_ONE_OF,
                {"allowed": list(by_text)},
            ) from None

    schema = {"type": "string", "pattern": f"^({choice})(,({choice}))*$", "examples": [example]}
    return QueryParameter(parse, description, schema)


def uuid(description: str) -> QueryParameter[UUID]:
    """Return a parameter for one UUID with hyphens."""
    return QueryParameter(
        _matching_uuid(re.compile(_UUID), UUID, "must be a UUID"), description, {"type": "string", "format": "uuid"}
    )


def uuids(description: str) -> QueryParameter[frozenset[UUID]]:
    """Return a parameter for one or more UUIDs with hyphens, separated by commas."""
    parse = _matching_uuid(
        re.compile(_UUID_LIST),
        lambda value: frozenset(map(UUID, value.split(","))),
        "must be one or more UUIDs, separated by commas",
    )
    return QueryParameter(parse, description, {"type": "string", "pattern": f"^{_UUID_LIST}$"})


def _matching_uuid(pattern: re.Pattern[str], convert: Callable[[str], T], message: str) -> Callable[[str], T]:
    def parse(value: str) -> T:
        if not pattern.fullmatch(value):
            raise InvalidValue(message, FieldErrorCode.NOT_A_UUID)
        return convert(value)

    return parse
