"""The HTTP request that a handler receives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec
from msgspec import Struct

from voxrec.errors import FieldError, InvalidInput
from voxrec.idempotency import IdempotencyKey, IdempotencyRecord
from voxrec.model import AuditEntry
from voxrec.store.transaction_hook import TransactionHook
from voxrec.web.auth import Principal
from voxrec.web.conditions import Conditions
from voxrec.web.problems import BadRequest, UnsupportedMedia
from voxrec.web.response import JSON, Response

T = TypeVar("T")
Now = Callable[[], datetime]
"""Returns the current time in UTC."""


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
    one; ``audit_entry`` makes the audit entry, where it is to be part of the change. ``upload`` is the body where the
    route takes files; ``raw`` is empty then.
    """

    method: str
    path: str
    ids: Mapping[str, UUID]
    headers: Mapping[str, str]
    raw_query: bytes
    raw: bytes
    principal: Principal
    address: str = ""
    audit_details: AuditDetails = field(default_factory=AuditDetails)
    claim: IdempotencyKey | None = None
    audit_entry: Callable[[Response], AuditEntry] | None = None
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

    def transaction_hook(self, respond: Callable[[T], Response]) -> TransactionHook[T]:
        """What a change has to do in its own transaction, told the answer that it leads to.

        That is its audit entry, and for a creation what makes asking for it again give this same answer.
        """
        claim, audit_entry = self.claim, self.audit_entry

        def first(use: IdempotencyKey, stored: T) -> tuple[IdempotencyKey, IdempotencyRecord]:
            response = respond(stored)
            body = response.body if isinstance(response.body, bytes) else None
            return use, IdempotencyRecord(use.fingerprint, response.status, response.headers, body)

        return TransactionHook(
            audit_entry=None if audit_entry is None else lambda stored: audit_entry(respond(stored)),
            idempotency=None if claim is None else partial(first, claim),
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
