"""Authenticators of the REST API: tokens in the settings, tokens in PostgreSQL, and sessions of users."""

import hmac
import re
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple

from twisted.internet.interfaces import IReactorTime

from voxrec.clock import utc_now
from voxrec.model import Role, Token
from voxrec.store.sessions import SESSION_PREFIX, AuthenticatedSession, Sessions
from voxrec.store.tokens import SECRET_PREFIX, Tokens, hash_secret
from voxrec.web.auth import Principal
from voxrec.web.errors import NotAuthenticated

_SECRET: Final = re.compile(re.escape(SECRET_PREFIX) + r"[A-Za-z0-9_-]{43}")
_SESSION_SECRET: Final = re.compile(re.escape(SESSION_PREFIX) + r"[A-Za-z0-9_-]{43}")


class StaticTokens:
    """Tokens from the settings: ``secrets`` maps names to secrets. All tokens have the same role."""

    def __init__(self, secrets: Mapping[str, str], role: Role = Role.ADMIN) -> None:
        self._role = role
        self._principals: list[tuple[Principal, bytes]] = []
        self.replace(secrets)

    def replace(self, secrets: Mapping[str, str]) -> bool:
        """Accept these tokens from now on, and no others. Return whether they differ from those before."""
        before = self._principals
        # an empty secret is a setting without value
        self._principals = [
            (Principal(name, self._role), hash_secret(secret)) for name, secret in secrets.items() if secret
        ]
        return self._principals != before

    async def authenticate(self, token: str) -> Principal:
        """See `voxrec.web.auth.Authenticator`. Takes the same time for every token, valid or not."""
        given = hash_secret(token)
        # Comparing digests hides the length of a secret, and building a list avoids stopping at the first match.
        matching = [principal for principal, digest in self._principals if hmac.compare_digest(digest, given)]
        if not matching:
            raise _invalid_token()
        return matching[0]


class _CacheEntry(NamedTuple):
    token: Token
    principal: Principal
    valid_until: float


class StoredTokens:
    """Tokens in PostgreSQL, cached for a second.

    A revoked token is therefore rejected within CACHE_SECONDS by every daemon, and at once if a Listener calls
    ``invalidate`` for TOKENS_CHANNEL. While PostgreSQL cannot be reached, no stored token is accepted
    (StoreUnavailable), because it may have been revoked.
    """

    CACHE_SECONDS: Final = 1.0  # from the start of the query
    MAX_ENTRIES: Final = 10_000  # the oldest entries are dropped

    def __init__(self, clock: IReactorTime, tokens: Tokens) -> None:
        self._clock = clock
        self._tokens = tokens
        self._cache: OrderedDict[bytes, _CacheEntry] = OrderedDict()
        self._invalidations = 0

    async def authenticate(self, token: str) -> Principal:
        """See `voxrec.web.auth.Authenticator`. PostgreSQL is not queried for text that is not one of our secrets."""
        if not _SECRET.fullmatch(token):
            raise _invalid_token()
        # Neither dict nor index lookups take constant time. They need not: an attacker cannot choose a digest.
        digest = hash_secret(token)
        entry = self._cache.get(digest)
        if entry is None or entry.valid_until <= self._clock.seconds():
            entry = await self._query(digest)
        expires_at = entry.token.expires_at
        if expires_at is not None and expires_at <= utc_now(self._clock):
            raise NotAuthenticated(f"This token expired at {_rfc3339(expires_at)}.", "invalid_token")
        return entry.principal

    def invalidate(self, _token_id: str = "") -> None:
        """Drop all cached tokens, because some were created, changed or revoked."""
        self._invalidations += 1
        self._cache.clear()

    async def _query(self, digest: bytes) -> _CacheEntry:
        started_at, invalidations = self._clock.seconds(), self._invalidations
        self._cache.pop(digest, None)
        token = await self._tokens.find(digest)
        if token is None:
            raise _invalid_token()
        profile_ids = None if token.profile_ids is None else frozenset(token.profile_ids)
        principal = Principal(
            *(token.name, token.role, profile_ids, token.id, token.expires_at), listen_live=token.listen_live
        )
        entry = _CacheEntry(token, principal, started_at + self.CACHE_SECONDS)
        if invalidations == self._invalidations:  # otherwise the row may have been read before the change
            self._cache[digest] = entry
            if len(self._cache) > self.MAX_ENTRIES:
                self._cache.popitem(last=False)
        return entry


class StoredSessions:
    """Sessions of users in PostgreSQL, by the secret in their cookie."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def authenticate(self, token: str) -> Principal:
        """See `voxrec.web.auth.Authenticator`. PostgreSQL is not queried for text that is not one of our secrets."""
        return _principal(await self._sessions.use(token) if _SESSION_SECRET.fullmatch(token) else None)

    async def authenticate_in_background(self, secret: str) -> Principal:
        """See `voxrec.web.auth.SessionAuthenticator`."""
        return _principal(await self._sessions.find(secret) if _SESSION_SECRET.fullmatch(secret) else None)


def _principal(found: AuthenticatedSession | None) -> Principal:
    if found is None:
        raise NotAuthenticated("The session has ended. Sign in again.")
    session, user, ends_at = found
    return Principal(
        user.name,
        user.role,
        None if user.profile_ids is None else frozenset(user.profile_ids),
        expires_at=session.expires_at,
        user_id=user.id,
        session_id=session.id,
        idle_ends_at=ends_at,
        listen_live=user.listen_live,
    )


def _invalid_token() -> NotAuthenticated:
    return NotAuthenticated("This token is not valid.", "invalid_token")


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
