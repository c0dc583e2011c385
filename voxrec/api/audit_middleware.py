"""Recording of every changing request in the audit log."""

from dataclasses import replace
from functools import partial

from voxrec.api.audit_entries import begun_entry, done_entry, failed_entry, store_outcome
from voxrec.clock import UtcNow
from voxrec.errors import StoreUnavailable
from voxrec.model import AuditEntry
from voxrec.store.audit import Audit
from voxrec.web.methods import SAFE_METHODS
from voxrec.web.request import Request
from voxrec.web.response import Response
from voxrec.web.route import RequestHandler, Route


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
        await store_outcome(self._audit.end, done_entry(entry, request, response))
        return response

    async def _handle_in_transaction(self, route: Route, request: Request, entry: AuditEntry) -> Response:
        try:
            return await self._handler(route, replace(request, make_audit_entry=partial(done_entry, entry, request)))
        except StoreUnavailable:  # the entry could not be stored either, or was stored with the change
            raise
        except Exception as error:
            await store_outcome(self._audit.begin, failed_entry(entry, error))
            raise
