"""What Twisted received with a request, as text."""

from typing import Final

from twisted.internet.interfaces import IAddress
from twisted.web.http import Request as HTTPRequest

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
