"""The two websockets to Asterisk as one service."""

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred

from voxrec.ari.event_stream import EventStream


class AsteriskConnection(Service):
    """Opens the event websocket when it starts; the websocket for recording commands follows on request.

    The streams are set after construction, because their listener uses this service.
    """

    name = "Asterisk connection"

    def __init__(self) -> None:
        self._events: EventStream | None = None
        self._commands: EventStream | None = None

    def set_streams(self, events: EventStream, commands: EventStream) -> None:
        """Set the streams, before the service starts."""
        self._events = events
        self._commands = commands

    def startService(self) -> None:
        """Start to connect the event websocket."""
        super().startService()
        assert self._events is not None, "set_streams was not called"
        self._events.startService()

    def open_command_stream(self) -> None:
        """Start to connect the websocket for recording commands, if this Asterisk executes commands on websockets."""
        if self.running and self._commands is not None and not self._commands.running:
            self._commands.startService()

    def stopService(self) -> Deferred[None]:
        """Close both websockets; the Deferred fires when they are closed. Has no effect on a stopped service."""
        super().stopService()
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        for stream in (self._events, self._commands):
            if stream is not None and stream.running:
                await maybeDeferred(stream.stopService)
