"""The OpenID Connect provider of the settings."""

from collections.abc import Collection, Mapping
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

from voxrec.api.auth.single_sign_on import IdentityProvider
from voxrec.composition.environment import Environment
from voxrec.config import OpenIdConnect
from voxrec.config_oidc import ALL_PROFILES
from voxrec.console.sign_in import CALLBACK
from voxrec.console.visit import SIGNED_OUT
from voxrec.model import Role
from voxrec.oidc.flow import AuthorizationFlow, ClientSettings
from voxrec.oidc.http import ProviderHttp
from voxrec.oidc.permissions import ClaimMapping
from voxrec.oidc.provider import Provider


def build_identity_provider(env: Environment) -> IdentityProvider | None:
    """Build the client of the provider; None if there is none. The first sign-in connects to it."""
    settings, public_url = env.config.oidc, env.config.rest.public_url.rstrip("/")
    if not settings.issuer:
        return None
    http = ProviderHttp(env.reactor, settings.timeout, Path(settings.ca_file) if settings.ca_file else None)
    mapping = _claim_mapping(settings)
    flow = AuthorizationFlow(
        env.reactor,
        http,
        Provider(env.reactor, http, settings.issuer),
        ClientSettings(
            client_id=settings.client_id,
            client_secret=settings.client_secret,
            scopes=settings.scopes,
            redirect_uri=f"{public_url}{CALLBACK}",
            signed_out_uri=f"{public_url}{SIGNED_OUT}",
        ),
        frozenset(mapping.claims),
    )
    return IdentityProvider(flow, mapping, settings.label or str(urlsplit(settings.issuer).hostname))


def _claim_mapping(settings: OpenIdConnect) -> ClaimMapping:
    return ClaimMapping(
        name_claim=settings.name_claim,
        role_claim=settings.role_claim,
        roles={value: Role(role) for value, role in settings.roles.items()},
        default_role=Role(settings.default_role) if settings.default_role else None,
        profile_claim=settings.profile_claim,
        profiles=_profiles(settings.profiles),
    )


def _profiles(entries: Mapping[str, Collection[str]]) -> dict[str, Collection[UUID] | None]:
    return {
        value: None if ALL_PROFILES in profiles else tuple(map(UUID, profiles)) for value, profiles in entries.items()
    }
