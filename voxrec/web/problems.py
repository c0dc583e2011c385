"""Errors as problem details (RFC 9457), for every error including those of Klein and of unexpected exceptions."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, ClassVar, Final
from uuid import uuid4

import msgspec
from msgspec import Meta, Struct
from twisted.logger import Logger
from twisted.python.failure import Failure
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from voxrec.error_codes import FieldErrorCode
from voxrec.errors import FieldError, Unavailable, VoxrecError
from voxrec.web.errors import RestError
from voxrec.web.response import Response

PROBLEM_TYPE: Final = "application/problem+json"
MAX_ERRORS: Final = 100
"""Invalid fields that one response lists."""
_MAX_FIELD_LENGTH: Final = 200  # characters of a name or a value that the client chose
_MAX_MESSAGE_LENGTH: Final = 2000  # characters; messages repeat values that the client chose
_RETRY_AFTER: Final = "2"  # seconds
_log = Logger()


class InvalidField(Struct, frozen=True, kw_only=True):
    """A field of a request that is invalid."""

    field: Annotated[str, Meta(description="Its path, such as `remoteSipUri`.")]
    message: Annotated[str, Meta(description="What is wrong and what is allowed, in English.")]
    code: Annotated[
        str,
        Meta(
            description="What is wrong, as one of the codes in the API guide. Later versions may add some.",
            examples=["too-long"],
        ),
    ] = FieldErrorCode.INVALID
    params: Annotated[
        dict[str, Any],
        Meta(
            description="What the code refers to, such as the limit.",
            extra_json_schema={"examples": [{"maximum": 255}]},
        ),
    ] = {}


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Problem details.

    - ``reason``: which of the causes of ``code`` it is, where there are several, such as ``legal-hold``; ``params`` are
      its parameters
    - ``reference``: identifies the log entry of an error that is not the client's
    """

    media_type: ClassVar[str] = PROBLEM_TYPE

    type: str
    title: str
    status: int
    detail: str
    code: str
    reason: str | None = None
    params: dict[str, Any] = {}
    errors: tuple[InvalidField, ...] = ()
    reference: str | None = None


def problem_response(error: BaseException) -> Response:
    """Return the response for an exception.

    Errors that are not the client's are logged with a reference, which the response repeats. Their details are not
    sent, because they may contain names of hosts and paths.
    """
    problem, headers = _problem_of(error)
    return Response(problem.status, {**headers, "Content-Type": PROBLEM_TYPE}, msgspec.json.encode(problem))


def allowed_methods(error: MethodNotAllowed) -> str:
    """Return the value of the Allow header."""
    return ", ".join(sorted({*(error.valid_methods or ()), "OPTIONS"}))


def _problem_of(error: BaseException) -> tuple[Problem, Mapping[str, str]]:
    match error:
        case HTTPException():
            return _routing_problem(error)
        case VoxrecError(status=status) if status < 500:
            headers = error.headers if isinstance(error, RestError) else {}
            return _client_problem(error), headers
        case RestError():
            reference = _log_failure(error)
            return _problem(error.status, error.code, error.detail, reference=reference), error.headers
        case Unavailable():
            reference = _new_reference()
            _log.warn(
                "REST: responding with 503, reference {reference}: {detail}", reference=reference, detail=error.detail
            )
            detail = "A service that voxrec depends on is unavailable. Retry the request later."
            if error.is_public:
                detail = error.detail
            return _problem(503, error.code, detail, reference=reference), {"Retry-After": _RETRY_AFTER}
        case _:
            code = error.code if isinstance(error, VoxrecError) else VoxrecError.code
            detail = "An internal error occurred. It is logged under the reference."
            return _problem(500, code, detail, reference=_log_failure(error)), {}


def _client_problem(error: VoxrecError) -> Problem:
    """Return the problem of an error of the client, of a bounded size: a request must not cause a much larger response.

    The detail says how many invalid fields are not listed.
    """
    detail = error.detail
    if (more := len(error.field_errors) - MAX_ERRORS) > 0:
        detail = f"{detail} The first {MAX_ERRORS} errors are listed; there are {more} more."
    return msgspec.structs.replace(
        _problem(error.status, error.code, _abbreviate(detail, _MAX_MESSAGE_LENGTH)),
        reason=error.problem_reason,
        params=_abbreviated(error.params),
        errors=tuple(map(_invalid_field, error.field_errors[:MAX_ERRORS])),
    )


def _invalid_field(error: FieldError) -> InvalidField:
    return InvalidField(
        field=_abbreviate(error.field, _MAX_FIELD_LENGTH),
        message=_abbreviate(error.message, _MAX_MESSAGE_LENGTH),
        code=error.code,
        params=_abbreviated(error.params),
    )


def _abbreviated(params: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _abbreviate(value, _MAX_FIELD_LENGTH) if isinstance(value, str) else value
        for name, value in params.items()
    }


def _abbreviate(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"


def _routing_problem(error: HTTPException) -> tuple[Problem, Mapping[str, str]]:
    status = error.code or 500
    if isinstance(error, MethodNotAllowed):
        methods = allowed_methods(error)
        return _problem(405, "method-not-allowed", f"Allowed methods: {methods}."), {"Allow": methods}
    if status == 404:
        return _problem(404, "not-found", "This resource does not exist. Paths have no trailing slash."), {}
    return _problem(status, _kebab_case(HTTPStatus(status).phrase), "The request cannot be parsed."), {}


def _problem(status: int, code: str, detail: str, *, reference: str | None = None) -> Problem:
    return Problem(
        type=f"urn:voxrec:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        reference=reference,
    )


def _log_failure(error: BaseException) -> str:
    reference = _new_reference()
    _log.failure("REST: request failed, reference {reference}", Failure(error), reference=reference)
    return reference


def _new_reference() -> str:
    return uuid4().hex[:12]


def _kebab_case(phrase: str) -> str:
    return re.sub(r"[^a-z]+", "-", phrase.lower())
