"""Validation of ID tokens (OpenID Connect Core 1.0 section 3.1.3.7)."""

import hmac
from collections.abc import Iterable
from typing import Any, Final

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import Key
from joserfc.jws import JWSRegistry

from voxrec.oidc.errors import ProviderSignInError, Reason
from voxrec.oidc.provider import Provider

# Asymmetric algorithms only: neither "none", nor HMAC, whose key an attacker could take from the public keys.
ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA", "Ed25519"),
)
_KEY_TYPES: Final = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
CLOCK_LEEWAY: Final = 60
"""Seconds by which the clocks of the provider and of the nodes may differ."""

_MAX_LENGTH: Final = 65_536  # characters
_MAX_SUBJECT: Final = 255  # characters; OpenID Connect Core 1.0 section 2


class _Registry(JWSRegistry):
    """Accepts header parameters that it does not know, such as a chain of certificates (RFC 7515 section 4)."""

    max_header_length = 16_384

    def __init__(self) -> None:
        super().__init__(algorithms=ALGORITHMS, strict_check_header=False)


_REGISTRY: Final = _Registry()


async def validated_claims(provider: Provider, token: str, client_id: str, nonce: str, now: float) -> dict[str, Any]:
    """Return the claims of an ID token for this client and this sign-in. Raises ProviderSignInError.

    ``now`` is in seconds since 1970.
    """
    header = _header(token)
    claims = _verified(token, header, await provider.keys())
    if claims is None:  # the provider may have a new key
        claims = _verified(token, header, await provider.refreshed_keys())
    if claims is None:
        raise _invalid("no key of the provider verifies the signature of the ID token")
    _check_claims(claims, provider.issuer, client_id, nonce, now)
    return claims


def _header(token: str) -> dict[str, Any]:
    if len(token) > _MAX_LENGTH:
        raise _invalid(f"the ID token has {len(token)} characters")
    try:
        header = jws.extract_compact(token.encode(), registry=_REGISTRY).headers()
    except (JoseError, ValueError, TypeError, RecursionError) as error:
        raise _invalid(f"the ID token cannot be read: {error}") from error
    if header.get("alg") not in ALGORITHMS:
        raise _invalid(
            f"the ID token has the algorithm {str(header.get('alg'))[:40]!r}; expected one of {', '.join(ALGORITHMS)}"
        )
    return header


def _verified(token: str, header: dict[str, Any], keys: Iterable[Key]) -> dict[str, Any] | None:
    """Return the claims if one of the keys that fit verifies the signature."""
    for key in keys:
        if not _fits(key, header):
            continue
        try:
            return jwt.decode(token, key, registry=_REGISTRY).claims
        except (JoseError, ValueError, TypeError, RecursionError):
            continue
    return None


def _fits(key: Key, header: dict[str, Any]) -> bool:
    algorithm, kid = str(header["alg"]), header.get("kid")
    if key.key_type != _KEY_TYPES[algorithm[:2]] or key.get("alg") not in (None, algorithm):
        return False
    return kid is None or key.get("kid") in (None, kid)


def _check_claims(claims: dict[str, Any], issuer: str, client_id: str, nonce: str, now: float) -> None:
    registry = jwt.JWTClaimsRegistry(
        now=int(now),
        leeway=CLOCK_LEEWAY,
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": client_id},
        sub={"essential": True},
        exp={"essential": True},
        iat={"essential": True},
    )
    try:
        registry.validate(claims)
    except (JoseError, ValueError, TypeError, OverflowError) as error:
        raise _invalid(f"the ID token is refused: {error}") from error
    if not hmac.compare_digest(str(claims.get("nonce")).encode("utf-8", "replace"), nonce.encode()):
        raise _invalid("the ID token belongs to another sign-in: its nonce is wrong")
    audience = claims["aud"]
    if isinstance(audience, list) and len(audience) > 1 and "azp" not in claims:
        raise _invalid("the ID token has several audiences and no azp")
    if claims.get("azp", client_id) != client_id:
        raise _invalid("the ID token was issued to another client (azp)")
    if len(claims["sub"]) > _MAX_SUBJECT or not claims["sub"].isprintable():
        raise _invalid(f"the subject of the ID token has more than {_MAX_SUBJECT} characters, or unprintable ones")


def _invalid(detail: str) -> ProviderSignInError:
    return ProviderSignInError(Reason.INVALID_ANSWER, detail)
