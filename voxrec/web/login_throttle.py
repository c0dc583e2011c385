"""Delays for clients that guess tokens, by network address, in bounded memory."""

import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from hashlib import sha256
from typing import Final, TypeVar

from twisted.internet.interfaces import IReactorTime

from voxrec.web.errors import NotAuthenticated, TooManyAttempts

K = TypeVar("K")
V = TypeVar("V")


class LoginThrottle:
    """Limits the rate of failed authentications of each address.

    FREE_FAILURES failures cause no delay. After each further one the address has to wait, twice as long each time, up
    to MAX_DELAY. A token that was accepted from an address before is exempt: behind a NAT or a proxy, other clients'
    invalid tokens must not lock it out.

    A failure stays counted until the address has had none for RESET_AFTER seconds. A success does not reset it.
    """

    FREE_FAILURES: Final = 5
    MIN_DELAY: Final = 0.5  # seconds
    MAX_DELAY: Final = 60.0  # seconds
    RESET_AFTER: Final = 900.0  # seconds
    MAX_ENTRIES: Final = 10_000  # failing addresses, and accepted tokens; the oldest entries are dropped

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._pending: dict[str, Counter[bytes]] = {}  # number of attempts in progress, by source and token
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()  # number and time of the last, by source
        self._accepted: OrderedDict[tuple[str, bytes], None] = OrderedDict()

    @contextmanager
    def attempt(self, address: str, token: str) -> Iterator[None]:
        """Context of the authentication of a token: count it as a failure if it raises NotAuthenticated.

        Raises TooManyAttempts on entry if the address has to wait. Attempts in progress count as failures until they
        succeed, so that parallel guesses have no advantage. Parallel attempts with one token count once.
        """
        source, key = source_of(address), _digest(token)
        self._require_permitted(source, key)
        pending = self._pending.setdefault(source, Counter())
        pending[key] += 1
        try:
            yield
        except NotAuthenticated:
            self._record_failure(source, key)
            raise
        else:
            self._record_success(source, key)
        finally:
            pending[key] -= 1
            if not pending[key]:
                del pending[key]
            if not pending:
                del self._pending[source]

    def require_permitted(self, address: str, token: str) -> None:
        """Raise TooManyAttempts if this address has to wait before this token may be tried."""
        self._require_permitted(source_of(address), _digest(token))

    def record_failure(self, address: str, token: str) -> None:
        """Count an invalid token, which loses its exemption if it had one."""
        self._record_failure(source_of(address), _digest(token))

    def record_success(self, address: str, token: str) -> None:
        """Exempt an accepted token from delays of this address."""
        self._record_success(source_of(address), _digest(token))

    def _require_permitted(self, source: str, key: bytes) -> None:
        if (source, key) in self._accepted:
            return
        delay = self._delay(source) or self._delay_for_pending(source, key)
        if delay > 0:
            raise TooManyAttempts(
                "Too many invalid tokens were sent from this address.", {"Retry-After": str(int(delay) + 1)}
            )

    def _record_failure(self, source: str, key: bytes) -> None:
        count = self._failure_count(source)
        self._failures.pop(source, None)
        self._failures[source] = (count + 1, self._clock.seconds())
        self._accepted.pop((source, key), None)
        _drop_oldest(self._failures, self.MAX_ENTRIES)

    def _record_success(self, source: str, key: bytes) -> None:
        self._accepted[source, key] = None
        self._accepted.move_to_end((source, key))
        _drop_oldest(self._accepted, self.MAX_ENTRIES)

    def _failure_count(self, source: str) -> int:
        count, last = self._failures.get(source, (0, 0.0))
        return 0 if self._clock.seconds() - last > self.RESET_AFTER else count

    def _delay(self, source: str) -> float:
        count, last = self._failures.get(source, (0, 0.0))
        if count <= self.FREE_FAILURES:
            return 0.0
        doublings = min(count - self.FREE_FAILURES - 1, 10)
        return max(0.0, last + min(self.MAX_DELAY, 2.0**doublings) - self._clock.seconds())

    def _delay_for_pending(self, source: str, key: bytes) -> float:
        """Return MIN_DELAY while attempts in progress may use up the free failures; at least one may be in progress."""
        others = len(self._pending.get(source, {}).keys() - {key})
        return self.MIN_DELAY if others >= max(1, self.FREE_FAILURES + 1 - self._failure_count(source)) else 0.0


@lru_cache(maxsize=LoginThrottle.MAX_ENTRIES)
def source_of(address: str) -> str:
    """Return the IPv4 address, or the /64 network of an IPv6 address, whose addresses usually have one owner."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogateescape")).digest()


def _drop_oldest(entries: OrderedDict[K, V], limit: int) -> None:
    while len(entries) > limit:
        entries.popitem(last=False)
