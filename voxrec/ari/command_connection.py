"""A second websocket for the requests that start recordings.

Asterisk executes the requests of one connection one after the other. The two snoop channels of a recording would delay
the requests that connect the next caller: at 60 calls per second, set-up took ten times as long (measured).
"""

from typing import Protocol

from voxrec.ari.events import Event
from voxrec.ari.transport import Transport, WebsocketTransport


class RecordingTransportUser(Protocol):
    """The part of `AriClient` that `CommandConnection` uses."""

    def use_recording_transport(self, transport: Transport | None) -> None:
        """See `AriClient.use_recording_transport`."""
        ...


class CommandConnection:
    """Listens to an `EventStream` that is used for requests only.

    Its Stasis application is never named in the dialplan, so it receives no events.
    """

    def __init__(self, asterisk: RecordingTransportUser) -> None:
        self._asterisk = asterisk

    def stream_connected(self, transport: WebsocketTransport) -> None:
        """Use the connection for the requests that start recordings."""
        self._asterisk.use_recording_transport(transport)

    def event_received(self, event: Event) -> None:
        """Ignore the event."""

    def stream_disconnected(self) -> None:
        """Use the main connection until this one is open again."""
        self._asterisk.use_recording_transport(None)
