"""/console/audit: the audit log, for administrators."""

from collections.abc import Mapping
from typing import Any, Final

from voxrec.console.days import start_of_day, zone_of
from voxrec.console.forms import FormState, rejected
from voxrec.console.rest_client import Page, RestFailed
from voxrec.console.visit import Visit, query
from voxrec.web.response import Response

AUDIT: Final = "/console/audit"
_PAGE_SIZE: Final = 50
_FILTERS: Final = ("who", "path", "targetId", "first", "last")
_DAYS: Final = {"since": "first", "until": "last"}  # parameters of REST, and the fields from which they follow
_PAGES: Final = {
    "recording": "recordings",
    "profile": "profiles",
    "user": "users",
    "webhook": "webhooks",
    "recipient-certificate": "certificates",
}
"""The pages of objects, by kind."""


async def show_audit(visit: Visit) -> Response:
    """Show the newest entries that match the filter in the query."""
    given = query(visit.request)
    filters = {**{name: given.get(name, "").strip() for name in _FILTERS}, "zone": zone_of(given)}
    state, status = FormState(filters), 200
    try:
        page = await visit.rest.page(
            "/audit",
            limit=_PAGE_SIZE,
            cursor=given.get("cursor"),
            since=start_of_day(filters["first"], filters["zone"]),
            until=start_of_day(filters["last"], filters["zone"], days=1),
            **{name: filters[name] for name in ("who", "path", "targetId")},
        )
    except RestFailed as failed:
        state, status = rejected(visit, failed, filters, _FILTERS, _DAYS), failed.problem.status
        page = Page([], "")
    return visit.page(
        "audit.html",
        "audit",
        status,
        entries=page.items,
        page_of=_page_of,
        form=state,
        filtered=any(filters[name] for name in _FILTERS),
        next_url=page.next_url(AUDIT, filters),
    )


def _page_of(entry: Mapping[str, Any]) -> str:
    """Return the path of the page of the object that was changed; empty if there is none, or it was deleted."""
    kind, _, part = entry["kind"].partition(" ")
    target, path = entry["targetId"], entry["path"]
    if target is None or kind not in _PAGES or (part and f"/{target}/" not in path):
        return ""
    is_deleted = entry["method"] == "DELETE" and path.endswith(target)
    return "" if is_deleted else f"/console/{_PAGES[kind]}/{target}"
