"""Idempotency-Key (draft-ietf-httpapi-idempotency-key-header): a repeated request gets the response to the first one.

The handler stores its response in the transaction of the change, so that a crash leaves either both or neither. A
request that failed changed nothing, and its key can be used again.
"""

import re
from collections.abc import AsyncGenerator
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Final, Protocol

from voxrec.errors import Conflict, InvalidInput
from voxrec.idempotency import AlreadyProcessed, IdempotencyKey, IdempotencyRecord, RequestInProgress
from voxrec.threads import DeferToThread
from voxrec.web.errors import BadRequest
from voxrec.web.request import Request
from voxrec.web.response import BodyStream, Response
from voxrec.web.route import RequestHandler, Route

# the draft requires a quoted string (RFC 9651 section 3.3.3), but most clients send the key without quotation marks
_HEADER: Final = re.compile(r'"([\x20\x21\x23-\x5b\x5d-\x7e]{1,255})"|([!-~]{1,255})')


class KeyReused(InvalidInput):
    """The Idempotency-Key was used for a different request before."""

    code = "idempotency-key-reused"


class CreationDeleted(Conflict):
    """The resource that a request with this Idempotency-Key created or changed was deleted since."""

    code = "deleted-since"


class IdempotencyRecords(Protocol):
    """The stored responses, such as `voxrec.store.idempotency.Idempotency`."""

    async def find(self, key: IdempotencyKey, /) -> IdempotencyRecord | None:
        """Return the record of a key, or None if the key is unused or its record has expired."""


class IdempotencyMiddleware:
    """Passes the first request with a key to ``handler``, and repeats the stored response to others."""

    def __init__(self, records: IdempotencyRecords, handler: RequestHandler, defer_to_thread: DeferToThread) -> None:
        self._records = records
        self._handler = handler
        self._defer_to_thread = defer_to_thread
        self._in_progress: set[tuple[str, str]] = set()

    async def handle(self, route: Route, request: Request) -> Response:
        """Return the response.

        Raises BadRequest if the key is invalid, KeyReused if it belongs to a different request, RequestInProgress while
        the first request is being processed, CreationDeleted if what it created was deleted, and what the handler
        raises.
        """
        header = request.headers.get("idempotency-key")
        if header is None or not route.idempotent:
            return await self._handler(route, request)
        body = request.raw_body
        if request.upload is not None:
            body = await self._defer_to_thread(_digest_of_file, request.upload.path)
        key = _parse_key(request, header, body)
        scoped_key = (key.scope, key.key)
        if scoped_key in self._in_progress:
            raise RequestInProgress("The first request with this Idempotency-Key is still being processed.")
        self._in_progress.add(scoped_key)
        try:
            return await self._process_or_replay(route, request, key)
        finally:
            self._in_progress.discard(scoped_key)

    async def _process_or_replay(self, route: Route, request: Request, key: IdempotencyKey) -> Response:
        record = await self._records.find(key)
        if record is None:
            try:
                request.idempotency_key = key
                return await self._handler(route, request)
            except (AlreadyProcessed, Conflict):
                # Another daemon may have processed the request since; a conflict may be with what it created.
                record = await self._records.find(key)
                if record is None:
                    raise
        if record.erased:
            raise CreationDeleted(
                "What the first request with this Idempotency-Key created or changed was deleted since."
            )
        if record.fingerprint != key.fingerprint:
            raise KeyReused("This Idempotency-Key was used for a different request. Use a new key for a new request.")
        return Response(record.status, record.headers, await self._replayed_body(route, request, record))

    async def _replayed_body(
        self, route: Route, request: Request, record: IdempotencyRecord
    ) -> bytes | BodyStream | AsyncGenerator[bytes, None]:
        if record.body is not None:
            return record.body
        assert route.replay is not None, "an idempotent route with a streamed response must declare replay"
        return (await route.replay(request)).body


def _parse_key(request: Request, header: str, body: bytes) -> IdempotencyKey:
    match = _HEADER.fullmatch(header.strip())
    if match is None:
        raise BadRequest("Idempotency-Key must have 1 to 255 visible ASCII characters, for example a UUID.")
    fingerprint = sha256(request.raw_query + b"\n" + body).hexdigest()
    return IdempotencyKey(f"{request.principal.key} {request.method} {request.path}", match[1] or match[2], fingerprint)


def _digest_of_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return file_digest(file, "sha256").digest()
