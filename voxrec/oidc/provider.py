"""What an identity provider publishes about itself: its metadata (OpenID Connect Discovery 1.0) and its keys (JWKS)."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, TypeVar
from urllib.parse import urlsplit

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key
from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from voxrec.oidc.errors import ProviderSignInError, Reason
from voxrec.oidc.http import ProviderHttp

_DISCOVERY: Final = "/.well-known/openid-configuration"
_METADATA_LIFETIME: Final = 3600.0  # seconds
_KEYS_LIFETIME: Final = 3600.0  # seconds; a key id that is not known refreshes them earlier
_MAX_KEYS: Final = 50
_KEY_TYPES: Final = frozenset({"RSA", "EC", "OKP"})  # not "oct": a provider publishes no shared secret

T = TypeVar("T")


class Metadata(Struct, frozen=True, kw_only=True):
    """The part of a provider's metadata that voxrec uses (OpenID Connect Discovery 1.0 section 3; RFC 9207)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    end_session_endpoint: str | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False


class Cached(Generic[T]):
    """A value that is loaded when it is needed, at most one load at a time, and kept for ``lifetime`` seconds.

    If it cannot be loaded again, the former value is kept. If there is none, the error is raised, and the next load is
    ``MIN_REFRESH`` seconds later at the earliest.
    """

    MIN_REFRESH: Final = 10.0  # seconds

    def __init__(self, clock: IReactorTime, load: Callable[[], Awaitable[T]], lifetime: float) -> None:
        self._clock = clock
        self._load = load
        self._lifetime = lifetime
        self._waiters: list[Deferred[None]] = []
        self._value: T | None = None
        self._failure: ProviderSignInError | None = None
        self._loaded_at = 0.0

    async def get(self) -> T:
        """Return the value. Raises ProviderSignInError."""
        return await self._get(self._lifetime)

    async def refreshed(self) -> T:
        """Return the value, which was loaded within the last seconds unless the provider did not respond."""
        return await self._get(self.MIN_REFRESH)

    async def _get(self, max_age: float) -> T:
        age = self._clock.seconds() - self._loaded_at
        if not (self._value is not None and age < max_age) and not (
            self._failure is not None and age < self.MIN_REFRESH
        ):
            await self._loaded()
        if self._value is not None:
            return self._value
        failure = self._failure
        assert failure is not None
        raise ProviderSignInError(failure.reason, failure.detail)

    async def _loaded(self) -> None:
        """Wait for the load in progress, or for a new one. A waiter that is cancelled does not cancel it."""
        waiter: Deferred[None] = Deferred()
        self._waiters.append(waiter)
        if len(self._waiters) == 1:
            Deferred.fromCoroutine(self._reload())
        await waiter

    async def _reload(self) -> None:
        try:
            self._value, self._failure = await self._load(), None
        except ProviderSignInError as error:
            self._failure = error
        except Exception as error:
            self._failure = ProviderSignInError(Reason.INVALID_ANSWER, f"{type(error).__name__}: {error}")
        self._loaded_at = self._clock.seconds()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(None)


class Provider:
    """The provider with an issuer URL."""

    def __init__(self, clock: IReactorTime, http: ProviderHttp, issuer: str) -> None:
        self.issuer = issuer
        self._http = http
        self._metadata = Cached(clock, self._load_metadata, _METADATA_LIFETIME)
        self._keys = Cached(clock, self._load_keys, _KEYS_LIFETIME)

    async def metadata(self) -> Metadata:
        """Return the metadata. Raises ProviderSignInError."""
        return await self._metadata.get()

    async def keys(self) -> tuple[Key, ...]:
        """Return the keys that sign ID tokens. Raises ProviderSignInError."""
        return await self._keys.get()

    async def refreshed_keys(self) -> tuple[Key, ...]:
        """Return the keys, as they were a few seconds ago at the earliest: the provider may have replaced them."""
        return await self._keys.refreshed()

    async def _load_metadata(self) -> Metadata:
        return parse_metadata(await self._http.get(metadata_url(self.issuer)), self.issuer)

    async def _load_keys(self) -> tuple[Key, ...]:
        metadata = await self._metadata.refreshed()  # new keys may be at another place
        return parse_keys(await self._http.get(metadata.jwks_uri))


def metadata_url(issuer: str) -> str:
    """Return the URL of a provider's metadata (OpenID Connect Discovery 1.0 section 4)."""
    return issuer.rstrip("/") + _DISCOVERY


def parse_metadata(document: object, issuer: str) -> Metadata:
    """Return the metadata of the provider ``issuer``. Raises ProviderSignInError."""
    try:
        metadata = msgspec.convert(document, Metadata)
    except msgspec.ValidationError as error:
        raise _invalid(f"the metadata is invalid: {error}") from error
    if metadata.issuer != issuer:  # OpenID Connect Discovery 1.0 section 4.3
        raise _invalid(f"the metadata is that of the issuer {metadata.issuer[:200]!r}; oidc.issuer is {issuer!r}")
    for name in Metadata.__struct_fields__:
        url = getattr(metadata, name)
        if name.endswith(("_endpoint", "_uri")) and url is not None and not _is_trusted(url, issuer):
            raise _invalid(f"{name} in the metadata is no https URL: {url[:200]!r}")
    return metadata


def parse_keys(document: object) -> tuple[Key, ...]:
    """Return the keys for signatures in a set of keys (RFC 7517 section 5). Raises ProviderSignInError."""
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise _invalid("the set of keys has no list of keys")
    return tuple(key for entry in entries[:_MAX_KEYS] if (key := _signing_key(entry)) is not None)


def _is_trusted(url: str, issuer: str) -> bool:
    """Return whether a URL is one that may be requested, or that a browser may be sent to."""
    try:
        parts = urlsplit(url)
        permitted = {"https", urlsplit(issuer).scheme}  # http only if the settings permit it for the issuer
        return parts.scheme in permitted and bool(parts.hostname) and url.isascii() and url.isprintable()
    except ValueError:
        return False


def _signing_key(entry: Any) -> Key | None:
    """Return a public key for signatures; None for others, which a set may contain (RFC 7517 section 5)."""
    if not isinstance(entry, dict) or entry.get("kty") not in _KEY_TYPES or entry.get("use", "sig") != "sig":
        return None
    try:
        return JWKRegistry.import_key(entry)
    except (JoseError, ValueError, TypeError, OverflowError):
        return None


def _invalid(detail: str) -> ProviderSignInError:
    return ProviderSignInError(Reason.INVALID_ANSWER, detail)
