"""The exceptions of voxrec.

Each class has a stable ``code`` for programs and the HTTP ``status`` with which REST answers when the exception reaches
it; each instance has a ``detail`` for people.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Final

from voxrec.error_codes import FieldErrorCode, ProblemReason

_NO_PARAMS: Final[Mapping[str, Any]] = MappingProxyType({})


class InvalidValue(ValueError):
    """A value is invalid: what is wrong and what is allowed, for people, and as a code with parameters of JSON types.

    The message completes a sentence that begins with the name of the value, or with that of its type.
    """

    def __init__(
        self, message: str, code: FieldErrorCode = FieldErrorCode.INVALID, params: Mapping[str, Any] = _NO_PARAMS
    ) -> None:
        super().__init__(message)
        self.code = code
        self.params = params


@dataclasses.dataclass(frozen=True, slots=True)
class FieldError:
    """An invalid field.

    - ``field``: its path, such as ``remoteSipUri`` or ``database.dsn``
    - ``message``: what is wrong and what is allowed, in English
    - ``code``, ``params``: the same for programs, and for pages in other languages; ``params`` have types of JSON
    """

    field: str
    message: str
    code: FieldErrorCode = FieldErrorCode.INVALID
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, name: str, error: InvalidValue, message: str = "") -> "FieldError":
        """Return the error of a field whose value is invalid; ``message`` replaces that of ``error``."""
        return cls(name, message or str(error), error.code, error.params)

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class VoxrecError(Exception):
    """Base class of all exceptions that voxrec raises deliberately.

    ``field_errors`` are the fields of the input that cause it. ``problem_reason`` distinguishes causes that share a
    ``code``; ``params`` are its parameters, of types of JSON.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"

    def __init__(
        self,
        detail: str,
        field_errors: Sequence[FieldError] = (),
        *,
        reason: ProblemReason | None = None,
        params: Mapping[str, Any] = _NO_PARAMS,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field_errors = tuple(field_errors)
        self.problem_reason = reason
        self.params = params


class InvalidInput(VoxrecError):
    """The input is invalid. Every invalid field is reported, not only the first one."""

    status = 422
    code = "invalid"


def invalid_field(error: FieldError) -> InvalidInput:
    """Return the error of input with one invalid field."""
    return InvalidInput("1 field is invalid.", [error])


class ConfigError(InvalidInput):
    """The settings are invalid; the daemon does not start."""

    code = "config"

    def __str__(self) -> str:
        return "\n".join([self.detail, *(f"  {error}" for error in self.field_errors)])


class NotFound(VoxrecError):
    """The requested object does not exist."""

    status = 404
    code = "not-found"


class Conflict(VoxrecError):
    """The change conflicts with another object, for example because a number must be unique."""

    status = 409
    code = "conflict"


class Unavailable(VoxrecError):
    """A service that voxrec depends on does not respond. The same request may succeed later."""

    status = 503
    code = "unavailable"
    is_public: ClassVar[bool] = False
    """Whether REST clients get the detail, which then contains no names of hosts and paths."""


class StoreUnavailable(Unavailable):
    """PostgreSQL is unreachable, refused the connection, or exceeded a timeout."""

    code = "store-unavailable"


class StatementTimeout(StoreUnavailable):
    """PostgreSQL has cancelled a statement that took longer than ``database.statement_timeout``."""


class ListTimeout(Unavailable):
    """The requested recordings were not found in time. The detail names the filters, and what to add."""

    code = "list-timeout"
    is_public = True


class AsteriskUnavailable(Unavailable):
    """Asterisk is unreachable, or the connection was lost before it responded."""

    code = "asterisk-unavailable"


class CommandNotSent(AsteriskUnavailable):
    """The command was not sent, because Asterisk is not connected: it has certainly no effect."""


class NodeUnreachable(Unavailable):
    """The node that has a call or a Recording does not respond. The detail names it, also for REST clients."""

    code = "node-unreachable"
    is_public = True


class OtherNode(Conflict):
    """Another node has the call, and only that node can do this. The detail names it."""

    code = "other-node"


class AudioError(VoxrecError):
    """A file is not valid audio: it is empty, truncated inside its header, or has an unknown format."""

    code = "audio"


class DeliveryError(VoxrecError):
    """A message could not be delivered.

    ``permanent`` is true if a retry cannot succeed. ``retry_after`` is the number of seconds before which the receiver
    does not want a retry.
    """

    code = "delivery"

    def __init__(self, detail: str, *, permanent: bool, retry_after: float = 0.0) -> None:
        super().__init__(detail)
        self.permanent = permanent
        self.retry_after = retry_after
