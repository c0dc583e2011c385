"""Recording of every changing request in the audit log."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from uuid import UUID, uuid4

import msgspec
from twisted.logger import Logger

from voxrec.api.clock import UtcNow
from voxrec.errors import StoreUnavailable, VoxrecError
from voxrec.idempotency import AlreadyProcessed
from voxrec.model import AuditEntry, AuditOutcome
from voxrec.store.audit import Audit
from voxrec.web.methods import SAFE_METHODS
from voxrec.web.request import Request
from voxrec.web.response import Response
from voxrec.web.route import RequestHandler, Route

_log = Logger()


class AuditMiddleware:
    """Stores an audit entry for every request with a method that is not safe.

    If the route has ``audit_in_transaction``, the change and its entry are stored in one transaction, and the entry of
    a refused request is stored afterwards. Otherwise the entry is stored before the handler is called, and its outcome
    afterwards. If the entry cannot be stored, nothing is changed and the client receives 503. If the outcome cannot be
    stored, the client receives the response of the handler, the entry stays ``begun``, and the outcome is logged.
    """

    def __init__(self, audit: Audit, now: UtcNow, handler: RequestHandler) -> None:
        self._audit = audit
        self._handler = handler
        self._now = now

    async def handle(self, route: Route, request: Request) -> Response:
        """Return the response of the handler. Raises what the handler raises, or StoreUnavailable."""
        if route.method in SAFE_METHODS or route.audited_by_handler:
            return await self._handler(route, request)
        entry = begun_entry(request, route.path, self._now(), secret_name=route.secret_name)
        if route.audit_in_transaction:
            return await self._handle_in_transaction(route, request, entry)
        await self._audit.begin(entry)
        try:
            response = await self._handler(route, request)
        except Exception as error:
            await store_outcome(self._audit.end, failed_entry(entry, error))
            raise
        await store_outcome(self._audit.end, _done_entry(entry, request, response))
        return response

    async def _handle_in_transaction(self, route: Route, request: Request, entry: AuditEntry) -> Response:
        try:
            return await self._handler(route, replace(request, make_audit_entry=partial(_done_entry, entry, request)))
        except StoreUnavailable:  # the entry could not be stored either, or was stored with the change
            raise
        except Exception as error:
            await store_outcome(self._audit.begin, failed_entry(entry, error))
            raise


async def store_outcome(store: Callable[[AuditEntry], Awaitable[None]], entry: AuditEntry) -> None:
    """Store an outcome by ``store``; if that fails, the log has it."""
    try:
        await store(entry)
    except Exception:
        _log.failure(
            "The outcome of an audited request could not be stored in the audit log: {entry}",
            entry=msgspec.json.encode(entry).decode(),
        )


def begun_entry(request: Request, route_path: str, at: datetime, *, secret_name: bool = False) -> AuditEntry:
    """Return the entry of a request that has begun."""
    return AuditEntry(
        id=uuid4(),
        created_at=at,
        who=request.principal.name,
        token_id=request.principal.token_id,
        user_id=request.principal.user_id,
        address=request.address,
        method=request.method,
        path=route_path if secret_name else request.path,
        kind=resource_kind(route_path),
        target_id=request.ids.get("id"),
    )


def resource_kind(path: str) -> str:
    """Return the kind of resource that a route is about, such as ``profile`` or ``recording audio``."""
    collections = [segment for segment in path.split("/") if segment and not segment.startswith("<")]
    if path.count("<id>") and not path.endswith("<id>"):
        return " ".join([collections[-2].removesuffix("s"), collections[-1]])
    return collections[-1].removesuffix("s")


def _done_entry(entry: AuditEntry, request: Request, response: Response) -> AuditEntry:
    return msgspec.structs.replace(
        entry,
        target_id=entry.target_id or _created_id(response),
        outcome=AuditOutcome.DONE,
        status=response.status,
        fields=request.audit_details.fields,
        reason=request.audit_details.reason,
    )


def failed_entry(entry: AuditEntry, error: Exception) -> AuditEntry:
    """Return the entry of a request that ``error`` has ended."""
    if isinstance(error, AlreadyProcessed):  # the entry of the first request has the details
        return msgspec.structs.replace(entry, outcome=AuditOutcome.REFUSED)
    status = error.status if isinstance(error, VoxrecError) else VoxrecError.status
    outcome = AuditOutcome.REFUSED if status < 500 else AuditOutcome.FAILED
    return msgspec.structs.replace(entry, outcome=outcome, status=status)


def _created_id(response: Response) -> UUID | None:
    """Return the id of a created resource, which is the last segment of Location."""
    try:
        return UUID(response.headers.get("Location", "").rpartition("/")[2])
    except ValueError:
        return None
