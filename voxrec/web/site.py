"""The HTTP server in front of the resource: what a client may use up before anybody looks at its request."""

from collections import deque
from functools import partial
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Server
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from voxrec.errors import VoxrecError
from voxrec.web.auth import Principal
from voxrec.web.uploads import UploadFile

CONNECTIONS: Final = 1000  # open at once
AT_ONCE: Final = 2  # requests begun in one turn of the reactor
IDLE: Final = 60.0  # seconds of silence after which a connection is closed, between requests or within one


class UploadPolicy(Protocol):
    """Knows which requests bring files, and who may."""

    def spool_for(self, method: str, path: str) -> UploadFile | None:
        """Where the body goes; None where it is no file."""

    async def admit(self, request: Request, method: str, path: str) -> Principal:
        """Who asks; raises where they may not, before the body comes."""


class RestSite(Site):
    """Serves ``resource``; keeps no more than ``body_limit`` bytes (and one) of a body, whatever is sent.

    Uploads, of which ``intake`` knows, may be longer and go into files; but only once it is known who sends them.

    However many requests come at once, a turn of the reactor begins a few of them, in the order in which they came:
    what calls wait for, and the requests that were begun before, goes on in between. Else the latest request would hold
    up the earliest one's answer.

    At most ``connections`` are open at once. ``access_log``: whether each request is a line in the log. A request's
    line and headers may have 16 KiB and 500 headers, which are Twisted's own limits (`HTTPChannel`).
    """

    displayTracebacks = False  # noqa: N815 - Twisted's name
    _log = Logger()

    def __init__(
        self,
        resource: IResource,
        *,
        body_limit: int,
        reactor: IReactorTime,
        intake: UploadPolicy | None = None,
        idle: float = IDLE,
        connections: int = CONNECTIONS,
        access_log: bool = False,
    ) -> None:
        request_factory = partial(_Bounded, body_limit, intake)
        super().__init__(
            resource, requestFactory=request_factory, timeout=idle, reactor=reactor, parsePOSTFormSubmission=False
        )
        self.protocol = _Counted  # type: ignore[assignment] # Twisted's own one only switches to HTTP/2
        self._reactor = reactor
        self._begun = 0  # requests, in this turn
        self._coming: deque[_Bounded] = deque()
        self._connections = connections
        self._access_log = access_log
        self._open = 0
        self._full = False

    def acceptableProtocols(self) -> list[bytes]:  # noqa: N802
        """HTTP/1.1 alone, also where Twisted could do HTTP/2: that has other limits, which nobody has looked at."""
        return [b"http/1.1"]

    def log(self, request: HTTPRequest) -> None:
        """Log one request, where that is wanted."""
        if self._access_log:
            super().log(request)

    def begin(self, request: "_Bounded") -> None:
        """Have a request answered, now or in one of the next turns."""
        self._coming.append(request)
        if not self._begun:
            self._reactor.callLater(0, self._turn)
        if self._begun < AT_ONCE:
            self._begin_next()

    def _turn(self) -> None:
        self._begun = 0
        while self._coming and self._begun < AT_ONCE:
            self._begin_next()
        if self._begun:
            self._reactor.callLater(0, self._turn)

    def _begin_next(self) -> None:
        self._begun += 1
        self._coming.popleft().begin()

    @property
    def open(self) -> int:
        """How many connections there are."""
        return self._open

    def opened(self) -> bool:
        """Count a connection; False where it is one too many."""
        self._open += 1
        full, self._full = self._full, self._open > self._connections
        if self._full and not full:
            self._log.warn("REST: more than {limit} connections: refusing further ones", limit=self._connections)
        return not self._full

    def closed(self) -> None:
        """It is gone."""
        self._open -= 1


class _Counted(HTTPChannel):
    """A connection that counts."""

    site: RestSite
    transport: ITCPTransport

    def connectionMade(self) -> None:
        super().connectionMade()
        if not self.site.opened():
            self.transport.abortConnection()

    def requestDone(self, request: HTTPRequest) -> None:  # noqa: N802
        """Send what is left of the answer now: the reactor would do it in its next turn, behind other requests."""
        super().requestDone(request)
        transport = self.transport
        if isinstance(transport, Server) and not transport.disconnecting and not transport.disconnected:
            # where it fails, the reactor tries again, and ends the connection
            transport.doWrite()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.site.closed()
        super().connectionLost(reason)


class _Bounded(Request):
    """A request whose body is dropped from where it is too long: the rest is read, so that the refusal arrives."""

    channel: Any

    def __init__(self, body_limit: int, intake: UploadPolicy | None, channel: HTTPChannel, queued: object) -> None:
        super().__init__(channel, queued)
        self._room = body_limit + 1
        self._intake = intake

    def process(self) -> None:
        """Wait for its turn."""
        self.channel.site.begin(self)

    def begin(self) -> None:
        """Have it answered, unless its client has gone meanwhile."""
        if self.channel is not None:
            super().process()

    def gotLength(self, length: int | None) -> None:  # noqa: N802
        """The head is there, and the body comes."""
        # a request learns these after its body; the channel has them already, as it has the headers
        method, target = (part.decode("latin-1") for part in (self.channel._command, self.channel._path))  # noqa: SLF001
        path = target.partition("?")[0]
        spool = None if self._intake is None else self._intake.spool_for(method, path)
        if self._intake is None or spool is None:
            super().gotLength(None if length is None else min(length, self._room))
            return
        self.content = spool  # all of a file that Twisted asks of it
        if length is not None:
            spool.announce(length)
        self.channel.transport.pauseProducing()
        Deferred.fromCoroutine(self._admit(self._intake, spool, method, path))

    async def _admit(self, intake: UploadPolicy, spool: UploadFile, method: str, path: str) -> None:
        try:
            spool.decide(await intake.admit(self, method, path))
        except VoxrecError as error:
            spool.decide(error)
        except Exception as error:
            spool.decide(_Defect(error))
        if getattr(self, "channel", None) is not None:
            self.channel.transport.resumeProducing()

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802
        """A part of the body."""
        if isinstance(self.content, UploadFile):
            self.content.write(data)
            return
        kept = data[: self._room]
        self._room -= len(kept)
        super().handleContentChunk(kept)


class _Defect(VoxrecError):
    """Something that nobody foresaw."""

    def __init__(self, error: Exception) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.__cause__ = error
