"""Who asks, and what they may do."""

import enum
import hmac
import ipaddress
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol

from twisted.internet.interfaces import IReactorTime

from voxrec.rest.problems import NotAllowed, NotAuthenticated, TooManyAttempts


class Role(enum.StrEnum):
    """What a token is for. Each role may do what the ones before it may."""

    READ = "read"
    PROVISION = "provision"
    ADMIN = "admin"

    def covers(self, needed: "Role") -> bool:
        """Whether what ``needed`` may do, this role may do."""
        return _ORDER.index(self) >= _ORDER.index(needed)


_ORDER: Final = tuple(Role)


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom a token stands for."""

    name: str
    role: Role

    def demand(self, needed: Role) -> None:
        """Raise NotAllowed, naming the role that is needed, where this one's is too small."""
        if not self.role.covers(needed):
            raise NotAllowed(
                f"This needs the role {needed}; {self.name!r} has the role {self.role}.",
                {"WWW-Authenticate": 'Bearer realm="voxrec", error="insufficient_scope"'},
            )


class Authenticator(Protocol):
    """Knows the tokens."""

    async def authenticate(self, token: str) -> Principal:
        """Return whom the token stands for; raise NotAuthenticated where it is nobody's, expired or revoked."""


class StaticTokens:
    """Tokens from the configuration: ``tokens`` maps a name to its secret. All have the same role."""

    def __init__(self, tokens: Mapping[str, str], role: Role = Role.ADMIN) -> None:
        # an empty secret is one that nobody has set, not one that everybody knows
        self._known = [(Principal(name, role), _digest(secret)) for name, secret in tokens.items() if secret]

    async def authenticate(self, token: str) -> Principal:
        """See `Authenticator`. Takes the same time whichever token is given, and whether one is right or none."""
        given = _digest(token)
        # digests, so that not even a secret's length shows; a list, so that a match does not end the search
        found = [principal for principal, known in self._known if hmac.compare_digest(known, given)]
        if not found:
            raise NotAuthenticated("This token is not valid.", "invalid_token")
        return found[0]


class Attempts:
    """Slows whoever guesses tokens, by address, in bounded memory.

    Five wrong tokens are free; after each further one the address waits, twice as long each time, up to a minute. A
    token that was right from an address stays usable while the address waits: behind one NAT, or one proxy, somebody
    else's wrong token must not lock out the one who has a good one.
    """

    FREE: Final = 5
    LONGEST: Final = 60.0  # seconds to wait at most
    FORGET: Final = 900.0  # seconds without a wrong token after which an address is as good as new
    LIMIT: Final = 10_000  # addresses, and as many good tokens; the oldest are forgotten first

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()  # how many, and when the last one was
        self._right: OrderedDict[tuple[str, bytes], None] = OrderedDict()

    def admit(self, address: str, token: str) -> None:
        """Raise TooManyAttempts where this address has to wait before its next token is looked at."""
        source = _source(address)
        if (source, _digest(token)) in self._right:
            return
        wait = self._wait(source)
        if wait > 0:
            seconds = str(int(wait) + 1)
            raise TooManyAttempts("Too many wrong tokens came from this address.", {"Retry-After": seconds})

    def wrong(self, address: str, token: str) -> None:
        """Note that a token from this address was wrong, even if it was right before."""
        source = _source(address)
        count, last = self._wrong.pop(source, (0, 0.0))
        now = self._clock.seconds()
        self._wrong[source] = (1 if now - last > self.FORGET else count + 1, now)
        self._right.pop((source, _digest(token)), None)
        _bound(self._wrong, self.LIMIT)

    def right(self, address: str, token: str) -> None:
        """Note that a token from this address was right. Its wrong ones are not forgiven for that."""
        key = (_source(address), _digest(token))
        self._right[key] = None
        self._right.move_to_end(key)
        _bound(self._right, self.LIMIT)

    def _wait(self, source: str) -> float:
        count, last = self._wrong.get(source, (0, 0.0))
        if count <= self.FREE:
            return 0.0
        doublings = min(count - self.FREE - 1, 10)
        return last + min(self.LONGEST, 2.0**doublings) - self._clock.seconds()


class Gate:
    """Lets in who has a good token and a role that is large enough."""

    def __init__(self, authenticator: Authenticator, attempts: Attempts) -> None:
        self._authenticator = authenticator
        self._attempts = attempts

    async def admit(self, address: str, authorization: str, needed: Role) -> Principal:
        """Return who asks. Raises NotAuthenticated, NotAllowed or TooManyAttempts."""
        token = bearer(authorization)
        self._attempts.admit(address, token)
        try:
            principal = await self._authenticator.authenticate(token)
        except NotAuthenticated:
            self._attempts.wrong(address, token)
            raise
        self._attempts.right(address, token)
        principal.demand(needed)
        return principal


def bearer(authorization: str) -> str:
    """The token of an Authorization header (RFC 6750 section 2.1); NotAuthenticated where there is none."""
    scheme, _, token = authorization.strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise NotAuthenticated("A token is needed: Authorization: Bearer <token>.")
    return token


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogateescape")).digest()


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


def _bound(entries: OrderedDict[str, tuple[int, float]] | OrderedDict[tuple[str, bytes], None], limit: int) -> None:
    while len(entries) > limit:
        entries.popitem(last=False)
