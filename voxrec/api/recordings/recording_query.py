"""The query parameters of lists of Recordings: filters, order, and the cursors of each order."""

import math
import re
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import UUID

import msgspec

from voxrec.api.parameters import party
from voxrec.error_codes import FieldErrorCode
from voxrec.errors import FieldError, InvalidInput, InvalidValue
from voxrec.model import Position, Recording, RecordingSort, RecordingState, SortPosition, VerdictFilter
from voxrec.model.fields import TAG
from voxrec.model.recording_query import MAX_DURATION, SEARCH
from voxrec.store.recording_filter import RecordingFilter
from voxrec.web.json_input import MAX_DEPTH, duplicate_key_errors, has_nul, is_shallow
from voxrec.web.pagination import PAGINATION, Positions, encode_cursor, not_a_cursor
from voxrec.web.pagination import cursor as time_cursor
from voxrec.web.parameters import MAX_TEXT_LENGTH, one_of, require_length, some_of, text, timestamp, uuids
from voxrec.web.query import QueryParameter, query_parameter

_MAX_METADATA_LENGTH: Final = 1000  # characters of JSON: percent-encoded, they must fit into the request line
_MAX_TAGS_LENGTH: Final = 1000  # characters
_SECONDS: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_CURSOR: Final = re.compile(r"[A-Za-z0-9_-]{32}|[A-Za-z0-9_-]{36}")
_VALUE_CURSOR: Final = {
    "duration": struct.Struct(">3sd16s"),
    "size": struct.Struct(">3sq16s"),
}  # mark of the order, value, UUID


@query_parameter(type="string", format="json-object", maxLength=_MAX_METADATA_LENGTH, examples=['{"customer":"42"}'])
def metadata_filter(value: str) -> dict[str, Any]:
    """Only recordings whose metadata contain this JSON object (PostgreSQL's operator `@>`)."""
    require_length(value, _MAX_METADATA_LENGTH)
    try:
        metadata = msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        metadata = None
    if not isinstance(metadata, dict):
        raise InvalidValue(
            'must be a JSON object that the metadata contain, such as {"customer":"42"}',
            FieldErrorCode.WRONG_TYPE,
            {"expected": "object"},
        )
    if not is_shallow(metadata, MAX_DEPTH):
        raise InvalidValue(
            f"is nested too deeply; at most {MAX_DEPTH} levels are allowed",
            FieldErrorCode.TOO_DEEP,
            {"maximum": MAX_DEPTH},
        )
    if has_nul(metadata):
        raise InvalidValue("must not contain the character U+0000", FieldErrorCode.NUL_CHARACTER)
    if duplicates := duplicate_key_errors(value.encode()):
        paths = ", ".join(duplicate.field for duplicate in duplicates)
        params = {"value": duplicates[0].params["value"]}
        raise InvalidValue(f"has duplicate keys: {paths}", FieldErrorCode.DUPLICATE, params)
    return metadata


@query_parameter(
    type="string", maxLength=_MAX_TAGS_LENGTH, pattern=f"^{TAG}(,{TAG})*$(?!\\n)", examples=["complaint,VIP"]
)
def tags_filter(value: str) -> tuple[str, ...]:
    """Only recordings with this tag, or with all of several, separated by commas."""
    require_length(value, _MAX_TAGS_LENGTH)
    tags = tuple(dict.fromkeys(value.split(",")))
    if invalid := [tag for tag in tags if not re.fullmatch(TAG, tag)]:
        raise InvalidValue(
            "must be one or more tags of 1 to 64 characters, separated by commas without spaces",
            FieldErrorCode.TAG_INVALID,
            {"value": invalid[0]},
        )
    return tags


@query_parameter(type="string", pattern=SEARCH, maxLength=MAX_TEXT_LENGTH, examples=["miller 030 123"])
def search(value: str) -> str:
    """Only recordings with all of these words in their numbers, names, metadata, tags or notes.

    A word matches from its beginning, in any letter case, with or without diacritics. A number matches by its beginning
    or its end, whatever its separators: 030 123-456 finds +4930123456.
    """
    text.parse(value)
    if not re.search(SEARCH, value):
        raise InvalidValue("must have a letter or a digit", FieldErrorCode.NO_WORD)
    return value


