"""Client connections on which at most a number of bytes is received: neither headers nor a body can be endless."""

from typing import Final

from twisted.internet.interfaces import IProtocol
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory

MAX_RECEIVED: Final = 131_072
"""Bytes of a connection, TLS included."""


class LimitedConnection(ProtocolWrapper):
    """Counts the bytes of a connection, and aborts it at `MAX_RECEIVED`."""

    def __init__(self, factory: "WrappingFactory[LimitedConnection]", protocol: IProtocol) -> None:
        super().__init__(factory, protocol)
        self._count = 0
        self.limit_reached = False

    def dataReceived(self, data: bytes) -> None:
        """Pass data on, up to the limit."""
        self._count += len(data)
        if self._count <= MAX_RECEIVED:
            super().dataReceived(data)
        elif not self.limit_reached:
            self.limit_reached = True
            self.abort()

    def abort(self) -> None:
        """Close the connection at once."""
        abort = getattr(self.transport, "abortConnection", None)
        if abort is not None:
            abort()


class LimitedConnectionFactory(WrappingFactory[LimitedConnection]):
    """Limits the connections of another factory."""

    protocol = LimitedConnection
    noisy = False
