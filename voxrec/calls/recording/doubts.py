"""Until when Asterisk may still execute what was sent without a response, and when to check whether it has."""

from dataclasses import dataclass
from random import random
from typing import Final

from twisted.internet.interfaces import IReactorTime

CHECK_INTERVAL: Final = 2.0
"""Seconds between two checks of what a command of this process has done."""
_MAX_DOUBLINGS: Final = 4  # of that interval, while ARI does not answer
_DOUBT_TIME: Final = 60.0  # seconds in which Asterisk may still execute what was sent on a connection that was lost
# Seconds after a take-over at which it is checked what commands of the former process have done. Each check costs
# Asterisk two requests for each call, and all calls are taken over at the same time: the checks are few, and each call
# extends the times by a fraction of its own, up to this one.
_TAKEOVER_CHECKS: Final = (2.0, 5.0, 10.0)
_TAKEOVER_SPREAD: Final = 0.5


@dataclass
class Doubts:
    """The doubts about the recording of one call.

    ``exist``: a command without a response may be executed later, and start or unmute a MixMonitor, or mute it.
    ``failed_queries``: how often ARI has not answered a check since it last has; it is repeated less and less often.
    """

    clock: IReactorTime
    exist: bool = False
    failed_queries: int = 0
    _end: float = 0.0
    _check_times: tuple[float, ...] = ()  # after a take-over; else every `CHECK_INTERVAL`

    @property
    def remain(self) -> bool:
        """Whether it is to be checked again what Asterisk does."""
        return self.failed_queries > 0 or self.clock.seconds() < self._end

    @property
    def to_be_checked(self) -> bool:
        """Whether what was executed late is to be looked for now: after a take-over also when the time is over."""
        return self.remain or bool(self._check_times)

    @property
    def next_check(self) -> float:
        """The seconds until the next check."""
        if self.failed_queries:
            return CHECK_INTERVAL * 2.0 ** min(self.failed_queries, _MAX_DOUBLINGS)
        now = self.clock.seconds()
        return next((at - now for at in self._check_times if at > now), CHECK_INTERVAL)

    def begin(self) -> None:
        """Doubt a command of this process, for 60 s."""
        self.exist, self._check_times = True, ()
        self._end = self.clock.seconds() + _DOUBT_TIME

    def begin_after_takeover(self) -> None:
        """Doubt the commands of the process that had the call before, for 10 to 15 s."""
        now, spread = self.clock.seconds(), 1 + _TAKEOVER_SPREAD * random()  # noqa: S311 - not a secret
        self.exist, self._check_times = True, tuple(now + seconds * spread for seconds in _TAKEOVER_CHECKS)
        self._end = self._check_times[-1]

    def checked(self) -> None:
        """Handle that a check when no doubts `remain` was the last one."""
        self._check_times = ()
