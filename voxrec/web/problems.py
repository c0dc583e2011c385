"""Every error as a problem document (RFC 9457): one shape for programs, one sentence for people, never HTML."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import ClassVar, Final
from uuid import uuid4

import msgspec
from msgspec import Struct
from twisted.logger import Logger
from twisted.python.failure import Failure
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from voxrec.errors import Conflict, FieldError, InvalidInput, Unavailable, VoxrecError

PROBLEM_TYPE: Final = "application/problem+json"
_RETRY: Final = "2"  # seconds after which a dependency that was lost may well be back
_log = Logger()


class RestError(VoxrecError):
    """What only HTTP can get wrong. ``headers`` go out with the answer."""

    def __init__(self, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.headers = dict(headers or {})


class BadRequest(RestError):
    """The request cannot be read: the body is not JSON, say."""

    status = 400
    code = "bad-request"


class NotAuthenticated(RestError):
    """No token, or one that is not valid. ``error`` is RFC 6750's word for it (section 3.1)."""

    status = 401
    code = "not-authenticated"

    def __init__(self, detail: str, error: str = "") -> None:
        challenge = 'Bearer realm="voxrec"' + (f', error="{error}"' if error else "")
        super().__init__(detail, {"WWW-Authenticate": challenge})


class NotAllowed(RestError):
    """The token is valid, and its role is too small for this."""

    status = 403
    code = "not-allowed"


class NotAcceptable(RestError):
    """The client accepts nothing that there is to give."""

    status = 406
    code = "not-acceptable"


class PreconditionFailed(RestError):
    """If-Match or If-None-Match says that the client has another version in mind."""

    status = 412
    code = "precondition-failed"


class TooLarge(RestError):
    """The body is larger than the configured limit."""

    status = 413
    code = "too-large"


class UnsupportedMedia(RestError):
    """The body's Content-Type or Content-Encoding is not one that is read here."""

    status = 415
    code = "unsupported-media-type"


class RangeNotSatisfiable(RestError):
    """The range asked for lies beyond the audio's end."""

    status = 416
    code = "range-not-satisfiable"


class TooManyAttempts(RestError):
    """Too many wrong tokens came from this address."""

    status = 429
    code = "too-many-attempts"


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The document. ``reference`` names the log entry where there is one."""

    media_type: ClassVar[str] = PROBLEM_TYPE

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: tuple[FieldError, ...] = ()
    reference: str | None = None

    def encode(self) -> bytes:
        """The document as JSON."""
        return msgspec.json.encode(self)


def problem_of(error: BaseException) -> tuple[Problem, dict[str, str]]:
    """What the client is told about an error, and the headers that belong to it.

    What is no fault of the client's is logged here, once, under the reference that the client sees: its detail may
    name hosts and paths that are none of the client's business.
    """
    match error:
        case HTTPException():
            return _of_routing(error)
        case VoxrecError(status=status) if status < 500:
            field_errors = error.field_errors if isinstance(error, InvalidInput | Conflict) else ()
            headers = error.headers if isinstance(error, RestError) else {}
            return _problem(status, error.code, error.detail, errors=tuple(field_errors)), headers
        case RestError():
            reference = _logged(error)
            return _problem(error.status, error.code, error.detail, reference=reference), error.headers
        case Unavailable():
            reference = _reference()
            _log.warn("REST answers 503, reference {reference}: {detail}", reference=reference, detail=error.detail)
            detail = "Something that this needs does not answer now. The same request may succeed later."
            return _problem(503, error.code, detail, reference=reference), {"Retry-After": _RETRY}
        case _:
            code = error.code if isinstance(error, VoxrecError) else VoxrecError.code
            return _problem(500, code, "Something went wrong here. It is logged.", reference=_logged(error)), {}


def _of_routing(error: HTTPException) -> tuple[Problem, dict[str, str]]:
    status = error.code or 500
    if isinstance(error, MethodNotAllowed):
        allow = allowed_methods(error)
        return _problem(405, "method-not-allowed", f"Allowed here: {allow}."), {"Allow": allow}
    if status == 404:
        return _problem(404, "not-found", "There is no such resource. Paths have no slash at their end."), {}
    return _problem(status, _kebab(HTTPStatus(status).phrase), "The request cannot be read."), {}


def allowed_methods(error: MethodNotAllowed) -> str:
    """What Allow says where the method is none of the resource's."""
    return ", ".join(sorted({*(error.valid_methods or ()), "OPTIONS"}))


def _problem(
    status: int, code: str, detail: str, *, errors: tuple[FieldError, ...] = (), reference: str | None = None
) -> Problem:
    return Problem(
        type=f"urn:voxrec:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        errors=errors,
        reference=reference,
    )


def _logged(error: BaseException) -> str:
    reference = _reference()
    _log.failure("REST failed, reference {reference}", Failure(error), reference=reference)
    return reference


def _reference() -> str:
    return uuid4().hex[:12]


def _kebab(phrase: str) -> str:
    return re.sub(r"[^a-z]+", "-", phrase.lower())
