"""Commands that go to Asterisk side by side."""

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred, FirstError, gatherResults


async def together(*steps: Coroutine[Any, Any, None]) -> None:
    """Run steps side by side; raise the first error, if any."""
    try:
        await gatherResults([Deferred.fromCoroutine(step) for step in steps], consumeErrors=True)
    except FirstError as error:
        error.subFailure.raiseException()
