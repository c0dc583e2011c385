"""HTTP by hand, for what no HTTP library would send."""

from twisted.internet import defer
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Client
from twisted.python.failure import Failure

from tests.database import reactor


class Wire(Protocol):
    """A connection: what came, and a Deferred for its end."""

    transport: Client

    def __init__(self) -> None:
        self.received = b""
        self.ended: defer.Deferred[bytes] = defer.Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(self.received)


async def connected(port: int) -> Wire:
    """Open a connection to a loopback port."""
    wire = Wire()
    await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), wire)
    return wire


async def raw(port: int, request: bytes) -> bytes:
    """Send bytes and return all that comes until the server closes."""
    wire = await connected(port)
    wire.transport.write(request)
    return await wire.ended
