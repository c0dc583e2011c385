"""Commands that go to Asterisk side by side, or to a channel of this moment."""

from collections.abc import Coroutine
from typing import Any, Final, TypeAlias, TypeVar

from twisted.internet.defer import Deferred, DeferredList, ensureDeferred
from twisted.internet.interfaces import IReactorTime

_PATIENCE: Final = 2.0  # seconds after which a new channel is taken to be there though nothing said so

T = TypeVar("T")
Step: TypeAlias = Coroutine[Any, Any, T] | Deferred[T]


async def together(*steps: Step[Any]) -> list[Any]:
    """Take steps side by side and give back what they gave, in order; raise the first one's error, if any."""
    under_way = [ensureDeferred(step) for step in steps]
    try:
        return [await step for step in under_way]
    except BaseException:
        for step in under_way:
            step.addErrback(lambda _: None)  # one error is told, and is enough
        raise


async def failures_of(*steps: Coroutine[Any, Any, Any]) -> list[BaseException]:
    """Run steps side by side, each to its end, and give back what they raised: for what must not be left half done."""
    outcomes = await DeferredList([Deferred.fromCoroutine(step) for step in steps], consumeErrors=True)
    return [outcome.value for done, outcome in outcomes if not done]


class Arrival:
    """A channel that was just made, and cannot be used before Asterisk says that it is there.

    Measured on 22.10: a command that follows at once is refused for most channels that snoop, and one that follows a
    millisecond later for 1 of 100.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._came: Deferred[None] = Deferred()

    def came(self) -> None:
        """Asterisk says that it is there."""
        if not self._came.called:
            self._came.callback(None)

    async def there(self) -> None:
        """Wait until it came, or has had its time to."""
        if not self._came.called:
            await self._came.addTimeout(_PATIENCE, self._clock, onTimeoutCancel=lambda _result, _seconds: None)
