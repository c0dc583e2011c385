"""GET /audit: the audit log."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from voxrec.model import AuditEntry
from voxrec.store.audit import Audit, AuditFilter
from voxrec.web.auth import Role
from voxrec.web.pagination import LINK, PAGINATION, Paginator
from voxrec.web.parameters import text, timestamp, uuid
from voxrec.web.request import Request
from voxrec.web.response import Response
from voxrec.web.route import Route

_FILTERS: Final = {
    "since": timestamp.described_as("Only changes made at this time or later."),
    "until": timestamp.described_as("Only changes made before this time."),
    "who": text.described_as("Only changes made with the token of this name, or by this user."),
    "path": text.described_as("Only changes whose path begins with this text."),
    "targetId": uuid("Only changes of the object with this id, for example its deletion."),
}


class AuditRoutes:
    """The audit log: every change made through this API or by the `voxrec` command."""

    def __init__(self, audit: Audit, public_url: str) -> None:
        self._paginator = Paginator(audit, msgspec.json.encode, public_url)

    def routes(self) -> tuple[Route, ...]:
        """Return the route."""
        return (
            Route(
                *("GET", "/audit", Role.ADMIN, self._list),
                response_model=list[AuditEntry],
                query=_FILTERS | PAGINATION,
                response_headers=LINK,
                summary="List the audit log",
            ),
        )

    async def _list(self, request: Request) -> Response:
        return await self._paginator.respond(request, _audit_filter(request.query))


def _audit_filter(query: Mapping[str, Any]) -> AuditFilter:
    return AuditFilter(
        since=query.get("since"),
        until=query.get("until"),
        who=query.get("who"),
        path=query.get("path"),
        target_id=query.get("targetId"),
    )
