"""The expiring links to a Recording: creation, and revocation."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from voxrec.console.visit import Visit, form, to_recording
from voxrec.web.response import Response

FIELDS: Final = ("description", "days", "maxUses")
RENAMED: Final = {"expiresAt": "days"}
_WHOLE_NUMBER: Final = re.compile(r"[0-9]{1,9}")  # int refuses thousands of digits
_LIMIT: Final = 50  # links on the page
_MAX_DAYS: Final = 36_500  # of what datetime can represent; REST knows the maximum of the installation


async def link_values(visit: Visit, path: str) -> dict[str, Any]:
    """Return what the template needs of the links to the Recording at ``path`` of the REST API."""
    page = await visit.rest.page(f"{path}/links", limit=_LIMIT)
    return {"links": page.items, "more_links": bool(page.next_cursor)}


async def create_link(now: Callable[[], datetime], visit: Visit) -> Response:
    """Create a link; ``now`` returns the current time."""
    fields = {name: value for name, text in form(visit.request).items() if (value := text.strip())}
    document: dict[str, object] = {"description": fields.get("description")}
    if days := fields.get("days"):
        document["expiresAt"] = _expiry(days, now())
    if uses := fields.get("maxUses"):
        document["maxUses"] = int(uses) if _WHOLE_NUMBER.fullmatch(uses) else uses
    await visit.rest.send("POST", f"/recordings/{visit.request.id}/links", document)
    return to_recording(visit, "link_created", "#links")


def _expiry(days: str, now: datetime) -> str:
    """Return the time in some days; what is not a number of days as it is, for the REST API to refuse it."""
    if not _WHOLE_NUMBER.fullmatch(days) or int(days) > _MAX_DAYS:
        return days
    return (now + timedelta(days=int(days))).isoformat()


async def revoke_link(visit: Visit) -> Response:
    """Revoke a link."""
    await visit.rest.send("DELETE", f"/recordings/{visit.request.id}/links/{visit.request.ids['linkId']}")
    return to_recording(visit, "link_revoked", "#links")
