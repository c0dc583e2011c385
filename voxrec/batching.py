"""Combines operations that are requested at about the same time, such as statements about one row each."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from voxrec.deferreds import MinimumInterval

T = TypeVar("T")
R = TypeVar("R")


class Batcher(Generic[T, R]):
    """Calls ``run`` with all items that were requested since its last call began, at most ``limit`` of them.

    A batch consists of the requests of one iteration of the reactor, or of those that arrived while the former batch
    ran, or in the ``interval`` seconds after its start: the more requests, the larger the batches, and a single request
    does not wait. ``run`` returns one result for each item, in their order. If it raises, the requests of the batch
    fail, and the next batch is run.
    """

    def __init__(
        self,
        clock: IReactorTime,
        run: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        limit: int = 100,
        interval: float = 0.0,
    ) -> None:
        self._clock = clock
        self._interval = MinimumInterval(clock, interval)
        self._run = run
        self._limit = limit
        self._waiting: list[tuple[T, Deferred[R]]] = []
        self._running = False

    def request(self, item: T) -> "Deferred[R]":
        """Add an item to the next batch; the Deferred fires with its result. Cancelling it does not stop the batch."""
        result: Deferred[R] = Deferred()
        self._waiting.append((item, result))
        if not self._running:
            self._running = True
            self._clock.callLater(0, lambda: Deferred.fromCoroutine(self._run_batches()))
        return result

    async def _run_batches(self) -> None:
        while self._waiting:
            if len(self._waiting) < self._limit:
                await self._interval.wait()
            batch, self._waiting = self._waiting[: self._limit], self._waiting[self._limit :]
            try:
                results = await self._run([item for item, _ in batch])
            except Exception:
                failure = Failure()
                for _, result in batch:
                    result.errback(Failure(failure.value))
            else:
                for (_, result), value in zip(batch, results, strict=True):
                    result.callback(value)
        self._running = False
