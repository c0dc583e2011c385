"""One request as a handler sees it, and the answer that it gives; neither knows of sockets."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec
from msgspec import Struct

from voxrec.errors import FieldError, InvalidInput, VoxrecError
from voxrec.model import AuditEntry
from voxrec.store.idempotency import Claim, FirstAnswer, TransactionHook
from voxrec.web.auth import Principal, Role
from voxrec.web.conditions import Conditions, etag_of
from voxrec.web.problems import BadRequest, UnsupportedMedia
from voxrec.web.query import Reader

T = TypeVar("T")
JSON: Final = "application/json"
READING: Final = ("If-Match", "If-None-Match")  # headers that count for a GET of what has an ETag
CHANGING: Final = READING  # and for a change of it
TAG: Final = ("ETag",)


class Body(Protocol):
    """The parts of a streamed body, in order. It is closed whether or not it was read to its end."""

    def __aiter__(self) -> "Body":
        """Itself."""

    async def __anext__(self) -> bytes:
        """The next part."""

    async def aclose(self) -> None:
        """Let go of what the body is read from."""


@dataclass(frozen=True, slots=True)
class Response:
    """What goes out. ``headers`` beside those that every answer has."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Body | AsyncGenerator[bytes, None] = b""


class Upload(Protocol):
    """A body in a file: ``size`` bytes at ``path``, until the request is answered."""

    @property
    def path(self) -> Path:
        """Where it is."""

    @property
    def size(self) -> int:
        """How long it is."""


