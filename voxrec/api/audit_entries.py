"""The audit entries of requests: at their beginning, and with their outcome."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

import msgspec
from twisted.logger import Logger

from voxrec.errors import VoxrecError
from voxrec.idempotency import AlreadyProcessed
from voxrec.model import AuditEntry, AuditOutcome
from voxrec.web.request import Request
from voxrec.web.response import Response

_log: Final = Logger()


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


def done_entry(entry: AuditEntry, request: Request, response: Response) -> AuditEntry:
    """Return the entry of a request that has succeeded."""
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
