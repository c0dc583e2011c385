"""/audit: who changed what; and the keeping of it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec
from twisted.logger import Logger

from voxrec.api.clock import UtcNow
from voxrec.errors import StoreUnavailable, VoxrecError
from voxrec.idempotency import AlreadyProcessed
from voxrec.model import AuditEntry, AuditOutcome
from voxrec.store.audit import Audit, AuditFilter
from voxrec.web.auth import Role
from voxrec.web.pagination import LINK, PAGINATION, Paginator
from voxrec.web.parameters import text, timestamp
from voxrec.web.request import Request
from voxrec.web.response import Response
from voxrec.web.route import RequestHandler, Route

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110 section 9.2.1
_FILTERS: Final = {"since": timestamp, "until": timestamp, "who": text, "path": text}


class AuditMiddleware:
    """Sees to it that whatever changes something leaves an entry.

    Where a route's change and its entry are ``whole``, one transaction does both, and what was refused gets its entry
    after that. Else the entry is begun before the handler and ended after it: where it cannot be begun nothing is
    changed, and the client gets 503; where it cannot be ended the change stands, so the client is told of that, the
    entry stays ``begun`` and what it lacks is in the log.
    """

    _log = Logger()

    def __init__(self, audit: Audit, now: UtcNow, handler: RequestHandler) -> None:
        self._audit = audit
        self._handler = handler
        self._now = now

    async def handle(self, route: Route, request: Request) -> Response:
        """The handler's answer; what only reads leaves no entry."""
        if route.method in SAFE:
            return await self._handler(route, request)
        entry = AuditEntry(
            id=uuid4(),
            created_at=self._now(),
            who=request.principal.name,
            token_id=request.principal.token_id,
            address=request.address,
            method=request.method,
            path=request.path,
            kind=_kind(route.path),
            target_id=request.ids.get("id"),
        )
        if route.audit_in_transaction:
            return await self._as_one(route, request, entry)
        await self._audit.begin(entry)
        try:
            answer = await self._handler(route, request)
        except Exception as error:
            await self._told(self._audit.end, _refused(entry, error))
            raise
        await self._told(self._audit.end, _done(entry, request, answer))
        return answer

    async def _as_one(self, route: Route, request: Request, entry: AuditEntry) -> Response:
        try:
            return await self._handler(route, replace(request, make_audit_entry=partial(_done, entry, request)))
        except StoreUnavailable:  # who did not take the change takes no entry either; if it was done, so was its entry
            raise
        except Exception as error:
            await self._told(self._audit.begin, _refused(entry, error))
            raise

    async def _told(self, write: Callable[[AuditEntry], Awaitable[None]], entry: AuditEntry) -> None:
        try:
            await write(entry)
        except Exception:
            self._log.failure(
                "the end of an audit entry could not be written: {entry}", entry=msgspec.json.encode(entry).decode()
            )


class AuditRoutes:
    """The route of the entries, which nothing changes."""

    def __init__(self, audit: Audit, public_url: str) -> None:
        self._listing = Paginator(audit, msgspec.json.encode, public_url)

    def routes(self) -> tuple[Route, ...]:
        """The route table."""
        return (
            Route(
                *("GET", "/audit", Role.ADMIN, self._list),
                response_model=list[AuditEntry],
                query=_FILTERS | PAGINATION,
                response_headers=LINK,
            ),
        )

    async def _list(self, request: Request) -> Response:
        return await self._listing.respond(request, _filter(request.query))


def _done(entry: AuditEntry, request: Request, answer: Response) -> AuditEntry:
    return msgspec.structs.replace(
        entry,
        target_id=entry.target_id or _created(answer),
        outcome=AuditOutcome.DONE,
        status=answer.status,
        fields=request.audit_details.fields,
    )


def _refused(entry: AuditEntry, error: Exception) -> AuditEntry:
    if isinstance(error, AlreadyProcessed):  # the first request's entry tells of it
        return msgspec.structs.replace(entry, outcome=AuditOutcome.REFUSED)
    status = error.status if isinstance(error, VoxrecError) else VoxrecError.status
    outcome = AuditOutcome.REFUSED if status < 500 else AuditOutcome.FAILED
    return msgspec.structs.replace(entry, outcome=outcome, status=status)


def _filter(query: Mapping[str, Any]) -> AuditFilter:
    return AuditFilter(since=query.get("since"), until=query.get("until"), who=query.get("who"), path=query.get("path"))


def _kind(path: str) -> str:
    """What a route is about: the collection that its path ends in, or that its last id is of."""
    collections = [segment for segment in path.split("/") if segment and not segment.startswith("<")]
    if path.count("<id>") and not path.endswith("<id>"):
        return " ".join([collections[-2].removesuffix("s"), collections[-1]])  # a recording's audio, say
    return collections[-1].removesuffix("s")


def _created(answer: Response) -> UUID | None:
    """The id of what came to be: a creation always says where that is."""
    try:
        return UUID(answer.headers.get("Location", "").rpartition("/")[2])
    except ValueError:
        return None
