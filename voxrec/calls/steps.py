"""Commands that go to Asterisk side by side."""

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, FirstError, gatherResults

T = TypeVar("T")


async def together(*steps: Coroutine[Any, Any, T]) -> list[T]:
    """Run steps side by side and give back what they gave, in order; raise the first error, if any."""
    try:
        return list(await gatherResults([Deferred.fromCoroutine(step) for step in steps], consumeErrors=True))
    except FirstError as error:
        error.subFailure.raiseException()
