"""The HTTP request that a handler receives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol
from uuid import UUID

from msgspec import Struct

from voxrec.idempotency import IdempotencyKey
from voxrec.model import AuditEntry
from voxrec.sanitize import sanitize_line
from voxrec.web.auth import Principal
from voxrec.web.conditions import Conditions
from voxrec.web.response import Response

_MAX_USER_AGENT: Final = 255  # characters


class Upload(Protocol):
    """A request body in a file, which exists until the response is sent."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def size(self) -> int:
        """The size in bytes."""


@dataclass(slots=True)
class AuditDetails:
    """What a handler adds to the audit entry of its request."""

    fields: tuple[str, ...] = ()
    reason: str | None = None

    def changed(self, before: Struct, after: Struct) -> None:
        """Record the names of the changed fields, not their values, which may be secret or personal."""
        self.fields = tuple(
            key
            for name, key in zip(before.__struct_fields__, before.__struct_encode_fields__, strict=True)
            if getattr(before, name) != getattr(after, name)
        )


@dataclass(slots=True, kw_only=True)
class Request:
    """A request. Middlewares set ``idempotency_key`` and ``make_audit_entry``; binding sets ``query`` and ``body``.

    - ``path``: without superfluous percent-encoding;
    - ``ids``: the UUIDs of the path, by the names that the route gives them;
    - ``name``: the path parameter "name", which is a text and not a UUID; empty if the path has none;
    - ``headers``: by lower-case name;
    - ``raw_query``, ``raw_body``: as received; ``raw_body`` is empty if the body is a file;
    - ``query``: the values that the route's ``query`` declares, by parameter name; absent parameters have no entry;
    - ``body``: the value that the route's ``body`` declares;
    - ``upload``: the body of a route that accepts files;
    - ``form``: the form in ``raw_body`` once a page has parsed it, so that it is parsed once;
    - ``address``: the client's IP address, or "unix";
    - ``disconnected``: returns whether the client has left; may be called in any thread;
    - ``idempotency_key``: set if the request has an Idempotency-Key and the route accepts it;
    - ``make_audit_entry``: returns the audit entry for a response, if it is stored in the transaction of the change.
    """

    method: str
    path: str
    ids: Mapping[str, UUID]
    headers: Mapping[str, str]
    raw_query: bytes
    raw_body: bytes
    principal: Principal
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    upload: Upload | None = None
    form: Any = None
    address: str = ""
    disconnected: Callable[[], bool] = lambda: False
    name: str = ""
    audit_details: AuditDetails = field(default_factory=AuditDetails)
    idempotency_key: IdempotencyKey | None = None
    make_audit_entry: Callable[[Response], AuditEntry] | None = None

    @property
    def id(self) -> UUID:
        """The UUID of the path parameter "id"."""
        return self.ids["id"]

    @property
    def conditions(self) -> Conditions:
        """The preconditions If-Match and If-None-Match."""
        return Conditions(self.headers.get("if-match"), self.headers.get("if-none-match", ""))

    @property
    def user_agent(self) -> str:
        """The beginning of the client's User-Agent header, as one printable line; empty without one."""
        return sanitize_line(self.headers.get("user-agent", ""), _MAX_USER_AGENT)
