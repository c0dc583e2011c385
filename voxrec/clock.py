"""Two clocks: one for moments, which NTP and administrators set, and one for intervals, which nothing sets.

Twisted's reactor uses the wall clock for both (`twisted.internet.base.ReactorBase.seconds`): if it is set forward by an
hour, every timer of the next hour expires at once, and calls that ring or that are in progress end; if it is set back,
no timer expires for an hour. `use_monotonic_timers` gives the reactor a clock for intervals, and `utc_now` is then the
only source of moments.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, cast
from zoneinfo import ZoneInfo

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

UtcNow = Callable[[], datetime]
"""Returns the current time in UTC, such as ``partial(utc_now, clock)``."""


class _WithWallClock(Protocol):
    def wall_seconds(self) -> float:
        """Return the seconds since 1970 by the wall clock."""


def use_monotonic_timers(reactor: Any) -> None:
    """Let the timers and ``seconds()`` of a reactor follow the monotonic clock. To be called before it has timers.

    Raises RuntimeError if it has some, because their times are those of the wall clock.
    """
    if reactor.getDelayedCalls():
        raise RuntimeError("the reactor has timers already")
    reactor.seconds = time.monotonic
    reactor.wall_seconds = time.time


def utc_now(clock: IReactorTime) -> datetime:
    """Return the current time. Without a wall clock, such as in `twisted.internet.task.Clock`, 0 s is in 1970."""
    if hasattr(clock, "wall_seconds"):
        return datetime.fromtimestamp(cast("_WithWallClock", clock).wall_seconds(), UTC)
    return datetime.fromtimestamp(clock.seconds(), UTC)


@implementer(IReactorTime)
class SteadyClock:
    """The clock of one call: its moments continue from that of its creation, whatever the wall clock is set to.

    The differences between the moments of a call, such as the offsets in its timeline and its duration, are therefore
    intervals. Timers are those of ``clock``.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._created_at = utc_now(clock)
        self._since = clock.seconds()

    def wall_seconds(self) -> float:
        """Return the seconds since 1970."""
        return (self._created_at + timedelta(seconds=self._clock.seconds() - self._since)).timestamp()

    def seconds(self) -> float:
        """See `IReactorTime.seconds`."""
        return self._clock.seconds()

    def callLater(  # noqa: N802 - Twisted's names
        self,
        delay: float,
        callable: Callable[..., Any],  # noqa: A002
        *args: object,
        **kwargs: object,
    ) -> IDelayedCall:
        """See `IReactorTime.callLater`."""
        return self._clock.callLater(delay, callable, *args, **kwargs)

    def getDelayedCalls(self) -> list[IDelayedCall]:
        """See `IReactorTime.getDelayedCalls`."""
        return list(self._clock.getDelayedCalls())


def is_time_zone(name: str) -> bool:
    """Return whether the system, or PyPI's tzdata, knows a time zone such as ``Europe/Berlin``."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # OSError: the name of a directory
        return False
    return True
