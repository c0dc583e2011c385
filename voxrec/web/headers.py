"""Headers that every response has, and what Twisted received with a request, as text."""

from typing import Final

from twisted.internet.interfaces import IAddress
from twisted.web.http import Request as HTTPRequest

COMMON_HEADERS: Final = {
    b"Server": b"voxrec",
    b"Cache-Control": b"no-store",
    b"Content-Security-Policy": b"default-src 'none'; frame-ancestors 'none'",
    b"Cross-Origin-Resource-Policy": b"same-origin",
    b"Permissions-Policy": b"camera=(), display-capture=(), geolocation=(), microphone=()",
    b"Referrer-Policy": b"no-referrer",
    b"X-Content-Type-Options": b"nosniff",
    b"X-Frame-Options": b"DENY",
}
"""Headers of every response, unless it sets them itself."""
UNIX: Final = "unix"
"""The address of clients of a UNIX socket."""


def headers_of(http_request: HTTPRequest) -> dict[str, str]:
    """Return the headers by lower-case name; repeated headers are joined to a list (RFC 9110 section 5.3)."""
    return {
        name.decode("latin-1").lower(): b", ".join(values).decode("utf-8", "surrogateescape")
        for name, values in http_request.requestHeaders.getAllRawHeaders()
    }


def peer_host(address: IAddress) -> str:
    """Return the IP address of a peer, or UNIX."""
    return str(getattr(address, "host", UNIX))