def _seconds(description: str) -> QueryParameter[float]:
    def parse(value: str) -> float:
        if not _SECONDS.fullmatch(value) or not 0 <= float(value) <= MAX_DURATION:
            raise InvalidValue(
                f"must be a number of seconds from 0 to {MAX_DURATION}, such as 90 or 0.5",
                FieldErrorCode.NUMBER_RANGE,
                {"minimum": 0, "maximum": MAX_DURATION},
            )
        return float(value)

    return QueryParameter(parse, description, {"type": "number", "minimum": 0, "maximum": MAX_DURATION})


@query_parameter(type="boolean")
def legal_hold(value: str) -> bool:
    """Only recordings under a legal hold (true), or without one (false)."""
    if value not in ("true", "false"):
        raise InvalidValue("must be true or false", FieldErrorCode.NOT_ONE_OF, {"allowed": ["true", "false"]})
    return value == "true"


@query_parameter(type="string", format="cursor", minLength=32, maxLength=36)
def recording_cursor(value: str) -> str:
    """The position where the page starts: opaque, and only obtained from the Link of the previous page."""
    if not _CURSOR.fullmatch(value):
        raise not_a_cursor()
    return value


FILTERS: Final[dict[str, QueryParameter[Any]]] = {
    "state": some_of(
        [*RecordingState], "Only recordings in these states, separated by commas.", example="pending,recording"
    ),
    "from": party.described_as("Only recordings of calls from this number."),
    "to": party.described_as("Only recordings of calls to this dialled number or id."),
    "since": timestamp.described_as("Only recordings created at this time or later."),
    "until": timestamp.described_as("Only recordings created before this time."),
    "q": metadata_filter,
    "tag": tags_filter,
    "search": search,
    "verdict": one_of(
        [*VerdictFilter], "Only recordings whose audio was checked with this result.", title="VerdictFilter"
    ),
    "minDuration": _seconds("Only recordings of at least this duration in seconds."),
    "maxDuration": _seconds("Only recordings of at most this duration in seconds."),
    "node": text.described_as("Only recordings of this node."),
    "legalHold": legal_hold,
    "id": uuids("Only the recordings with these ids, separated by commas."),
}
ORDER: Final[dict[str, QueryParameter[Any]]] = {
    "sort": one_of(
        [*RecordingSort],
        "What comes first. By default the newest recording, by its creation.",
        title="RecordingSort",
    )
}
RECORDING_PAGINATION: Final[dict[str, QueryParameter[Any]]] = {**PAGINATION, "cursor": recording_cursor}


def recording_filter(query: Mapping[str, Any], profile_id: UUID | None = None) -> RecordingFilter:
    """Return the filter and the order for validated query parameters."""
    return RecordingFilter(
        profile_id=profile_id,
        states=query.get("state", ()),
        from_=query.get("from"),
        to=query.get("to"),
        since=query.get("since"),
        until=query.get("until"),
        metadata=query.get("q"),
        tags=query.get("tag", ()),
        search=query.get("search"),
        verdict=query.get("verdict"),
        min_duration=query.get("minDuration"),
        max_duration=query.get("maxDuration"),
        node=query.get("node"),
        legal_hold=query.get("legalHold"),
        ids=query.get("id"),
        sort=query.get("sort", RecordingSort.NEWEST),
    )


def positions(sort: RecordingSort) -> Positions[Recording]:
    """Return the positions in a list with this order."""
    encode: Callable[[Any], str] = encode_cursor
    if sort.field in _VALUE_CURSOR:
        layout = _VALUE_CURSOR[sort.field]

        def encode(position: SortPosition) -> str:
            packed = layout.pack(_mark(sort), position.value, position.id.bytes)
            return urlsafe_b64encode(packed).decode("ascii")

    return Positions(sort.position_of, encode)


def decode_position(sort: RecordingSort, cursor: str) -> Position:
    """Return the position of a cursor in a list with this order. Raises InvalidInput if it is of another order."""
    try:
        if sort.field not in _VALUE_CURSOR:
            return time_cursor.parse(cursor)
        mark, value, key = _VALUE_CURSOR[sort.field].unpack(urlsafe_b64decode(cursor.ljust(36, "=")))
        if mark == _mark(sort) and math.isfinite(value):
            return SortPosition(value, UUID(bytes=key))
    except (ValueError, struct.error):
        pass
    raise InvalidInput(
        "The query has invalid parameters.",
        [FieldError("cursor", f"is not a cursor of a list with sort={sort}", FieldErrorCode.NOT_A_CURSOR)],
    )


def _mark(sort: RecordingSort) -> bytes:
    return sort.value[:3].encode().ljust(3)
