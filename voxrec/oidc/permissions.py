"""What the claims of a user at the identity provider permit: the name, the role and the Profiles."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from voxrec.model import Role
from voxrec.oidc.errors import ProviderSignInError, Reason

_NOT_IN_NAMES: Final = re.compile(r"[^a-z0-9._@-]+")
_MAX_NAME: Final = 64  # characters
_MAX_VALUES: Final = 10_000  # of a claim


@dataclass(frozen=True, slots=True)
class ClaimMapping:
    """How claims become permissions.

    - ``name_claim``: the claim with the name; without it, ``email`` and then ``sub`` are used;
    - ``role_claim``, ``roles``: the claim with groups or roles, and the role that each of its values gives; the highest
      one applies, or ``default_role`` if there is none;
    - ``profile_claim``, ``profiles``: the claim whose values give access to Profiles; None stands for all Profiles.
      Without ``profile_claim``, users have access to all Profiles; administrators always do.
    """

    name_claim: str = "preferred_username"
    role_claim: str = "groups"
    roles: Mapping[str, Role] = field(default_factory=dict)
    default_role: Role | None = None
    profile_claim: str = ""
    profiles: Mapping[str, Collection[UUID] | None] = field(default_factory=dict)

    @property
    def claims(self) -> set[str]:
        """The claims that are needed besides ``sub``."""
        return {name for name in (self.name_claim, self.role_claim, self.profile_claim) if name}

    def name(self, claims: Mapping[str, Any]) -> str:
        """Return the name in voxrec: lower-case letters, digits and ``._@-``. Raises ProviderSignInError."""
        for claim in (self.name_claim, "email", "sub"):
            value = claim_value(claims, claim)
            if isinstance(value, str) and (name := _NOT_IN_NAMES.sub("-", value.lower()).strip("-._@")):
                return name[:_MAX_NAME]
        raise ProviderSignInError(Reason.NAME, f"the claim {self.name_claim!r} contains no name")

    def role(self, claims: Mapping[str, Any]) -> Role:
        """Return the highest role that the claims give. Raises ProviderSignInError if there is none."""
        given = {self.roles[value] for value in _texts(claim_value(claims, self.role_claim)) if value in self.roles}
        for role in reversed(Role):
            if role in given:
                return role
        if self.default_role is not None:
            return self.default_role
        raise ProviderSignInError(Reason.NO_ROLE, f"no value of the claim {self.role_claim!r} gives a role")

    def profile_ids(self, claims: Mapping[str, Any], role: Role) -> tuple[UUID, ...] | None:
        """Return the Profiles to which the claims give access; None: all. Raises ProviderSignInError without one."""
        if not self.profile_claim or role is Role.ADMIN:
            return None
        found: set[UUID] = set()
        for value in _texts(claim_value(claims, self.profile_claim)):
            if value not in self.profiles:
                continue
            profiles = self.profiles[value]
            if profiles is None:
                return None
            found.update(profiles)
        if not found:
            raise ProviderSignInError(Reason.NO_ROLE, f"no value of the claim {self.profile_claim!r} gives a Profile")
        return tuple(sorted(found))


def claim_value(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim. Dots in ``name`` lead into objects, such as ``realm_access.roles`` of Keycloak."""
    if name in claims:  # such as https://example.org/roles
        return claims[name]
    value: Any = claims
    for key in name.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return value


def _texts(value: Any) -> list[str]:
    """Return the texts of a claim: its items, or the text itself."""
    if isinstance(value, str):
        return [value]
    return [item for item in value[:_MAX_VALUES] if isinstance(item, str)] if isinstance(value, list) else []
