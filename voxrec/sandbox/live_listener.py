"""A client that listens to a live call, and keeps what it has heard."""

import time
from typing import Any, Final

import numpy as np
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent
from twisted.web.http_headers import Headers

from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.noise import Samples16
from voxrec.sandbox.stack import Stack

_HEADER: Final = 44  # bytes of the WAV header
_CHANNELS_AT: Final = 22
_RATE_AT: Final = 24


class LiveListener(Protocol):
    """Receives the audio of a call from ``GET /calls/<id>/audio``.

    ``ended`` fires when the stream ends; ``arrivals`` are the times (`time.monotonic`) at which data arrived, and
    the number of bytes that had arrived then.
    """

    def __init__(self) -> None:
        self._received = bytearray()
        self.arrivals: list[tuple[float, int]] = []
        self.ended: Deferred[None] = Deferred()

    @classmethod
    async def listen(cls, reactor: Any, stack: Stack, call_id: str, token: str, side: str = "") -> "LiveListener":
        """Begin to listen. Raises SandboxError if that is refused."""
        listener = cls()
        query = f"?side={side}" if side else ""
        response: Any = await HTTPClient(Agent(reactor)).get(
            f"{stack.url}/calls/{call_id}/audio{query}",
            headers=Headers({"Authorization": [f"Bearer {token}"]}),
            unbuffered=True,
            reactor=reactor,
        )
        if response.code != 200:
            raise SandboxError(f"listening was refused: {response.code} {await response.text()}")
        response.original.deliverBody(listener)
        return listener

    def dataReceived(self, data: bytes) -> None:
        """Keep a part of the stream."""
        self._received += data
        self.arrivals.append((time.monotonic(), len(self._received)))

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 - Twisted's signature
        """Note the end of the stream."""
        self.ended.callback(None)

    def leave(self) -> None:
        """Close the connection."""
        transport: Any = self.transport
        transport.loseConnection()

    def pause(self) -> None:
        """Read nothing more."""
        transport: Any = self.transport
        transport.pauseProducing()

    @property
    def rate(self) -> int:
        """The sample rate in Hz; 0 before the header has arrived."""
        return int.from_bytes(self._received[_RATE_AT : _RATE_AT + 4], "little")

    @property
    def samples(self) -> Samples16:
        """What was heard, shaped (frames, channels)."""
        channels = int.from_bytes(self._received[_CHANNELS_AT : _CHANNELS_AT + 2], "little") or 1
        size = 2 * channels
        audio = bytes(self._received[_HEADER : _HEADER + (len(self._received) - _HEADER) // size * size])
        return np.frombuffer(audio, dtype="<i2").reshape(-1, channels)

    @property
    def seconds(self) -> float:
        """The length of what was heard."""
        return len(self.samples) / self.rate if self.rate else 0.0
