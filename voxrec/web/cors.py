"""Cross-origin requests of web pages (CORS protocol of the Fetch standard), with tokens and without cookies."""

from collections.abc import Collection
from typing import Final

from twisted.web.server import Request as HTTPRequest

ANY_ORIGIN: Final = "*"
_EXPOSED_HEADERS: Final = (
    "ETag, Link, Location, Content-Disposition, Content-Range, Accept-Ranges, Retry-After, WWW-Authenticate"
)
_METHODS: Final = "GET, HEAD, PUT, POST, DELETE"
_REQUEST_HEADERS: Final = (
    "Authorization, Content-Type, If-Match, If-None-Match, If-Range, Range, Idempotency-Key, Last-Event-ID"
)
_MAX_AGE: Final = "600"  # seconds for which browsers may cache the response to a preflight


class Cors:
    """Allows requests from pages of these origins, which are compared exactly; "*" allows all origins."""

    def __init__(self, origins: Collection[str]) -> None:
        self.set_origins(origins)

    def set_origins(self, origins: Collection[str]) -> None:
        """Allow requests from pages of these origins, and of no others."""
        self._origins = frozenset(origins)

    def set_headers(self, http_request: HTTPRequest) -> bool:
        """Set the response headers. Return True if the request is a preflight, whose response has no body."""
        if not self._origins:
            return False
        if ANY_ORIGIN not in self._origins:
            http_request.setHeader("Vary", "Origin")
        origin = http_request.getHeader("origin")
        if origin is None or not self._origins & {ANY_ORIGIN, origin}:
            return False
        allowed = ANY_ORIGIN if ANY_ORIGIN in self._origins else origin
        http_request.setHeader("Access-Control-Allow-Origin", allowed)
        http_request.setHeader("Access-Control-Expose-Headers", _EXPOSED_HEADERS)
        if http_request.method != b"OPTIONS" or http_request.getHeader("access-control-request-method") is None:
            return False
        http_request.setHeader("Access-Control-Allow-Methods", _METHODS)
        http_request.setHeader("Access-Control-Allow-Headers", _REQUEST_HEADERS)
        http_request.setHeader("Access-Control-Max-Age", _MAX_AGE)
        return True
