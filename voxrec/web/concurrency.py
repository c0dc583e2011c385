"""A limit on what one client may do at the same time."""

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from voxrec.web.errors import TooManyRequests


class ConcurrencyLimit:
    """At most ``limit`` operations of each client at the same time. ``operations`` is their name in errors."""

    def __init__(self, limit: int, operations: str) -> None:
        self.limit = limit
        self._operations = operations
        self._in_progress: Counter[Hashable] = Counter()

    @contextmanager
    def operation(self, client: Hashable) -> Iterator[None]:
        """Context of one operation. Raises TooManyRequests on entry if the client has too many in progress."""
        if self._in_progress[client] >= self.limit:
            raise TooManyRequests(
                f"{self.limit} {self._operations} are in progress, which is the maximum. Retry later.",
                {"Retry-After": "1"},
            )
        self._in_progress[client] += 1
        try:
            yield
        finally:
            self._in_progress[client] -= 1
            if not self._in_progress[client]:
                del self._in_progress[client]
