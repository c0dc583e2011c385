"""A TCP proxy between two programs, with which a test or a fault interrupts their connections."""

from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.protocols.portforward import ProxyFactory

from voxrec.sandbox.asterisk import LOOPBACK


class TcpProxy(ProxyFactory):
    """Forwards connections at a loopback port to the TCP port ``target``, also of the loopback interface."""

    noisy = False

    def __init__(self, target: int) -> None:
        super().__init__(LOOPBACK, target)
        self._listening: IListeningPort | None = None
        self._connections: list[Any] = []

    @property
    def listening_port(self) -> int:
        """The port at which it listens."""
        assert self._listening is not None, "listen() comes first"
        port: int = self._listening.getHost().port  # type: ignore[attr-defined] # IPv4Address
        return port

    def listen(self, reactor: Any, port: int = 0) -> None:
        """Accept connections at ``port``; 0: a free one."""
        self._listening = reactor.listenTCP(port, self, interface=LOOPBACK)

    async def stop(self) -> None:
        """Refuse new connections, and abort those that are open; `listen` accepts connections again."""
        listening, self._listening = self._listening, None
        if listening is not None:
            await maybeDeferred(listening.stopListening)
        self.drop_connections()

    def drop_connections(self) -> None:
        """Abort all open connections."""
        connections, self._connections = self._connections, []
        for connection in connections:
            connection.transport.abortConnection()

    def buildProtocol(self, addr: Any) -> Any:
        """See `twisted.internet.interfaces.IProtocolFactory`."""
        connection = super().buildProtocol(addr)
        self._connections.append(connection)
        return connection
