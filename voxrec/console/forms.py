"""Forms: what was entered, and what the REST API says about each field."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from voxrec.console.form_data import form_entries
from voxrec.console.messages import field_message, problem_message
from voxrec.console.rest_client import RestFailed
from voxrec.console.visit import Visit
from voxrec.model import Role
from voxrec.web.errors import TooManyAttempts
from voxrec.web.request import Request

_CORRECTABLE: Final = frozenset({409, 412, 413, 422, 429})
_ALL: Final = "all"


@dataclass(frozen=True, slots=True)
class FormState:
    """What a form shows: ``values`` and ``errors`` by name of the field, and ``problem``, which concerns no field.

    ``id_prefix`` precedes the ids of its elements, on pages with several forms.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    errors: Mapping[str, list[str]] = field(default_factory=dict)
    problem: str = ""
    id_prefix: str = ""

    @property
    def is_rejected(self) -> bool:
        """Whether the form shows why it was rejected."""
        return bool(self.errors or self.problem)

    def value(self, name: str) -> Any:
        """Return the value of a field; empty if there is none."""
        return self.values.get(name, "")


def rejected(
    visit: Visit,
    failed: RestFailed,
    values: Mapping[str, Any],
    names: Collection[str],
    renamed: Mapping[str, str] = MappingProxyType({}),
) -> FormState:
    """Return the state of a form that REST has refused; ``names`` are its fields.

    ``renamed`` are names of fields of the form by those of REST, where they differ. Raises ``failed`` if no other
    entries would help, for example because a permission is missing.
    """
    problem = failed.problem
    if problem.status not in _CORRECTABLE:
        raise failed
    if problem.code == TooManyAttempts.code:
        detail = visit.language.text("throttled", seconds=failed.headers.get("Retry-After", "60"))
        return FormState(values, problem=detail)
    errors: dict[str, list[str]] = {}
    others = []
    for error in problem.errors:
        rest_name = error.field.partition("[")[0].partition(".")[0]
        name = renamed.get(rest_name, rest_name)
        if name in names:
            errors.setdefault(name, []).append(field_message(visit.language, error))
        else:
            others.append(f"{error.field}: {field_message(visit.language, error)}")
    if problem.status == 412:
        return FormState(values, problem=visit.language.text("changed_by_another"))
    message = "; ".join(others) if errors or others else problem_message(visit.language, problem)
    return FormState(values, errors, message)


def form_lists(request: Request) -> dict[str, list[str]]:
    """Return the values of each field of a form with check boxes. Raises BadRequest or TooLarge."""
    values: dict[str, list[str]] = {}
    for name, value in form_entries(request):
        values.setdefault(name, []).append(value)
    return values


def chosen_profiles(lists: Mapping[str, list[str]]) -> list[str] | None:
    """Return the ids of the Profiles that were chosen, or None for all Profiles.

    If none was chosen, the list is empty, which REST refuses: a user must not get access to all by accident.
    """
    return None if lists.get("scope", [_ALL])[-1] == _ALL else lists.get("profileIds", [])


async def profile_options(visit: Visit, chosen: Collection[str] | None) -> dict[str, str]:
    """Return names of Profiles by id, among them those that are chosen."""
    names = await visit.profile_names()
    return {**names, **{profile_id: profile_id for profile_id in chosen or () if profile_id not in names}}


def role_options(visit: Visit) -> list[tuple[str, str]]:
    """Return the roles with their names in the user's language."""
    return [(role.value, visit.language.text(f"role_{role}")) for role in Role]


def parse_number(text: str) -> object:
    """Return a number; what is not a number as it is, for the REST API to refuse it; None for nothing."""
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text
