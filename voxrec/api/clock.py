"""The current time for handlers."""

from collections.abc import Callable
from datetime import UTC, datetime

from twisted.internet.interfaces import IReactorTime

UtcNow = Callable[[], datetime]
"""Returns the current time in UTC."""


def utc_now(clock: IReactorTime) -> UtcNow:
    """Return a function that reads ``clock``."""
    return lambda: datetime.fromtimestamp(clock.seconds(), UTC)
