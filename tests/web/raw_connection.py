"""A TCP client that sends and receives bytes, for requests that no HTTP library would send."""

from twisted.internet import defer
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Client
from twisted.python.failure import Failure

from tests.database import reactor


class RawConnection(Protocol):
    """A connection to a server: the bytes received so far, and a Deferred that fires with them when it is closed."""

    transport: Client

    def __init__(self) -> None:
        self.received = b""
        self.closed: defer.Deferred[bytes] = defer.Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed.callback(self.received)


async def open_connection(port: int) -> RawConnection:
    """Connect to a loopback port."""
    connection = RawConnection()
    await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), connection)
    return connection


async def send_raw(port: int, request: bytes) -> bytes:
    """Send bytes, and return all bytes received until the server closes the connection."""
    connection = await open_connection(port)
    connection.transport.write(request)
    return await connection.closed