@dataclass(slots=True)
class AuditDetails:
    """What a handler tells the audit beyond what its route and its answer tell."""

    fields: tuple[str, ...] = ()

    def changed(self, before: Struct, after: Struct) -> None:
        """Note which fields an update changes: their names alone, since values may be secret or personal."""
        self.fields = tuple(
            key
            for name, key in zip(before.__struct_fields__, before.__struct_encode_fields__, strict=True)
            if getattr(before, name) != getattr(after, name)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What came in. ``ids`` are those of the path, by the route's names; ``raw`` is the body as it came.

    ``address`` is the client's, as the transport knows it. ``claim`` is the use of an Idempotency-Key, where there is
    one; ``note`` makes the audit entry, where it is to be part of the change. ``upload`` is the body where the route
    takes files; ``raw`` is empty then.
    """

    method: str
    path: str
    ids: Mapping[str, UUID]
    headers: Mapping[str, str]
    raw_query: bytes
    raw: bytes
    principal: Principal
    address: str = ""
    trail: AuditDetails = field(default_factory=AuditDetails)
    claim: Claim | None = None
    note: "Note | None" = None
    upload: Upload | None = None

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

    def along(self, answer: Callable[[T], Response]) -> TransactionHook[T]:
        """What a change has to do in its own transaction, told the answer that it leads to.

        That is its audit entry, and for a creation what makes asking for it again give this same answer.
        """
        claim, note = self.claim, self.note

        def first(use: Claim, stored: T) -> tuple[Claim, FirstAnswer]:
            told = answer(stored)
            body = told.body if isinstance(told.body, bytes) else None
            return use, FirstAnswer(use.fingerprint, told.status, told.headers, body)

        return TransactionHook(
            entry=None if note is None else lambda stored: note(answer(stored)),
            first=None if claim is None else partial(first, claim),
        )

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
        _require_json(self.headers)
        try:
            given = msgspec.json.decode(self.raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadRequest(f"The body is not JSON: {error}.") from error
        except RecursionError as error:
            raise BadRequest("The body is nested too deeply.") from error
        if not isinstance(given, dict):
            raise InvalidInput(f"The body must be a JSON object, and is of type {_json_type(given)}.")
        # the search is cheap where the escape does not occur, which is always
        if b"\\u0000" in self.raw and (
            field_errors := [_nul(key) for key, value in given.items() if _has_nul([key, value])]
        ):
            raise InvalidInput("A character that cannot be stored was given.", field_errors)
        return given


Handler = Callable[[Request], Awaitable[Response]]
Note = Callable[[Response], AuditEntry]
"""Says in the audit's words that a change was done, told what is answered."""
Now = Callable[[], datetime]
"""What time it is, in UTC."""


@dataclass(frozen=True, slots=True)
class JsonBody:
    """A JSON object as body: fields of ``kind``, but none of ``refuse``; those in ``require`` must be there."""

    kind: type[Struct]
    refuse: frozenset[str] = frozenset()
    require: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the route table. ``role`` None: open to everybody. ``gives`` None: whatever there is.

    ``limited`` says that it is open also to tokens that are limited to some Profiles; its handler then reaches what
    belongs to Profiles through `voxrec.web.auth.Guarded` alone.

    The rest is what the OpenAPI document tells beyond what follows from these (``voxrec.web.openapi``):

    - ``shows``: what a success shows: a type for JSON, or the media types of other bodies; ``status`` where it is not
      201 for PUT of a collection, 204 for DELETE and 200 for others; ``tells``: the names of its headers;
    - ``also``: further answers that are no problems, as ``shows``, by status;
    - ``takes``: the body: a `JsonBody` for JSON, or the media types of other bodies;
    - ``query``: the readers of the parameters, by name; ``asks``: the names of the request's headers that count;
    - ``fails``: errors beside those that follow from the method, the path, the role and the body;
    - ``once``: with an Idempotency-Key it is done once; ``again`` reads the list that it answers with, if it is one;
    - ``whole``: its change and its audit entry are one transaction: the handler hands ``ask.along`` to the store;
    - ``upload``: how many bytes the body may have, where it is a file;
    - ``summary`` (else it is made from the path) and ``tag`` (else the collection's name).
    """

    method: str
    path: str
    role: Role | None
    handler: Handler
    gives: str | None = JSON
    _: KW_ONLY
    limited: bool = False
    shows: Any = None
    status: int | None = None
    tells: tuple[str, ...] = ()
    also: Mapping[int, Any] = field(default_factory=dict)
    takes: JsonBody | tuple[str, ...] | None = None
    query: Mapping[str, Reader] = field(default_factory=dict)
    asks: tuple[str, ...] = ()
    fails: tuple[type[VoxrecError], ...] = ()
    once: bool = False
    again: Handler | None = None
    whole: bool = False
    upload: int | None = None
    summary: str = ""
    tag: str = ""


def shown(ask: Request, body: bytes) -> Response:
    """Answer a GET with one JSON representation, or say that the client has it already."""
    etag = etag_of(body)
    ask.conditions.require_readable(etag)
    if ask.conditions.unchanged(etag):
        return Response(304, {"ETag": etag})
    return Response(200, {"Content-Type": JSON, "ETag": etag}, body)


def changed(body: bytes) -> Response:
    """Answer a change with what came of it."""
    return Response(200, {"Content-Type": JSON, "ETag": etag_of(body)}, body)


def created(location: str, body: bytes) -> Response:
    """Answer a creation with where the new resource is, and what it looks like."""
    return Response(201, {"Content-Type": JSON, "ETag": etag_of(body), "Location": location}, body)


def gone() -> Response:
    """Answer a deletion."""
    return Response(204)


def _require_json(headers: Mapping[str, str]) -> None:
    kind, *parameters = (part.strip().lower() for part in headers.get("content-type", "").split(";"))
    known = {p.replace('"', "") for p in parameters if p} <= {"charset=utf-8"}
    if kind != JSON or not known:
        raise UnsupportedMedia(f"The body must be {JSON}, and Content-Type must say so.", {"Accept": JSON})
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMedia("The body must not be compressed.", {"Accept-Encoding": "identity"})


def _json_type(value: object) -> str:
    names = {list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")


def _nul(key: str) -> FieldError:
    return FieldError(key, "must not contain the character U+0000")


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
