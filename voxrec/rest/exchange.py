"""One request as a handler sees it, and the answer that it gives; neither knows of sockets."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec
from twisted.internet.defer import Deferred

from voxrec.errors import FieldFault, InvalidInput
from voxrec.rest.auth import Principal, Role
from voxrec.rest.conditions import Conditions, etag_of
from voxrec.rest.problems import BadRequest, UnsupportedMedia

JSON: Final = "application/json"


class Body(Protocol):
    """The parts of a streamed body, in order. It is closed whether or not it was read to its end."""

    def __aiter__(self) -> "Body":
        """Itself."""

    async def __anext__(self) -> bytes:
        """The next part."""

    async def aclose(self) -> None:
        """Let go of what the body is read from."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes out. ``headers`` beside those that every answer has."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Body | AsyncGenerator[bytes, None] = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What came in. ``ids`` are those of the path, by the route's names; ``raw`` is the body as it came."""

    method: str
    path: str
    ids: Mapping[str, UUID]
    headers: Mapping[str, str]
    raw_query: bytes
    raw: bytes
    principal: Principal

    @property
    def id(self) -> UUID:
        """The id that ends the path."""
        return self.ids["id"]

    @property
    def profile_id(self) -> UUID:
        """The id of the Profile below which the path lies."""
        return self.ids["profileId"]

    @property
    def conditions(self) -> Conditions:
        """If-Match and If-None-Match."""
        return Conditions(self.headers.get("if-match", ""), self.headers.get("if-none-match", ""))

    def query(self) -> list[tuple[str, str]]:
        """The parameters after the question mark, in order; BadRequest where they are not UTF-8."""
        try:
            return parse_qsl(
                self.raw_query.decode("utf-8"),
                keep_blank_values=True,
                encoding="utf-8",
                errors="strict",
                max_num_fields=100,
            )
        except ValueError as error:
            raise BadRequest("The query cannot be read: it is not UTF-8, or has more than 100 parameters.") from error

    def json_object(self) -> dict[str, Any]:
        """The body, which must be one JSON object.

        UnsupportedMedia where it is said to be something else, BadRequest where it is not JSON, InvalidInput where it
        is another kind of value, or holds the one character that PostgreSQL cannot store.
        """
        _demand_json(self.headers)
        try:
            given = msgspec.json.decode(self.raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadRequest(f"The body is not JSON: {error}.") from error
        except RecursionError as error:
            raise BadRequest("The body is nested too deeply.") from error
        if not isinstance(given, dict):
            raise InvalidInput(f"The body must be a JSON object, and is of type {_json_type(given)}.")
        # the search is cheap where the escape does not occur, which is always
        if b"\\u0000" in self.raw and (faults := [_nul(key) for key, value in given.items() if _has_nul([key, value])]):
            raise InvalidInput("A character that cannot be stored was given.", faults)
        return given


Handler = Callable[[Ask], Awaitable[Answer]]
Now = Callable[[], datetime]
"""What time it is, in UTC."""
DeferToThread = Callable[..., "Deferred[Any]"]
"""``twisted.internet.threads.deferToThread``, or what a test puts in its place: runs what may block."""


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the route table. ``role`` None: open to everybody. ``gives`` None: whatever there is."""

    method: str
    path: str
    role: Role | None
    handler: Handler
    gives: str | None = JSON


def shown(ask: Ask, body: bytes) -> Answer:
    """Answer a GET with one JSON representation, or say that the client has it already."""
    etag = etag_of(body)
    ask.conditions.demand_readable(etag)
    if ask.conditions.unchanged(etag):
        return Answer(304, {"ETag": etag})
    return Answer(200, {"Content-Type": JSON, "ETag": etag}, body)


def changed(body: bytes) -> Answer:
    """Answer a change with what came of it."""
    return Answer(200, {"Content-Type": JSON, "ETag": etag_of(body)}, body)


def created(location: str, body: bytes) -> Answer:
    """Answer a creation with where the new resource is, and what it looks like."""
    return Answer(201, {"Content-Type": JSON, "ETag": etag_of(body), "Location": location}, body)


def gone() -> Answer:
    """Answer a deletion."""
    return Answer(204)


def _demand_json(headers: Mapping[str, str]) -> None:
    kind, *parameters = (part.strip().lower() for part in headers.get("content-type", "").split(";"))
    known = {p.replace('"', "") for p in parameters if p} <= {"charset=utf-8"}
    if kind != JSON or not known:
        raise UnsupportedMedia(f"The body must be {JSON}, and Content-Type must say so.", {"Accept": JSON})
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMedia("The body must not be compressed.", {"Accept-Encoding": "identity"})


def _json_type(value: object) -> str:
    names = {list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")


def _nul(key: str) -> FieldFault:
    return FieldFault(key, "must not contain the character U+0000")


def _has_nul(value: object) -> bool:
    match value:
        case str():
            return "\0" in value
        case list():
            return any(map(_has_nul, value))
        case dict():
            return any(map(_has_nul, [*value, *value.values()]))
        case _:
            return False
