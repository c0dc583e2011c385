"""The event websocket to Asterisk as a service."""

from collections.abc import Awaitable, Callable

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred

from voxrec.ari.event_stream import EventStream


async def _do_nothing() -> None:
    pass


class AsteriskConnection(Service):
    """Opens the event websocket when it starts.

    The stream is set after construction, because its listener uses this service. ``when_closed`` is called once the
    service has closed it.
    """

    name = "Asterisk connection"

    def __init__(self, when_closed: Callable[[], Awaitable[object]] = _do_nothing) -> None:
        self._when_closed = when_closed
        self._events: EventStream | None = None

    def set_stream(self, events: EventStream) -> None:
        """Set the stream, before the service starts."""
        self._events = events

    def startService(self) -> None:
        """Start to connect."""
        super().startService()
        assert self._events is not None, "set_stream was not called"
        self._events.startService()

    def stopService(self) -> Deferred[None]:
        """Close the websocket; the Deferred fires when it is closed. Has no effect on a stopped service."""
        super().stopService()
        return Deferred.fromCoroutine(self._close())

    def reconnect(self) -> None:
        """Close the websocket, and connect again."""
        assert self._events is not None, "set_stream was not called"
        self._events.drop_connection()

    async def _close(self) -> None:
        if self._events is not None and self._events.running:
            await maybeDeferred(self._events.stopService)
            await self._when_closed()
