"""The authorization code flow with PKCE (OpenID Connect Core 1.0 section 3.1, RFC 7636, RFC 9207, RFC 9700)."""

import base64
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Struct
from twisted.internet.interfaces import IReactorTime

from voxrec.clock import utc_now
from voxrec.oidc.errors import ProviderSignInError, Reason
from voxrec.oidc.http import ProviderHttp
from voxrec.oidc.id_token import CLOCK_LEEWAY, validated_claims
from voxrec.oidc.permissions import claim_value
from voxrec.oidc.provider import Metadata, Provider
from voxrec.sanitize import sanitize_line

LIFETIME: Final = 600
"""Seconds in which a user has to sign in at the provider."""

_MAX_CODE: Final = 4096  # characters
_BASIC: Final = "client_secret_basic"
_POST: Final = "client_secret_post"


class PendingSignIn(Struct, frozen=True, kw_only=True):
    """What the browser keeps in a cookie while the user is at the provider, which binds the response to this browser.

    The provider's response has to contain ``state``, and the ID token ``nonce``; ``verifier`` is that of PKCE. ``next``
    is the page to continue with, ``started_at`` is in seconds since 1970.
    """

    state: str
    nonce: str
    verifier: str
    next: str
    started_at: int


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """This client at the provider. ``redirect_uri`` and ``signed_out_uri`` have to be registered there."""

    client_id: str
    client_secret: str
    scopes: tuple[str, ...]
    redirect_uri: str
    signed_out_uri: str


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A user who has signed in at the provider: the claims, and the ID token in which most of them were."""

    claims: Mapping[str, Any]
    id_token: str


class AuthorizationFlow:
    """Sends users to the provider, and evaluates the response with which it sends them back.

    ``needed_claims`` are asked for at the userinfo endpoint if the ID token does not have them.
    """

    def __init__(
        self,
        clock: IReactorTime,
        http: ProviderHttp,
        provider: Provider,
        settings: ClientSettings,
        needed_claims: frozenset[str] = frozenset(),
    ) -> None:
        self._clock = clock
        self._http = http
        self._provider = provider
        self._settings = settings
        self._needed_claims = needed_claims

    async def begin(self, next_: str) -> tuple[str, str]:
        """Return the URL at the provider to which a browser is sent, and the value of the cookie that it keeps.

        Raises ProviderSignInError.
        """
        metadata = await self._provider.metadata()
        pending = PendingSignIn(
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),
            next=next_,
            started_at=int(self._now()),
        )
        parameters = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": self._settings.redirect_uri,
            "scope": " ".join(self._settings.scopes),
            "state": pending.state,
            "nonce": pending.nonce,
            "code_challenge": _base64url(sha256(pending.verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }
        return _with_query(metadata.authorization_endpoint, parameters), _base64url(msgspec.json.encode(pending))

    def pending(self, cookie: str, state: str) -> PendingSignIn:
        """Return the sign-in that a response with ``state`` belongs to. Raises ProviderSignInError."""
        try:
            pending = msgspec.json.decode(base64.urlsafe_b64decode(cookie + "=="), type=PendingSignIn)
        except (ValueError, msgspec.DecodeError, RecursionError):
            raise ProviderSignInError(Reason.EXPIRED, "this browser has begun no sign-in, or completed it") from None
        if not hmac.compare_digest(pending.state.encode("utf-8", "replace"), state.encode("utf-8", "replace")):
            raise ProviderSignInError(Reason.EXPIRED, "the response belongs to another sign-in: its state is wrong")
        if not -CLOCK_LEEWAY <= self._now() - pending.started_at <= LIFETIME:
            raise ProviderSignInError(Reason.EXPIRED, f"the response came more than {LIFETIME} s after the request")
        return pending

    async def complete(self, pending: PendingSignIn, response: Mapping[str, str]) -> SignedIn:
        """Return the user of an authorization response with these parameters. Raises ProviderSignInError."""
        metadata = await self._provider.metadata()
        self._require_issuer(metadata, response)
        if error := response.get("error"):
            described = sanitize_line(f"{error[:100]}: {response.get('error_description', '')[:300]}")
            raise ProviderSignInError(Reason.DECLINED, f"the provider declined: {described}")
        code = response.get("code", "")
        if not code or len(code) > _MAX_CODE:
            raise ProviderSignInError(Reason.INVALID_ANSWER, "the response contains no code")
        tokens = await self._http.post(metadata.token_endpoint, *self._token_request(metadata, code, pending))
        id_token = tokens.get("id_token")
        if not isinstance(id_token, str):
            raise ProviderSignInError(Reason.INVALID_ANSWER, "the token response contains no ID token")
        claims = await validated_claims(self._provider, id_token, self._settings.client_id, pending.nonce, self._now())
        return SignedIn(await self._completed(metadata, claims, tokens.get("access_token")), id_token)

    async def sign_out_url(self, id_token: str | None) -> str | None:
        """Return the URL at which a user signs out of the provider, too; None if it offers none.

        See OpenID Connect RP-Initiated Logout 1.0. Raises ProviderSignInError.
        """
        endpoint = (await self._provider.metadata()).end_session_endpoint
        if endpoint is None:
            return None
        parameters = {
            "client_id": self._settings.client_id,
            "post_logout_redirect_uri": self._settings.signed_out_uri,
            **({"id_token_hint": id_token} if id_token else {}),
        }
        return _with_query(endpoint, parameters)

    def _require_issuer(self, metadata: Metadata, response: Mapping[str, str]) -> None:
        """Raise ProviderSignInError if another provider has sent the response (RFC 9207 section 2.4)."""
        issuer = response.get("iss")
        if issuer is None and not metadata.authorization_response_iss_parameter_supported:
            return
        if issuer != self._provider.issuer:
            detail = (
                f"the response is of the issuer {sanitize_line(str(issuer))[:200]!r}, not of {self._provider.issuer!r}"
            )
            raise ProviderSignInError(Reason.INVALID_ANSWER, detail)

    def _token_request(
        self, metadata: Metadata, code: str, pending: PendingSignIn
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Return the fields and the headers of a token request (RFC 6749 sections 2.3.1 and 4.1.3)."""
        settings = self._settings
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": settings.redirect_uri,
            "code_verifier": pending.verifier,
        }
        if not settings.client_secret:
            return {**fields, "client_id": settings.client_id}, {}
        methods = metadata.token_endpoint_auth_methods_supported
        if _POST in methods and _BASIC not in methods:
            return {**fields, "client_id": settings.client_id, "client_secret": settings.client_secret}, {}
        credentials = f"{quote(settings.client_id, safe='')}:{quote(settings.client_secret, safe='')}"
        return fields, {"Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"}

    async def _completed(self, metadata: Metadata, claims: dict[str, Any], access_token: object) -> Mapping[str, Any]:
        """Return the claims, with those of the userinfo endpoint if some are missing (OpenID Connect Core 5.3)."""
        missing = {name for name in self._needed_claims if claim_value(claims, name) is None}
        if not missing or metadata.userinfo_endpoint is None or not _is_bearer_token(access_token):
            return claims
        more = await self._http.get(metadata.userinfo_endpoint, {"Authorization": f"Bearer {access_token}"})
        if more.get("sub") != claims["sub"]:  # section 5.3.2
            raise ProviderSignInError(Reason.INVALID_ANSWER, "the userinfo endpoint describes another user")
        return {**more, **claims}

    def _now(self) -> float:
        return utc_now(self._clock).timestamp()


def _is_bearer_token(token: object) -> bool:
    return isinstance(token, str) and token.isascii() and token.isprintable() and 0 < len(token) <= _MAX_CODE * 4


def _with_query(url: str, parameters: Mapping[str, str]) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urlencode(parameters, quote_via=quote)}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
