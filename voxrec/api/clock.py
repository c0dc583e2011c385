"""The current time for handlers."""

from collections.abc import Callable
from datetime import datetime

from twisted.internet.interfaces import IReactorTime

from voxrec.clock import utc_now as read_utc

UtcNow = Callable[[], datetime]
"""Returns the current time in UTC."""


def utc_now(clock: IReactorTime) -> UtcNow:
    """Return a function that reads ``clock``."""
    return lambda: read_utc(clock)
