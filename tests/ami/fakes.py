"""An AMI server in memory that answers as Asterisk does, and a client endpoint that connects to it."""

import sys
from collections.abc import Callable
from hashlib import md5
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError as TwistedRefused
from twisted.internet.task import Clock
from twisted.protocols.basic import LineOnlyReceiver
from twisted.test.iosim import FakeTransport, IOPump, connect

Answer = Callable[[dict[str, str]], bytes | None]


class FakeAsterisk(LineOnlyReceiver):
    """The server side of one connection. ``answers`` maps an action to the answer; None is no answer."""

    challenge = "123456789"

    def __init__(self, network: "FakeNetwork") -> None:
        self.network = network
        self.fields: dict[str, str] = {}

    def connectionMade(self) -> None:
        self.send(self.network.banner)

    def send(self, data: bytes) -> None:
        assert self.transport is not None
        allowed, self.network.bytes_left = data[: self.network.bytes_left], self.network.bytes_left - len(data)
        self.transport.write(allowed)
        if self.network.bytes_left < 0:
            self.network.bytes_left = sys.maxsize
            self.transport.loseConnection()

    def lineReceived(self, line: bytes) -> None:
        if line:
            name, _, value = line.decode().partition(": ")
            self.fields[name] = value
            return
        fields, self.fields = self.fields, {}
        self.network.actions.append(fields)
        answer = self.network.answers.get(fields["Action"], self._answer)(fields)
        if answer is not None:
            self.send(response(fields, answer))

    def _answer(self, fields: dict[str, str]) -> bytes:
        match fields["Action"]:
            case "Challenge":
                return f"Response: Success\r\nChallenge: {self.challenge}\r\n".encode()
            case "Login":
                key = md5((self.challenge + self.network.password).encode(), usedforsecurity=False).hexdigest()
                accepted = fields["Username"] == "voxrec" and fields["Key"] == key
                return b"Response: Success\r\n" if accepted else error("Authentication failed")
        return b"Response: Success\r\n"


def error(message: str) -> bytes:
    """Return the lines of an error response."""
    return f"Response: Error\r\nMessage: {message}\r\n".encode()


def response(fields: dict[str, str], lines: bytes) -> bytes:
    """Return a response to an action."""
    return lines + f"ActionID: {fields['ActionID']}\r\n\r\n".encode()


class FakeNetwork:
    """A client endpoint that connects to a `FakeAsterisk`, or refuses connections while ``refusing`` is set."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.refusing = False
        self.attempts: list[float] = []
        self.password = "secret"
        self.bytes_left = sys.maxsize
        """The connection is lost when the server sends more."""
        self.banner = b"Asterisk Call Manager/11.0.0\r\n"
        self.answers: dict[str, Answer] = {}
        self.actions: list[dict[str, str]] = []
        self.server: FakeAsterisk | None = None
        self.pump: IOPump | None = None

    def connect(self, factory: Any) -> Deferred[Any]:
        self.attempts.append(self.clock.seconds())
        if self.refusing:
            return fail(TwistedRefused())
        self.server = FakeAsterisk(self)
        client = factory.buildProtocol(None)
        self.pump = connect(
            self.server,
            FakeTransport(self.server, isServer=True),
            client,
            FakeTransport(client, isServer=False),
            greet=False,
        )
        return succeed(client)

    def flush(self) -> None:
        if self.pump is not None:
            self.pump.flush()

    def send(self, data: bytes) -> None:
        assert self.server is not None
        self.server.send(data)
        self.flush()

    def drop_connection(self) -> None:
        assert self.server is not None and self.server.transport is not None
        self.server.transport.loseConnection()
        self.flush()
