"""Idempotency-Key: a creation that is asked for again is answered as the first time, and done once.

After draft-ietf-httpapi-idempotency-key-header. The answer is stored in the transaction that creates (see
``voxrec.store.idempotency``), so that there is no moment at which a crash leaves the one without the other. What was
refused changed nothing and leaves the key free.
"""

import re
from collections.abc import AsyncGenerator
from dataclasses import replace
from hashlib import sha256
from typing import Final, Protocol

from voxrec.errors import Conflict, InvalidInput
from voxrec.idempotency import AlreadyProcessed, IdempotencyKey, IdempotencyRecord, RequestInProgress
from voxrec.web.errors import BadRequest
from voxrec.web.request import Request
from voxrec.web.response import BodyStream, Response
from voxrec.web.route import RequestHandler, Route

# the draft writes a string in quotation marks (RFC 9651 section 3.3.3); nearly all clients leave them out
_KEY: Final = re.compile(r'"([\x20\x21\x23-\x5b\x5d-\x7e]{1,255})"|([!-~]{1,255})')


class KeyReused(InvalidInput):
    """The Idempotency-Key came before with another request."""

    code = "idempotency-key-reused"


class IdempotencyRecords(Protocol):
    """The stored outcomes of requests, such as `voxrec.store.idempotency.Idempotency`."""

    async def find(self, key: IdempotencyKey, /) -> IdempotencyRecord | None:
        """Return the outcome stored for a key, or None if the key is unused or its outcome has expired."""


class IdempotencyMiddleware:
    """Lets a route that is to be done ``once`` answer through ``handled``, or gives the first answer again."""

    def __init__(self, records: IdempotencyRecords, handler: RequestHandler) -> None:
        self._records = records
        self._handler = handler
        self._under_way: set[tuple[str, str]] = set()

    async def handle(self, route: Route, request: Request) -> Response:
        """Answer one request."""
        header = request.headers.get("idempotency-key")
        if header is None or not route.idempotent:
            return await self._handler(route, request)
        claim = _claim(request, header)
        place = (claim.scope, claim.key)
        if place in self._under_way:
            raise RequestInProgress("The first request with this Idempotency-Key is still being worked on.")
        self._under_way.add(place)
        try:
            return await self._first_or_again(route, request, claim)
        finally:
            self._under_way.discard(place)

    async def _first_or_again(self, route: Route, request: Request, claim: IdempotencyKey) -> Response:
        first = await self._records.find(claim)
        if first is None:
            try:
                return await self._handler(route, replace(request, idempotency_key=claim))
            except (AlreadyProcessed, Conflict):
                # by another daemon, meanwhile: what collides may be what it made
                first = await self._records.find(claim)
                if first is None:
                    raise
        if first.fingerprint != claim.fingerprint:
            raise KeyReused("This Idempotency-Key came with another body before. A new request needs a new key.")
        return Response(first.status, first.headers, await self._body(route, request, first))

    async def _body(
        self, route: Route, request: Request, first: IdempotencyRecord
    ) -> bytes | BodyStream | AsyncGenerator[bytes, None]:
        if first.body is not None:
            return first.body
        assert route.replay is not None, "a route whose answer is a list says how to read it again"
        return (await route.replay(request)).body


def _claim(request: Request, header: str) -> IdempotencyKey:
    match = _KEY.fullmatch(header.strip())
    if match is None:
        raise BadRequest("Idempotency-Key must be one string of 1 to 255 visible characters, such as a UUID.")
    who = request.principal.token_id or request.principal.name
    fingerprint = sha256(request.raw_query + b"\n" + request.raw_body).hexdigest()
    return IdempotencyKey(f"{who} {request.method} {request.path}", match[1] or match[2], fingerprint)
