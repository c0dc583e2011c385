"""The HTTP server in front of the resource: what a client may use up before anybody looks at its request."""

from functools import partial
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

IDLE: Final = 60.0  # seconds of silence after which a connection is closed, between requests or within one


class RestSite(Site):
    """Serves ``resource``; keeps no more than ``body_limit`` bytes (and one) of a body, whatever is sent."""

    displayTracebacks = False  # noqa: N815 - Twisted's name

    def __init__(self, resource: IResource, *, body_limit: int, reactor: IReactorTime, idle: float = IDLE) -> None:
        request_factory = partial(_Bounded, body_limit)
        super().__init__(
            resource, requestFactory=request_factory, timeout=idle, reactor=reactor, parsePOSTFormSubmission=False
        )


class _Bounded(Request):
    """A request whose body is dropped from where it is too long: the rest is read, so that the refusal arrives."""

    def __init__(self, body_limit: int, channel: HTTPChannel, queued: object) -> None:
        super().__init__(channel, queued)
        self._room = body_limit + 1

    def gotLength(self, length: int | None) -> None:  # noqa: N802
        super().gotLength(None if length is None else min(length, self._room))

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802
        kept = data[: self._room]
        self._room -= len(kept)
        super().handleContentChunk(kept)
