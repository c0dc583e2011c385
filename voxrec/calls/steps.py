"""Commands that go to Asterisk side by side, or to a channel of this moment."""

from collections.abc import Callable, Coroutine
from http.client import CONFLICT
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred, DeferredList, FirstError, gatherResults
from twisted.internet.interfaces import IReactorTime

from voxrec.ari.requests import AriRefusal

_PATIENCE: Final = 2.0  # seconds that a new channel may take to come where it can be used

T = TypeVar("T")


async def together(*steps: Coroutine[Any, Any, T]) -> list[T]:
    """Run steps side by side and give back what they gave, in order; raise the first error, if any."""
    try:
        return list(await gatherResults([Deferred.fromCoroutine(step) for step in steps], consumeErrors=True))
    except FirstError as error:
        error.subFailure.raiseException()


async def failures_of(*steps: Coroutine[Any, Any, Any]) -> list[BaseException]:
    """Run steps side by side, each to its end, and give back what they raised: for what must not be left half done."""
    outcomes = await DeferredList([Deferred.fromCoroutine(step) for step in steps], consumeErrors=True)
    return [outcome.value for done, outcome in outcomes if not done]


class Arrival:
    """A channel that was just made, and may not be where it can be used yet (measured: 1 of 100 snoops is not)."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._came: Deferred[None] = Deferred()

    def came(self) -> None:
        """Asterisk says that it is there."""
        if not self._came.called:
            self._came.callback(None)

    async def use(self, command: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a command at once, and once more after the channel came where it was too early."""
        try:
            await command()
        except AriRefusal as refusal:
            if refusal.ari_status != CONFLICT:
                raise
            await self._came.addTimeout(_PATIENCE, self._clock, onTimeoutCancel=lambda _result, _seconds: None)
            await command()
