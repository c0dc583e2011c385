"""A limit on how often one client may do something."""

import math
from collections import deque
from collections.abc import Hashable
from typing import Final

from twisted.internet.interfaces import IReactorTime

from voxrec.error_codes import ProblemReason
from voxrec.web.errors import TooManyRequests


class RateLimit:
    """At most ``count`` operations of each client within ``seconds``. ``operations`` is their name in errors."""

    _MAX_CLIENTS: Final = 10_000

    def __init__(self, clock: IReactorTime, count: int, seconds: float, operations: str) -> None:
        self._clock = clock
        self._count = count
        self._seconds = seconds
        self._operations = operations
        self._times: dict[Hashable, deque[float]] = {}

    def count(self, client: Hashable) -> None:
        """Count an operation. Raises TooManyRequests instead, with Retry-After, if the client had too many."""
        now = self._clock.seconds()
        times = self._times.pop(client, deque())
        while times and now - times[0] >= self._seconds:
            times.popleft()
        self._times[client] = times  # behind the others: the longest unused is dropped first
        while len(self._times) > self._MAX_CLIENTS:
            del self._times[next(iter(self._times))]
        if len(times) >= self._count:
            delay = math.ceil(times[0] + self._seconds - now)
            raise TooManyRequests(
                f"{self._count} {self._operations} within {self._seconds:g} s are the maximum. Retry later.",
                {"Retry-After": str(max(1, delay))},
                reason=ProblemReason.RATE_LIMIT,
                params={"maximum": self._count, "seconds": self._seconds, "wait": max(1, delay)},
            )
        times.append(now)
