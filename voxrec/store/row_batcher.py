"""Changes of single rows that are requested at about the same time, by one statement."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from twisted.internet.interfaces import IReactorTime

from voxrec.batching import Batcher
from voxrec.errors import StoreUnavailable

T = TypeVar("T")
R = TypeVar("R")


class RowBatcher(Generic[T, R]):
    """Changes several rows with one statement, and those that it leaves out with a statement for each.

    ``change_several`` returns the result of each item, in their order, and None for an item whose row it has not
    changed: the row does not exist, or is locked. It must skip locked rows: if it waited for one of them while it has
    locked others, there could be a deadlock. If it fails, the value of one item may be at fault. ``change_one`` then
    waits for the row, or raises the error that belongs to the item. ``interval`` is that of `Batcher`, in seconds.
    """

    def __init__(
        self,
        clock: IReactorTime,
        change_several: Callable[[Sequence[T]], Awaitable[Sequence[R | None]]],
        change_one: Callable[[T], Awaitable[R]],
        interval: float = 0.0,
    ) -> None:
        self._change_several = change_several
        self._change_one = change_one
        self._batcher: Batcher[T, R | None] = Batcher(clock, self._run, interval=interval)

    async def change(self, item: T) -> R:
        """Change the row of an item, and return its result. Raises StoreUnavailable, and what ``change_one`` raises."""
        result = await self._batcher.request(item)
        return await self._change_one(item) if result is None else result

    async def _run(self, items: Sequence[T]) -> Sequence[R | None]:
        try:
            return await self._change_several(items)
        except StoreUnavailable:
            raise
        except Exception:
            return [None] * len(items)
