"""A partial update of a resource: given fields replace the current values, others stay.

Fields that voxrec sets may be repeated unchanged, so that a client can GET a resource, change a field and send it back.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from voxrec.errors import FieldError, InvalidInput

S = TypeVar("S", bound=Struct)

Validator = Callable[[S, Mapping[str, Any]], Iterable[FieldError]]
"""Returns the errors of a complete instance, told which values (by attribute) the client gave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialUpdate(Generic[S]):
    """The new values by attribute, the read-only keys that the client repeated, and what is wrong with either."""

    values: Mapping[str, Any]
    conversion_errors: tuple[FieldError, ...]
    read_only: Mapping[str, Any]
    value_errors: tuple[FieldError, ...]
    validators: tuple[Validator[S], ...]

    def apply(self, current: S, representation: bytes) -> S:
        """Return the changed resource; ``representation`` is the JSON that clients see of it now.

        Raises InvalidInput with every error of the update.
        """
        shown = msgspec.json.decode(representation) if self.read_only else {}
        changed = msgspec.structs.replace(current, **self.values)
        field_errors = [
            *self.conversion_errors,
            *(
                FieldError(key, "is set by voxrec and cannot be changed")
                for key, value in self.read_only.items()
                if key not in shown or shown[key] != value
            ),
            *self.value_errors,
        ]
        for validator in self.validators:
            field_errors += validator(changed, self.values)
        require_no_errors(field_errors)
        return changed


def require_no_errors(field_errors: list[FieldError]) -> None:
    """Raise InvalidInput if there are errors."""
    if field_errors:
        count = len(field_errors)
        raise InvalidInput(f"{count} {'field is' if count == 1 else 'fields are'} invalid.", field_errors)
