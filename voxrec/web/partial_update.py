"""A partial update of a resource: the fields in the request replace the current values, others are not changed.

Fields that voxrec sets may be repeated with their current value, so that a client can GET a resource, change a field
and send it back.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from voxrec.error_codes import FieldErrorCode
from voxrec.errors import FieldError, InvalidInput
from voxrec.web.read_only import is_repeated

S = TypeVar("S", bound=Struct)

Validator = Callable[[S, Mapping[str, Any]], Iterable[FieldError]]
"""Returns the errors of a complete instance, given also the client's values by attribute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialUpdate(Generic[S]):
    """An update that is not applied yet, because that needs the current version of the resource.

    - ``values``: the new values by attribute;
    - ``conversion_errors``: errors of unknown keys and of values with a wrong type;
    - ``read_only``: the keys in the request that cannot be changed, with their values;
    - ``value_errors``: errors that the value validators found;
    - ``validators``: are called with the changed resource.
    """

    values: Mapping[str, Any]
    conversion_errors: tuple[FieldError, ...]
    read_only: Mapping[str, Any]
    value_errors: tuple[FieldError, ...]
    validators: tuple[Validator[S], ...]

    def apply(self, current: S, representation: bytes) -> S:
        """Return the changed resource; ``representation`` is the JSON that clients see of it now.

        Raises InvalidInput with every error of the update.
        """
        current_values = msgspec.json.decode(representation) if self.read_only else {}
        types = {field.encode_name: field.type for field in msgspec.structs.fields(current)} if self.read_only else {}
        changed = msgspec.structs.replace(current, **self.values)
        field_errors = [
            *self.conversion_errors,
            *(
                FieldError(key, "is set by voxrec and cannot be changed", FieldErrorCode.READ_ONLY)
                for key, value in self.read_only.items()
                if key not in current_values or not is_repeated(value, current_values[key], types.get(key, Any))
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
