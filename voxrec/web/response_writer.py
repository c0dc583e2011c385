"""Sends a response over Twisted's request, with back-pressure for streamed bodies."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from http import HTTPStatus
from typing import Final, Protocol, runtime_checkable

from twisted.internet.defer import Deferred, TimeoutError  # noqa: A004
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.logger import Logger
from twisted.web.server import Request as HTTPRequest
from zope.interface import implementer

from voxrec.web.backlog import limit_backlog
from voxrec.web.response import BodyStream, Response

STALL_TIMEOUT: Final = 300.0  # seconds without progress after which the client is disconnected
LIVE_STALL_TIMEOUT: Final = 15.0
"""The same for a body that is live."""
_WITHOUT_BODY: Final = (204, 304)
_log = Logger()


@runtime_checkable
class ClosableBody(Protocol):
    """A streamed body whose next part may take long."""

    def close(self) -> None:
        """End the body now, because the client has disconnected."""


@implementer(IPushProducer)
class ResponseWriter:
    """Writes one response.

    The handler is not cancelled when the client disconnects, so the writer observes it. ``on_status`` is called with
    the status when the response begins.
    """

    def __init__(
        self, http_request: HTTPRequest, clock: IReactorTime, on_status: Callable[[int], None] = lambda _: None
    ) -> None:
        self._http_request = http_request
        self._clock = clock
        self._on_status = on_status
        self._disconnected = False
        self._resumed: Deferred[None] | None = None  # set while the transport's buffers are full
        self._stall_timeout = STALL_TIMEOUT
        self._streamed_body: object = None
        self._finished: Deferred[None] = Deferred()
        http_request.notifyFinish().addBoth(self._request_finished)

    def is_disconnected(self) -> bool:
        """Return whether the client has left, or has received the response. May be called in any thread."""
        return self._disconnected

    async def send(self, response: Response) -> None:
        """Send the response; do nothing if the client has disconnected.

        Raises the error of a streamed body if nothing was sent yet, so that another response can be sent. If it fails
        later, the connection is aborted: otherwise the client would take the body for complete.
        """
        if isinstance(response.body, bytes):
            self._send_complete(response, response.body)
            return
        try:
            await self._send_stream(response, response.body)
        finally:
            await response.body.aclose()

    def _send_complete(self, response: Response, body: bytes) -> None:
        self._begin(response)
        if response.status not in _WITHOUT_BODY:
            self._http_request.setHeader("Content-Length", str(len(body)))
            self._http_request.write(body)

    async def _send_stream(self, response: Response, body: BodyStream | AsyncGenerator[bytes, None]) -> None:
        if self._http_request.method == b"HEAD":
            self._begin(response)
            return
        parts = aiter(body)
        try:
            first = await anext(parts)  # anext(parts, b"") leaves a generator "already running" in Python 3.11
        except StopAsyncIteration:
            first = b""
        self._begin(response)
        if self._disconnected:
            return
        self._streamed_body = body
        if response.is_live:
            self._stall_timeout = LIVE_STALL_TIMEOUT
            limit_backlog(self._http_request.transport, LIVE_STALL_TIMEOUT)
        self._http_request.registerProducer(self, True)
        try:
            await self._write_parts(first, parts)
        except TimeoutError:
            seconds = self._stall_timeout
            _log.info("A client received nothing for {seconds:g} s; closing its connection", seconds=seconds)
            await self._abort()
        except Exception:
            _log.failure("A streamed response body failed; aborting its connection")
            await self._abort()
        finally:
            if not self._disconnected:
                self._http_request.unregisterProducer()

    async def _write_parts(self, first: bytes, rest: AsyncIterator[bytes]) -> None:
        self._http_request.write(first)
        await self._wait_until_resumed()
        async for part in rest:
            if self._disconnected:
                return
            self._http_request.write(part)
            await self._wait_until_resumed()

    def _begin(self, response: Response) -> None:
        self._on_status(response.status)
        self._http_request.setResponseCode(response.status, HTTPStatus(response.status).phrase.encode())
        for name, value in response.headers.items():
            self._http_request.setHeader(name, value)

    async def _wait_until_resumed(self) -> None:
        if self._resumed is not None:
            await self._resumed.addTimeout(self._stall_timeout, self._clock)

    async def _abort(self) -> None:
        if not self._disconnected:
            self._http_request.transport.abortConnection()  # type: ignore[union-attr] # TCP or TLS
            await self._finished  # Klein finishes the request after this, which must not end the body properly

    def _request_finished(self, _result: object) -> None:
        """End the body, because the client has disconnected, or the response is complete."""
        self._disconnected = True
        self.resumeProducing()
        body, self._streamed_body = self._streamed_body, None
        # isinstance() of a Protocol is slow, so it is not used for complete bodies
        if body is not None and isinstance(body, ClosableBody):
            body.close()
        self._finished.callback(None)

    # IPushProducer

    def pauseProducing(self) -> None:  # noqa: N802
        """Stop writing: the transport's buffers are full."""
        if self._resumed is None:
            self._resumed = Deferred()

    def resumeProducing(self) -> None:  # noqa: N802
        """Go on writing."""
        resumed, self._resumed = self._resumed, None
        if resumed is not None:
            resumed.callback(None)

    def stopProducing(self) -> None:
        """Do nothing: the connection is lost, of which the request is notified next.

        If the body ended here, Klein would finish a request that it does not know to be lost yet, and Twisted would log
        that this producer is still registered.
        """
