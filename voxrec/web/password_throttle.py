"""Limits for clients that guess passwords, which cannot be used to lock a user out, in bounded memory."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, TypeVar

from twisted.internet.interfaces import IReactorTime

from voxrec.web.errors import TooManyAttempts
from voxrec.web.login_throttle import drop_oldest, source_of

K = TypeVar("K")


@dataclass(slots=True)
class _Failures:
    """Failed attempts: their number, and the time of the last one in seconds of the clock."""

    count: int = 0
    last: float = 0.0


class PasswordThrottle:
    """Decides whether a password may be tried: unlike a token, a password can be guessed if many are tried.

    A source is an IPv4 address or an IPv6 /64 network. Two limits apply, and an attempt beyond one is refused without
    checking the password:

    - of one source for one account: after FREE_FAILURES failures, the next attempt has to wait for a time that doubles
      with each failure up to MAX_DELAY seconds;
    - of all other sources together for one account: ACCOUNT_FAILURES failures within RESET_AFTER seconds.

    A source from which the account has signed in before is exempt from the second limit, so that attackers cannot
    prevent a user from signing in at the usual place. Failures are forgotten after RESET_AFTER seconds without one,
    and, of one source, after a success.
    """

    FREE_FAILURES: Final = 5
    FIRST_DELAY: Final = 1.0  # seconds
    MAX_DELAY: Final = 300.0  # seconds
    ACCOUNT_FAILURES: Final = 100
    RESET_AFTER: Final = 3600.0  # seconds
    MAX_ENTRIES: Final = 10_000  # of each table; the oldest entries are dropped

    def __init__(self, clock: IReactorTime, tried: str = "passwords") -> None:
        """``tried`` is what is guessed, for the error message."""
        self._clock = clock
        self._tried = tried
        self._of_source: OrderedDict[tuple[str, str], _Failures] = OrderedDict()
        self._of_account: OrderedDict[str, _Failures] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def require_attempt(self, account: str, address: str) -> None:
        """Raise TooManyAttempts, with the time to wait, if a password must not be tried now."""
        key = (account, source_of(address))
        failures = self._current(self._of_source, key)
        delay = self._delay(failures)
        if delay <= 0 and key not in self._known:
            of_account = self._current(self._of_account, account)
            if of_account.count >= self.ACCOUNT_FAILURES:
                delay = of_account.last + self.RESET_AFTER - self._clock.seconds()
        if delay > 0:
            raise TooManyAttempts(f"Too many wrong {self._tried} were entered.", {"Retry-After": str(int(delay) + 1)})

    def failed(self, account: str, address: str) -> None:
        """Count a wrong password. Call it before the password is checked, so that parallel attempts are counted."""
        key = (account, source_of(address))
        self._count(self._of_source, key)
        if key not in self._known:
            self._count(self._of_account, account)

    def succeeded(self, account: str, address: str) -> None:
        """Forget the failures of a source that has signed in, and know it from now on."""
        key = (account, source_of(address))
        failures = self._of_source.pop(key, _Failures())
        of_account = self._of_account.get(account)
        if of_account is not None and key not in self._known:
            of_account.count = max(0, of_account.count - failures.count)
        self._known[key] = None
        self._known.move_to_end(key)
        drop_oldest(self._known, self.MAX_ENTRIES)

    def _current(self, table: OrderedDict[K, _Failures], key: K) -> _Failures:
        failures = table.get(key)
        if failures is None or self._clock.seconds() - failures.last > self.RESET_AFTER:
            return _Failures()
        return failures

    def _count(self, table: OrderedDict[K, _Failures], key: K) -> None:
        table[key] = _Failures(self._current(table, key).count + 1, self._clock.seconds())
        table.move_to_end(key)
        drop_oldest(table, self.MAX_ENTRIES)

    def _delay(self, failures: _Failures) -> float:
        if failures.count < self.FREE_FAILURES:
            return 0.0
        doublings = min(failures.count - self.FREE_FAILURES, 20)
        return failures.last + min(self.MAX_DELAY, self.FIRST_DELAY * 2.0**doublings) - self._clock.seconds()
