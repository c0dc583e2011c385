"""A second websocket for commands.

Asterisk does the requests of one connection one after the other, and what a recording needs (a channel that listens,
twice) would keep waiting who is being put through (measured: at 60 calls a second the caller waited ten times as long).
"""

from typing import Protocol

from voxrec.ari.events import Event
from voxrec.ari.transport import Transport, WebsocketTransport


class Commanded(Protocol):
    """Who sends commands."""

    def prefer_aside(self, way: Transport | None) -> None:
        """Send what nobody waits for this way; None: as everything else."""
        ...


class CommandConnection:
    """The owner of an `EventStream` of which only the requests are used: nothing ever enters its application."""

    def __init__(self, asterisk: Commanded) -> None:
        self._asterisk = asterisk

    def stream_up(self, requester: WebsocketTransport) -> None:
        """It can be used."""
        self._asterisk.prefer_aside(requester)

    def stream_event(self, event: Event) -> None:
        """Nothing of interest comes here."""

    def stream_down(self) -> None:
        """It is gone, for now."""
        self._asterisk.prefer_aside(None)
