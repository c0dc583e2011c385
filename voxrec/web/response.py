"""The HTTP response that a handler returns, and the responses that most handlers share."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Protocol

import msgspec

from voxrec.web.conditions import Conditions, etag_of

JSON: Final = "application/json"


class BodyStream(Protocol):
    """The parts of a streamed response body, in order. The response writer always closes it."""

    def __aiter__(self) -> "BodyStream":
        """Return the stream itself."""

    async def __anext__(self) -> bytes:
        """Return the next part, or raise StopAsyncIteration."""

    async def aclose(self) -> None:
        """Release the resources that the body is read from."""


@dataclass(frozen=True, slots=True)
class Response:
    """A response. ``headers`` are sent in addition to those that every response has.

    ``is_live``: the body is heard as it is produced, so that a client that receives nothing is disconnected soon.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | BodyStream | AsyncGenerator[bytes, None] = b""
    is_live: bool = False


async def unsent_body() -> AsyncGenerator[bytes, None]:
    """Return the streamed body of a response to HEAD, so that no Content-Length is sent."""
    return
    yield b""


def json_response(document: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response with a JSON document, and ``headers`` besides Content-Type."""
    return Response(status, {"Content-Type": JSON, **(headers or {})}, msgspec.json.encode(document))


def not_modified(
    conditions: Conditions, etag: str, headers: Mapping[str, str] = MappingProxyType({})
) -> Response | None:
    """Return 304 if a client that retrieves a representation has the version ``etag``; None if it is to be sent.

    ``headers`` are those of the representation about caches, which 304 must repeat (RFC 9110 section 15.4.5). Raises
    PreconditionFailed if If-Match does not list this version.
    """
    conditions.require_readable(etag)
    return Response(304, {**headers, "ETag": etag}) if conditions.unchanged(etag) else None


def conditional_get(
    conditions: Conditions, body: bytes, content_type: str = JSON, headers: Mapping[str, str] = MappingProxyType({})
) -> Response:
    """Return 200 with a representation, by default JSON, or 304 if the client has this version.

    ``headers`` are those about caches. Raises PreconditionFailed if If-Match does not list this version.
    """
    etag = etag_of(body)
    return not_modified(conditions, etag, headers) or Response(
        200, {**headers, "Content-Type": content_type, "ETag": etag}, body
    )


def updated(body: bytes) -> Response:
    """Return 200 with the JSON representation of a changed resource."""
    return Response(200, {"Content-Type": JSON, "ETag": etag_of(body)}, body)


def created(location: str, body: bytes) -> Response:
    """Return 201 with the URL and the JSON representation of a new resource."""
    return Response(201, {"Content-Type": JSON, "ETag": etag_of(body), "Location": location}, body)


def no_content() -> Response:
    """Return 204, for example after a deletion."""
    return Response(204)
