"""Errors of the HTTP protocol. Each has the status and the problem code of its response."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from voxrec.error_codes import ProblemReason
from voxrec.errors import VoxrecError


class RestError(VoxrecError):
    """An error of the HTTP protocol. ``headers`` are sent with the response."""

    def __init__(
        self,
        detail: str,
        headers: Mapping[str, str] | None = None,
        *,
        reason: ProblemReason | None = None,
        params: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        super().__init__(detail, reason=reason, params=params)
        self.headers = dict(headers or {})


class InternalError(RestError):
    """An unexpected error occurred. It is logged under the `reference` of the response."""


class BadRequest(RestError):
    """The request cannot be parsed, for example because the body is not JSON."""

    status = 400
    code = "bad-request"


class NotAuthenticated(RestError):
    """The request has no valid token."""

    status = 401
    code = "not-authenticated"

    def __init__(self, detail: str, error: str = "") -> None:
        """``error`` is an error code of RFC 6750 section 3.1."""
        challenge = 'Bearer realm="voxrec"' + (f', error="{error}"' if error else "")
        super().__init__(detail, {"WWW-Authenticate": challenge})


class SignInExpired(NotAuthenticated):
    """The time to enter the code has passed, or too many wrong codes were entered. Sign in again."""

    code = "sign-in-expired"


class NotAllowed(RestError):
    """The token is valid, but its role or its profiles do not permit the request."""

    status = 403
    code = "not-allowed"


class NotAcceptable(RestError):
    """The Accept header excludes the media type of the resource."""

    status = 406
    code = "not-acceptable"


class PreconditionFailed(RestError):
    """If-Match or If-None-Match does not permit the request for the current version."""

    status = 412
    code = "precondition-failed"


class RequestTimeout(RestError):
    """The request was not received in time."""

    status = 408
    code = "request-timeout"


class TooLarge(RestError):
    """The body exceeds the size limit, or has too many values."""

    status = 413
    code = "too-large"


class UriTooLong(RestError):
    """The method and the URL together are too long."""

    status = 414
    code = "uri-too-long"


class HeadersTooLarge(RestError):
    """The headers are too large or too many."""

    status = 431
    code = "headers-too-large"


class UnsupportedMedia(RestError):
    """The Content-Type or the Content-Encoding of the body is not supported."""

    status = 415
    code = "unsupported-media-type"


class RangeNotSatisfiable(RestError):
    """The requested range begins after the end of the file."""

    status = 416
    code = "range-not-satisfiable"


class TooManyAttempts(RestError):
    """Too many invalid tokens were sent from the client's address."""

    status = 429
    code = "too-many-attempts"


class TooManyRequests(RestError):
    """Too many requests of the client are in progress, or were sent within a minute. Retry later."""

    status = 429
    code = "too-many-requests"


class ClientDisconnected(RestError):
    """The client has disconnected, or voxrec is stopping, so that the response is not produced."""

    status = 408
    code = "client-disconnected"
