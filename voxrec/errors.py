"""What can go wrong, in few families.

Each error has a stable ``code`` for programs, a ``detail`` for people, and the HTTP ``status`` that the REST room
answers with when the error reaches it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong field: where it stands (``remoteSipUri``, ``database.dsn``), and what is wrong and allowed."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class VoxrecError(Exception):
    """The root: everything that voxrec raises on purpose."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class InvalidInput(VoxrecError):
    """What was given does not fit; names every field at fault."""

    status = 422
    code = "invalid"

    def __init__(self, detail: str, field_errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail)
        self.field_errors = tuple(field_errors)


class ConfigError(InvalidInput):
    """The configuration cannot be used; the start stops."""

    code = "config"

    def __str__(self) -> str:
        return "\n".join([self.detail, *(f"  {fault}" for fault in self.field_errors)])


class NotFound(VoxrecError):
    """No such thing."""

    status = 404
    code = "not-found"


class Conflict(VoxrecError):
    """It would break a rule that holds over several things: a number in use twice, say."""

    status = 409
    code = "conflict"

    def __init__(self, detail: str, field_errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail)
        self.field_errors = tuple(field_errors)


class Unavailable(VoxrecError):
    """Something that voxrec depends on does not answer now; the same request may succeed later."""

    status = 503
    code = "unavailable"


class StoreUnavailable(Unavailable):
    """PostgreSQL cannot be reached, or refused, or took too long."""

    code = "store-unavailable"


class AsteriskUnavailable(Unavailable):
    """Asterisk cannot be reached, or the connection was lost before it answered."""

    code = "asterisk-unavailable"


class AudioError(VoxrecError):
    """A file is not the audio that it should be: empty, cut inside its header, of an unknown format."""

    code = "audio"


class DeliveryError(VoxrecError):
    """A message could not be handed over. ``permanent`` says that trying again cannot help."""

    code = "delivery"

    def __init__(self, detail: str, *, permanent: bool) -> None:
        super().__init__(detail)
        self.permanent = permanent
