"""The requests on a connection to Asterisk that have no response yet."""

from typing import Generic, NamedTuple, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from voxrec.errors import AsteriskUnavailable

T = TypeVar("T")


class PendingRequest(NamedTuple, Generic[T]):
    """A request without a response. ``deadline`` is in seconds of the reactor's clock."""

    result: Deferred[T]
    description: str
    deadline: float


class PendingRequests(Generic[T]):
    """Requests by id, each of which fails with `AsteriskUnavailable` after ``timeout`` seconds without a response."""

    def __init__(self, clock: IReactorTime, timeout: float) -> None:
        self._clock = clock
        self._timeout = timeout
        self._requests: dict[str, PendingRequest[T]] = {}  # ordered by deadline
        # one timer for all requests: nearly all of them complete long before the deadline
        self._timer: IDelayedCall | None = None

    def add(self, request_id: str, description: str) -> Deferred[T]:
        """Return a Deferred of the response. ``description`` names the request in errors.

        Cancelling the Deferred fails it with `AsteriskUnavailable`; the response is ignored then.
        """

        def cancel(result: Deferred[T]) -> None:
            self._requests.pop(request_id, None)
            result.errback(AsteriskUnavailable(f"{description} was cancelled before Asterisk responded"))

        result: Deferred[T] = Deferred(cancel)
        self._requests[request_id] = PendingRequest(result, description, self._clock.seconds() + self._timeout)
        if self._timer is None:
            self._timer = self._clock.callLater(self._timeout, self._expire)
        return result

    def pop(self, request_id: str) -> PendingRequest[T] | None:
        """Remove and return the request that a response belongs to; None if it timed out or never existed."""
        return self._requests.pop(request_id, None)

    def fail_all(self, reason: str) -> None:
        """Fail all requests with `AsteriskUnavailable`. ``reason`` is what happened: "the websocket closed"."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        requests, self._requests = self._requests, {}
        for request in requests.values():
            request.result.errback(AsteriskUnavailable(f"no response from Asterisk to {request.description}: {reason}"))

    def _expire(self) -> None:
        """Fail the requests whose deadline has passed, and schedule the next check."""
        self._timer = None
        now = self._clock.seconds()
        expired = [request_id for request_id, request in self._requests.items() if request.deadline <= now]
        requests = [self._requests.pop(request_id) for request_id in expired]
        if self._requests:
            self._timer = self._clock.callLater(next(iter(self._requests.values())).deadline - now, self._expire)
        for request in requests:
            request.result.errback(
                AsteriskUnavailable(f"no response from Asterisk to {request.description} within {self._timeout:g} s")
            )
