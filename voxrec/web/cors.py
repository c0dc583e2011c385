"""Which web pages of other origins may use REST (the Fetch standard's CORS protocol). Tokens, no cookies."""

from collections.abc import Collection
from typing import Final

from twisted.web.server import Request as HTTPRequest

ANY: Final = "*"
_EXPOSED: Final = (
    "ETag, Link, Location, Content-Disposition, Content-Range, Accept-Ranges, Retry-After, WWW-Authenticate"
)
_METHODS: Final = "GET, HEAD, PUT, POST, DELETE"
_HEADERS: Final = (
    "Authorization, Content-Type, If-Match, If-None-Match, If-Range, Range, Idempotency-Key, Last-Event-ID"
)
_REMEMBER: Final = "600"  # seconds


class Cors:
    """Lets pages in whose origin is one of ``origins`` exactly, or all where "*" is; without any it does nothing."""

    def __init__(self, origins: Collection[str]) -> None:
        self._origins = frozenset(origins)

    def admit(self, request: HTTPRequest) -> bool:
        """Put the headers where they belong; True where that is all there is to answer: a preflight."""
        if not self._origins:
            return False
        if ANY not in self._origins:
            request.setHeader("Vary", "Origin")
        origin = request.getHeader("origin")
        if origin is None or not self._origins & {ANY, origin}:
            return False
        request.setHeader("Access-Control-Allow-Origin", ANY if ANY in self._origins else origin)
        request.setHeader("Access-Control-Expose-Headers", _EXPOSED)
        if request.method != b"OPTIONS" or request.getHeader("access-control-request-method") is None:
            return False
        request.setHeader("Access-Control-Allow-Methods", _METHODS)
        request.setHeader("Access-Control-Allow-Headers", _HEADERS)
        request.setHeader("Access-Control-Max-Age", _REMEMBER)
        return True
