"""Who asks, and what they may do."""

import hmac
import ipaddress
import re
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final, Generic, Protocol, Self, TypeVar
from uuid import UUID

from twisted.internet.interfaces import IReactorTime

from voxrec.model import Role as Role
from voxrec.model import Token
from voxrec.store.tokens import SECRET_PREFIX, Tokens, hash_secret
from voxrec.web.problems import NotAllowed, NotAuthenticated, TooManyAttempts

_SECRET: Final = re.compile(re.escape(SECRET_PREFIX) + r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom a token stands for. ``profile_ids`` None: all Profiles; ``token_id`` None: not one of the stored tokens."""

    name: str
    role: Role
    profile_ids: frozenset[UUID] | None = None
    token_id: UUID | None = None

    def require(self, needed: Role) -> None:
        """Raise NotAllowed, naming the role that is needed, where this one's is too small."""
        if not self.role.includes(needed):
            raise NotAllowed(
                f"This needs the role {needed}; {self.name!r} has the role {self.role}.",
                {"WWW-Authenticate": 'Bearer realm="voxrec", error="insufficient_scope"'},
            )

    def require_unlimited(self) -> None:
        """Raise NotAllowed where the token is limited to some Profiles."""
        if self.profile_ids is not None:
            raise NotAllowed(
                f"This is not open to tokens that are limited to some profiles, as {self.name!r} is.",
                {"WWW-Authenticate": 'Bearer realm="voxrec", error="insufficient_scope"'},
            )


class SupportsScoping(Protocol):
    """A store of what belongs to Profiles."""

    def scoped_to(self, profile_ids: frozenset[UUID] | None) -> Self:
        """The same store, as if there were no other Profiles than these; None: all of them."""


K = TypeVar("K")
V = TypeVar("V")
L = TypeVar("L", bound=SupportsScoping)


class Scoped(Generic[L]):
    """A store that is reached on somebody's behalf only, so that no handler can forget the limit of a token.

    What lies outside the limit is not there (404, and not 403): a token that is limited to some Profiles does not even
    learn which others there are.
    """

    def __init__(self, store: L) -> None:
        self._store = store

    def of(self, principal: Principal) -> L:
        """The store as this principal sees it."""
        return self._store.scoped_to(principal.profile_ids)


class Authenticator(Protocol):
    """Knows the tokens."""

    async def authenticate(self, token: str) -> Principal:
        """Return whom the token stands for; raise NotAuthenticated where it is nobody's, expired or revoked."""


class StaticTokens:
    """Tokens from the configuration: ``tokens`` maps a name to its secret. All have the same role."""

    def __init__(self, tokens: Mapping[str, str], role: Role = Role.ADMIN) -> None:
        # an empty secret is one that nobody has set, not one that everybody knows
        self._known = [(Principal(name, role), hash_secret(secret)) for name, secret in tokens.items() if secret]

    async def authenticate(self, token: str) -> Principal:
        """See `Authenticator`. Takes the same time whichever token is given, and whether one is right or none."""
        given = hash_secret(token)
        # digests, so that not even a secret's length shows; a list, so that a match does not end the search
        found = [principal for principal, known in self._known if hmac.compare_digest(known, given)]
        if not found:
            raise NotAuthenticated("This token is not valid.", "invalid_token")
        return found[0]


class StoredTokens:
    """The tokens in PostgreSQL, remembered for a second.

    One that was revoked therefore stops working within a second on every daemon, whatever becomes of notifications;
    with TOKENS_CHANNEL of a Listener wired to ``changed`` it does so at once. It costs a statement a second for each
    token in use. While PostgreSQL is down nobody can say who was revoked, so that no stored token is good
    (StoreUnavailable) and the configured one alone is.
    """

    REMEMBER: Final = 1.0  # seconds, from before PostgreSQL was asked
    LIMIT: Final = 10_000  # tokens remembered; the oldest are forgotten first

    def __init__(self, clock: IReactorTime, tokens: Tokens) -> None:
        self._clock = clock
        self._tokens = tokens
        self._known: OrderedDict[bytes, tuple[Token, Principal, float]] = OrderedDict()  # and until when
        self._changes = 0

    async def authenticate(self, token: str) -> Principal:
        """See `Authenticator`. What does not look like a token of ours is not looked for."""
        if not _SECRET.fullmatch(token):
            raise NotAuthenticated("This token is not valid.", "invalid_token")
        # Neither a dictionary nor an index compares in constant time, and neither has to: what they compare is a
        # digest, which nobody can steer towards one that is known.
        given = hash_secret(token)
        known = self._known.get(given)
        if known is None or known[2] <= self._clock.seconds():
            known = await self._asked(given)
        stored, principal, _ = known
        if stored.expires_at is not None and stored.expires_at.timestamp() <= self._clock.seconds():
            raise NotAuthenticated(f"This token expired at {_written(stored.expires_at)}.", "invalid_token")
        return principal

    def changed(self, _token_id: str = "") -> None:
        """Take it that tokens came, changed or went: forget them all, which is cheap and cannot be wrong."""
        self._changes += 1
        self._known.clear()

    async def _asked(self, given: bytes) -> tuple[Token, Principal, float]:
        asked_at, changes = self._clock.seconds(), self._changes
        self._known.pop(given, None)
        stored = await self._tokens.find(given)
        if stored is None:
            raise NotAuthenticated("This token is not valid.", "invalid_token")
        limit = None if stored.profile_ids is None else frozenset(stored.profile_ids)
        known = (stored, Principal(stored.name, stored.role, limit, stored.id), asked_at + self.REMEMBER)
        if changes == self._changes:  # otherwise this may be from before the change
            self._known[given] = known
            _bound(self._known, self.LIMIT)
        return known


class ChainAuthenticator:
    """Several authenticators, asked in order."""

    def __init__(self, first: Authenticator, *others: Authenticator) -> None:
        self._first = first
        self._others = others

    async def authenticate(self, token: str) -> Principal:
        """See `Authenticator`. The last one's refusal counts."""
        asked = self._first
        for following in self._others:
            try:
                return await asked.authenticate(token)
            except NotAuthenticated:
                asked = following
        return await asked.authenticate(token)


class LoginThrottle:
    """Slows whoever guesses tokens, by address, in bounded memory.

    Five wrong tokens are free; after each further one the address waits, twice as long each time, up to a minute. A
    token that was right from an address stays usable while the address waits: behind one NAT, or one proxy, somebody
    else's wrong token must not lock out the one who has a good one.
    """

    FREE: Final = 5
    SHORTEST: Final = 0.5  # seconds to wait at least
    LONGEST: Final = 60.0  # seconds to wait at most
    FORGET: Final = 900.0  # seconds without a wrong token after which an address is as good as new
    LIMIT: Final = 10_000  # addresses, and as many good tokens; the oldest are forgotten first

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._pending: dict[str, Counter[bytes]] = {}  # tokens that are being looked at
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()  # how many, and when the last one was
        self._right: OrderedDict[tuple[str, bytes], None] = OrderedDict()

    @contextmanager
    def attempt(self, address: str, token: str) -> Iterator[None]:
        """Around the look at a token: TooManyAttempts, or the attempt is counted.

        It counts as wrong until it turns out to be right, so that who guesses in parallel gains nothing by it. The
        same token, sent several times at once, is one attempt.
        """
        source, key = _source(address), hash_secret(token)
        self._admit(source, key)
        pending = self._pending.setdefault(source, Counter())
        pending[key] += 1
        try:
            yield
        except NotAuthenticated:
            self._note_wrong(source, key)
            raise
        else:
            self._note_right(source, key)
        finally:
            pending[key] -= 1
            if not pending[key]:
                del pending[key]
            if not pending:
                del self._pending[source]

    def admit(self, address: str, token: str) -> None:
        """Raise TooManyAttempts where this address has to wait before its next token is looked at."""
        self._admit(_source(address), hash_secret(token))

    def wrong(self, address: str, token: str) -> None:
        """Note that a token from this address was wrong, even if it was right before."""
        self._note_wrong(_source(address), hash_secret(token))

    def right(self, address: str, token: str) -> None:
        """Note that a token from this address was right. Its wrong ones are not forgiven for that."""
        self._note_right(_source(address), hash_secret(token))

    def _admit(self, source: str, key: bytes) -> None:
        if (source, key) in self._right:
            return
        wait = self._wait(source) or self._wait_for_pending(source, key)
        if wait > 0:
            seconds = str(int(wait) + 1)
            raise TooManyAttempts("Too many wrong tokens came from this address.", {"Retry-After": seconds})

    def _note_wrong(self, source: str, key: bytes) -> None:
        count = self._count(source)
        self._wrong.pop(source, None)
        self._wrong[source] = (count + 1, self._clock.seconds())
        self._right.pop((source, key), None)
        _bound(self._wrong, self.LIMIT)

    def _note_right(self, source: str, key: bytes) -> None:
        self._right[source, key] = None
        self._right.move_to_end((source, key))
        _bound(self._right, self.LIMIT)

    def _count(self, source: str) -> int:
        """How many wrong tokens an address is remembered for."""
        count, last = self._wrong.get(source, (0, 0.0))
        return 0 if self._clock.seconds() - last > self.FORGET else count

    def _wait(self, source: str) -> float:
        count, last = self._wrong.get(source, (0, 0.0))
        if count <= self.FREE:
            return 0.0
        doublings = min(count - self.FREE - 1, 10)
        return max(0.0, last + min(self.LONGEST, 2.0**doublings) - self._clock.seconds())

    def _wait_for_pending(self, source: str, key: bytes) -> float:
        """Whether other tokens that are being looked at may use up what this address has left, one at the least."""
        others = len(self._pending.get(source, {}).keys() - {key})
        return self.SHORTEST if others >= max(1, self.FREE + 1 - self._count(source)) else 0.0


class AccessControl:
    """Lets in who has a good token and a role that is large enough."""

    def __init__(self, authenticator: Authenticator, attempts: LoginThrottle) -> None:
        self._authenticator = authenticator
        self._attempts = attempts

    async def admit(self, address: str, authorization: str, needed: Role) -> Principal:
        """Return who asks. Raises NotAuthenticated, NotAllowed or TooManyAttempts."""
        token = bearer(authorization)
        with self._attempts.attempt(address, token):
            principal = await self._authenticator.authenticate(token)
        principal.require(needed)
        return principal


def bearer(authorization: str) -> str:
    """The token of an Authorization header (RFC 6750 section 2.1); NotAuthenticated where there is none."""
    scheme, _, token = authorization.strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise NotAuthenticated("A token is needed: Authorization: Bearer <token>.")
    return token


def _written(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


@lru_cache(maxsize=LoginThrottle.LIMIT)
def _source(address: str) -> str:
    """The address, or its /64 where it is IPv6: whoever has one such address has all of that network's."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


def _bound(entries: OrderedDict[K, V], limit: int) -> None:
    while len(entries) > limit:
        entries.popitem(last=False)
