"""A timer that can be restarted."""

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Deadline:
    """At most one pending call of a function."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._timer: IDelayedCall | None = None

    @property
    def pending(self) -> bool:
        """Whether the function is still to be called."""
        return self._timer is not None and self._timer.active()

    def start(self, seconds: float, expired: Callable[[], object]) -> None:
        """Call ``expired`` after ``seconds``, in place of any earlier function."""
        self.cancel()
        self._timer = self._clock.callLater(seconds, expired)

    def cancel(self) -> None:
        """Call no function."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
