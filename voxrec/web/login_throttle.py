"""Limits for clients that guess tokens, by network address, in bounded memory."""

import ipaddress
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import lru_cache
from hashlib import sha256
from typing import Final, TypeVar

from twisted.internet.defer import DeferredSemaphore
from twisted.internet.interfaces import IReactorTime

from voxrec.web.errors import NotAuthenticated, TooManyAttempts

K = TypeVar("K")
T = TypeVar("T")
V = TypeVar("V")


class LoginThrottle:
    """Limits what clients that guess tokens cost and learn.

    Every token is checked, and a valid one is always accepted: behind a NAT or a proxy, other clients' invalid tokens
    must not lock it out. Tokens that an address has not used successfully before are checked few at a time.

    An invalid token is answered with 401. FREE_FAILURES failures of an address cause no delay. After each further one,
    invalid tokens are answered with 429 for a time, which doubles up to MAX_DELAY; these are not counted again. A
    failure stays counted until the address has had none for RESET_AFTER seconds. A success does not reset it.
    """

    FREE_FAILURES: Final = 5
    MAX_DELAY: Final = 60.0  # seconds
    RESET_AFTER: Final = 900.0  # seconds
    PARALLEL_CHECKS: Final = 4  # of tokens of an address that it has not used successfully
    MAX_ENTRIES: Final = 10_000  # failing addresses, and accepted tokens; the oldest entries are dropped

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._checks: dict[str, DeferredSemaphore] = {}  # by source, while checks are in progress
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()  # number and time of the last, by source
        self._accepted: OrderedDict[tuple[str, bytes], None] = OrderedDict()

    async def attempt(self, address: str, token: str, authenticate: Callable[[str], Awaitable[T]]) -> T:
        """Return the result of ``authenticate``.

        Raises what it raises; instead of NotAuthenticated, TooManyAttempts if the address has to wait.
        """
        source, key = source_of(address), _digest(token)
        if (source, key) in self._accepted:
            return await self._check(source, key, token, authenticate)
        checks = self._checks.setdefault(source, DeferredSemaphore(self.PARALLEL_CHECKS))
        await checks.acquire()
        try:
            return await self._check(source, key, token, authenticate)
        finally:
            checks.release()
            if checks.tokens == checks.limit:
                self._checks.pop(source, None)

    async def _check(self, source: str, key: bytes, token: str, authenticate: Callable[[str], Awaitable[T]]) -> T:
        try:
            result = await authenticate(token)
        except NotAuthenticated:
            self._accepted.pop((source, key), None)
            self._require_no_delay(source)
            self._record_failure(source)
            raise
        self._record_success(source, key)
        return result

    def _require_no_delay(self, source: str) -> None:
        if (delay := self._delay(source)) > 0:
            raise TooManyAttempts(
                "Too many invalid tokens were sent from this address.", {"Retry-After": str(int(delay) + 1)}
            )

    def _record_failure(self, source: str) -> None:
        count = self._failure_count(source)
        self._failures.pop(source, None)
        self._failures[source] = (count + 1, self._clock.seconds())
        drop_oldest(self._failures, self.MAX_ENTRIES)

    def _record_success(self, source: str, key: bytes) -> None:
        self._accepted[source, key] = None
        self._accepted.move_to_end((source, key))
        drop_oldest(self._accepted, self.MAX_ENTRIES)

    def _failure_count(self, source: str) -> int:
        count, last = self._failures.get(source, (0, 0.0))
        return 0 if self._clock.seconds() - last > self.RESET_AFTER else count

    def _delay(self, source: str) -> float:
        count, last = self._failures.get(source, (0, 0.0))
        if count <= self.FREE_FAILURES:
            return 0.0
        doublings = min(count - self.FREE_FAILURES - 1, 10)
        return max(0.0, last + min(self.MAX_DELAY, 2.0**doublings) - self._clock.seconds())


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


def drop_oldest(entries: OrderedDict[K, V], limit: int) -> None:
    """Remove the oldest entries beyond ``limit``."""
    while len(entries) > limit:
        entries.popitem(last=False)
