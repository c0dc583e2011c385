"""The parameters of a list: filters, ``limit`` and ``cursor``, with every fault told and not the first only."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Any, Final
from uuid import UUID

import msgspec

from voxrec.audio.convert import AudioChannel
from voxrec.audio.formats import FORMATS
from voxrec.cursor import Cursor
from voxrec.errors import FieldError, InvalidInput
from voxrec.model import RecordingState

LARGEST_PAGE: Final = 1000
MOST_POINTS: Final = 4000
NO_NUL: Final = r"^[^\u0000]*$"
_LONGEST: Final = 255
_LARGEST: Final = 1000  # characters of JSON: percent-encoded they must fit into the first line of a request
_STATES: Final = "|".join(RecordingState)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CURSOR: Final = Struct(">q16s")  # microseconds since the epoch, and the id
_UUID: Final = "[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
ONE_UUID: Final = re.compile(_UUID)
_CURSOR_TEXT: Final = re.compile(r"[A-Za-z0-9_-]{32}")

Reader = Callable[[str], Any]
"""Reads one parameter's value; raises ValueError saying what is wrong and what is allowed. Its docstring is shown."""

SHAPES: Final[dict[Reader, Mapping[str, Any]]] = {}
"""What a reader takes, as JSON Schema; for the OpenAPI document."""


def shaped(**schema: Any) -> Callable[[Reader], Reader]:
    """Say what a reader takes, in the words of JSON Schema."""

    def note(reader: Reader) -> Reader:
        SHAPES[reader] = schema
        return reader

    return note


def read(given: Iterable[tuple[str, str]], readers: Mapping[str, Reader]) -> dict[str, Any]:
    """The parameters by name, each read by its reader.

    Raises InvalidInput, naming each one that is unknown, stands twice or does not fit.
    """
    values: dict[str, Any] = {}
    field_errors: list[FieldError] = []
    for name, text in given:
        if name not in readers:
            field_errors.append(FieldError(name, f"is not known; known here: {', '.join(sorted(readers)) or 'none'}"))
        elif name in values:
            field_errors.append(FieldError(name, "is given more than once"))
        else:
            try:
                values[name] = readers[name](text)
            except ValueError as error:
                values[name] = None
                field_errors.append(FieldError(name, str(error)))
    if field_errors:
        raise InvalidInput("Parameters of the query do not fit.", field_errors)
    return values


@shaped(type="string", minLength=1, maxLength=_LONGEST, pattern=NO_NUL)
def text(given: str) -> str:
    """Any text that can be stored, and so be found."""
    if not given or len(given) > _LONGEST or "\0" in given:
        raise ValueError(f"must have 1 to {_LONGEST} characters, without U+0000")
    return given


@shaped(type="string", enum=list(FORMATS))
def audio_format(given: str) -> str:
    """What the audio is to be converted to."""
    if given not in FORMATS:
        raise ValueError(f"must be one of {', '.join(FORMATS)}")
    return given


@shaped(type="string", enum=list(AudioChannel))
def channel(given: str) -> AudioChannel:
    """What of two channels is wanted."""
    try:
        return AudioChannel(given)
    except ValueError:
        raise ValueError(f"must be one of {', '.join(AudioChannel)}") from None


@shaped(type="integer", minimum=1, maximum=MOST_POINTS)
def points(given: str) -> int:
    """How many pairs of peaks there may be, for each channel."""
    if not re.fullmatch(r"[0-9]{1,4}", given, re.ASCII) or not 1 <= int(given) <= MOST_POINTS:
        raise ValueError(f"must be a number from 1 to {MOST_POINTS}")
    return int(given)


@shaped(type="integer", minimum=1, maximum=LARGEST_PAGE)
def limit(given: str) -> int:
    """How long a page may be."""
    if not re.fullmatch(r"[0-9]{1,4}", given, re.ASCII) or not 1 <= int(given) <= LARGEST_PAGE:
        raise ValueError(f"must be a number from 1 to {LARGEST_PAGE}")
    return int(given)


@shaped(type="string", format="date-time", examples=["2026-01-31T09:30:00Z"])
def moment(given: str) -> datetime:
    """A date and time with its offset, as RFC 3339 writes it."""
    try:
        found = datetime.fromisoformat(given)
        if found.tzinfo is not None:
            return found.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError("must be a date and time with its offset, such as 2026-01-31T09:30:00Z (a + is written %2B)")


@shaped(type="string", pattern=f"^({_STATES})(,({_STATES}))*$", examples=["pending,recording"])
def states(given: str) -> tuple[RecordingState, ...]:
    """Where a Recording may be on its way."""
    try:
        return tuple(RecordingState(one) for one in given.split(","))
    except ValueError:
        known = ", ".join(RecordingState)
        raise ValueError(f"must be one, or several separated by commas, of {known}") from None


@shaped(type="string", format="json-object", maxLength=_LARGEST, examples=['{"customer":"42"}'])
def metadata(given: str) -> dict[str, Any]:
    """What the metadata must contain: a JSON object, as PostgreSQL's ``@>`` understands it."""
    try:
        found = msgspec.json.decode(given)
    except (msgspec.DecodeError, RecursionError):
        found = None
    if not isinstance(found, dict) or len(given) > _LARGEST or "\\u0000" in given:
        raise ValueError('must be a JSON object that the metadata contain, such as {"customer":"42"}')
    return found


@shaped(type="string", format="cursor", minLength=32, maxLength=32)
def cursor(given: str) -> Cursor:
    """What ``cursor_text`` made."""
    if _CURSOR_TEXT.fullmatch(given):
        micros, key = _CURSOR.unpack(urlsafe_b64decode(given))
        try:
            return Cursor(_EPOCH + timedelta(microseconds=micros), UUID(bytes=key))
        except OverflowError:
            pass
    raise ValueError('is not a cursor; take the Link with rel="next" of the page before as it is')


def cursor_text(behind: Cursor) -> str:
    """A cursor for a URL. What is in it is nobody's business, so that it may change."""
    micros = (behind.created_at - _EPOCH) // timedelta(microseconds=1)
    return urlsafe_b64encode(_CURSOR.pack(micros, behind.id.bytes)).decode("ascii")


@shaped(type="string", pattern=f"^{_UUID}(,{_UUID})*$")
def profile_ids(given: str) -> frozenset[UUID]:
    """One Profile's id, or several separated by commas."""
    if not re.fullmatch(f"{_UUID}(,{_UUID})*", given):
        raise ValueError("must be a Profile's id, or several separated by commas")
    return frozenset(map(UUID, given.split(",")))
