"""The way out of an answer: a body of any length, sent as fast as the client takes it and no faster."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from http import HTTPStatus
from typing import Final, Protocol, runtime_checkable

from twisted.internet.defer import Deferred, TimeoutError  # noqa: A004
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.logger import Logger
from twisted.web.server import Request as HTTPRequest
from zope.interface import implementer

from voxrec.web.response import BodyStream, Response

STALL: Final = 300.0  # seconds for which a client may take nothing before it is dropped
_BODILESS: Final = (204, 304)
_log = Logger()


@runtime_checkable
class ClosableBody(Protocol):
    """A body that may wait for long before its next part."""

    def close(self) -> None:
        """End the wait, and the body: nobody takes it any more."""


@implementer(IPushProducer)
class ResponseWriter:
    """The way out of one request's answer.

    It lives beside a handler that nobody cancels, so it is the one that notices when the client has gone. ``begun`` is
    told the status as the head goes out.
    """

    def __init__(
        self, request: HTTPRequest, clock: IReactorTime, begun: Callable[[int], None] = lambda _: None
    ) -> None:
        self._request = request
        self._clock = clock
        self._begun = begun
        self._gone = False
        self._gate: Deferred[None] | None = None
        self._body: object = None
        self._over: Deferred[None] = Deferred()
        request.notifyFinish().addBoth(self._ended)

    async def send(self, answer: Response) -> None:
        """Send head and body; to a client that has gone, nothing.

        Raises what the body raises, as long as nothing is sent and another answer is possible. Later the connection
        is cut, for nothing else tells the client that there should be more.
        """
        if isinstance(answer.body, bytes):
            self._send_whole(answer, answer.body)
            return
        try:
            await self._send_parts(answer, answer.body)
        finally:
            await answer.body.aclose()

    def _send_whole(self, answer: Response, body: bytes) -> None:
        self._begin(answer)
        if answer.status not in _BODILESS:
            self._request.setHeader("Content-Length", str(len(body)))
            self._request.write(body)

    async def _send_parts(self, answer: Response, body: BodyStream | AsyncGenerator[bytes, None]) -> None:
        if self._request.method == b"HEAD":
            self._begin(answer)
            return
        parts = aiter(body)
        try:
            first = await anext(parts)  # not anext(parts, b""), which leaves a generator "already running" (3.11)
        except StopAsyncIteration:
            first = b""
        self._begin(answer)
        if self._gone:
            return
        self._body = body
        self._request.registerProducer(self, True)
        try:
            await self._pour(first, parts)
        except TimeoutError:
            _log.info("A client took nothing for {seconds:g} s and is dropped", seconds=STALL)
            await self._cut()
        except Exception:
            _log.failure("A body ends half-way, and so does its connection")
            await self._cut()
        finally:
            if not self._gone:
                self._request.unregisterProducer()

    async def _pour(self, first: bytes, rest: AsyncIterator[bytes]) -> None:
        self._request.write(first)
        await self._room()
        async for part in rest:
            if self._gone:
                return
            self._request.write(part)
            await self._room()

    def _begin(self, answer: Response) -> None:
        self._begun(answer.status)
        self._request.setResponseCode(answer.status, HTTPStatus(answer.status).phrase.encode())
        for name, value in answer.headers.items():
            self._request.setHeader(name, value)

    async def _room(self) -> None:
        if self._gate is not None:
            await self._gate.addTimeout(STALL, self._clock)

    async def _cut(self) -> None:
        if not self._gone:
            self._request.transport.abortConnection()  # type: ignore[union-attr] # it is a TCP or TLS one
            await self._over  # or the answer would be ended as if it were whole

    def _ended(self, _result: object) -> None:
        self.stopProducing()
        self._over.callback(None)

    # What the transport calls.

    def pauseProducing(self) -> None:  # noqa: N802
        """The buffers are full."""
        if self._gate is None:
            self._gate = Deferred()

    def resumeProducing(self) -> None:  # noqa: N802
        """There is room again."""
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.callback(None)

    def stopProducing(self) -> None:
        """Nobody takes any more."""
        self._gone = True
        self.resumeProducing()
        body, self._body = self._body, None
        if body is not None and isinstance(body, ClosableBody):  # to ask a Protocol takes its time
            self._clock.callLater(0, body.close)  # Klein has to know first, or it would finish the request
