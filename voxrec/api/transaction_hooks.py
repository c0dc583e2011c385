"""The audit entry and the idempotency record of a request, which a repository stores together with its change."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from voxrec.idempotency import IdempotencyKey, IdempotencyRecord
from voxrec.store.transaction_hook import TransactionHook
from voxrec.web.request import Request
from voxrec.web.response import Response

T = TypeVar("T")


def transaction_hook(request: Request, respond: Callable[[T], Response]) -> TransactionHook[T]:
    """Return the hook of a change that ``request`` asks for; ``respond`` returns the response for the stored T."""
    key, make_audit_entry = request.idempotency_key, request.make_audit_entry

    def record(used_key: IdempotencyKey, stored: T) -> tuple[IdempotencyKey, IdempotencyRecord]:
        response = respond(stored)
        body = response.body if isinstance(response.body, bytes) else None
        return used_key, IdempotencyRecord(used_key.fingerprint, response.status, response.headers, body)

    return TransactionHook(
        audit_entry=None if make_audit_entry is None else lambda stored: make_audit_entry(respond(stored)),
        idempotency=None if key is None else partial(record, key),
    )
