"""Checks of the settings of the OpenID Connect provider, and of those about passwords that depend on it."""

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

from voxrec.config_sections import OpenIdConnect
from voxrec.config_values import is_url
from voxrec.errors import FieldError
from voxrec.loopback import is_loopback_host

ALL_PROFILES: Final = "*"
"""The entry of `oidc.profiles` that stands for all Profiles."""


def oidc_errors(settings: OpenIdConnect, passwords: str) -> Iterator[FieldError]:
    """Yield the errors of the section ``oidc``; ``passwords`` is `rest.passwords`."""
    if not settings.issuer:
        if passwords != "all":
            yield FieldError("rest.passwords", f"{passwords!r} requires oidc.issuer: no other way to sign in exists")
        if settings.client_id:
            yield FieldError("oidc.issuer", "required if oidc.client_id is set")
        return
    yield from _issuer_errors(settings.issuer)
    if not settings.client_id:
        yield FieldError("oidc.client_id", "required if oidc.issuer is set: the id that the provider gave to voxrec")
    if "openid" not in settings.scopes:
        yield FieldError("oidc.scopes", "must contain openid, without which there is no ID token")
    if not settings.roles and not settings.default_role:
        yield FieldError("oidc.roles", "is empty: no user could sign in; set it, or oidc.default_role")
    if settings.profiles and not settings.profile_claim:
        yield FieldError("oidc.profile_claim", "required if oidc.profiles is set")
    for value, entries in settings.profiles.items():
        for entry in entries:
            if entry != ALL_PROFILES and not _is_uuid(entry):
                yield FieldError(
                    "oidc.profiles",
                    f"invalid entry {entry!r} of {value!r}; expected the id of a Profile or {ALL_PROFILES!r}",
                )


def _issuer_errors(issuer: str) -> Iterator[FieldError]:
    if not is_url(issuer, ("https", "http")) or urlsplit(issuer).query or urlsplit(issuer).fragment:
        yield FieldError("oidc.issuer", f"invalid URL {issuer!r}; expected https://host/path without a query")
    elif issuer.startswith("http:") and not is_loopback_host(urlsplit(issuer).hostname or ""):
        yield FieldError(
            "oidc.issuer",
            f"invalid value {issuer!r}: the answers of the provider could be forged; expected https, or a host on this "
            "machine (localhost, 127.0.0.1, ::1)",
        )


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
