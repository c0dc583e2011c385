"""/console/bulk-actions: the preview of an action for many Recordings, its confirmation, progress and results."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

from voxrec.console.forms import form_lists
from voxrec.console.recording_query import ListQuery
from voxrec.console.rest_client import RestFailed
from voxrec.console.visit import START, Visit, form, query, redirect, redirect_after
from voxrec.model import BulkActionKind, BulkActionState, BulkItemState, SkipReason
from voxrec.web.auth import Role
from voxrec.web.response import Response

BULK_ACTIONS: Final = "/console/bulk-actions"
PROGRESS: Final = f"{BULK_ACTIONS}/<id>/progress"
"""The page that the browser loads again by itself while an action is in progress, which is no use of the session."""
_PAGE_SIZE: Final = 50
_SKIP_REASONS: Final = frozenset(SkipReason)
_UNFINISHED: Final = (BulkActionState.PENDING, BulkActionState.RUNNING)


async def preview(visit: Visit) -> Response:
    """Create the preview of an action for the chosen Recordings, or for all that match the filter."""
    fields, lists = form(visit.request), form_lists(visit.request)
    document: dict[str, Any] = {"action": fields.get("action", ""), "reason": fields.get("reason", "").strip() or None}
    if fields.get("scope") == "all":
        document |= ListQuery.of_fields(fields).document()
    elif not lists.get("recording"):
        return _nothing_selected(visit, ListQuery.of_fields(fields).url())
    else:
        document["recordingIds"] = lists["recording"]
    action = await visit.rest.result("POST", "/bulk-actions", document)
    return redirect(f"{BULK_ACTIONS}/{action['id']}")


def _nothing_selected(visit: Visit, list_url: str) -> Response:
    text = visit.language.text
    values = {"title": text("bulk_none_selected"), "detail": text("bulk_none_selected_help"), "errors": ()}
    return visit.page("error.html", "recordings", status=HTTPStatus.UNPROCESSABLE_ENTITY, back=list_url, **values)


async def show(visit: Visit) -> Response:
    """Show a preview, or the progress and the results."""
    path = f"/bulk-actions/{visit.request.id}"
    action = await visit.rest.get(path)
    is_own = action["userId"] == str(visit.user.user_id)
    given = query(visit.request)
    state, own_url = given.get("state", ""), f"{BULK_ACTIONS}/{visit.request.id}"
    shown = urlencode({name: given[name] for name in ("state", "cursor") if given.get(name)})
    page = await visit.rest.page(f"{path}/recordings", limit=_PAGE_SIZE, cursor=given.get("cursor"), state=state)
    return visit.page(
        "bulk_action.html",
        "recordings",
        action=action,
        remaining=action["total"] - action["done"] - action["skipped"] - action["failed"],
        items=page.items,
        skip_reason=lambda detail: visit.language.text(f"skip_{detail}") if detail in _SKIP_REASONS else detail,
        recordings=await _recordings(visit, [item["recordingId"] for item in page.items]),
        profiles=await visit.profile_names(),
        state=state,
        states=[*BulkItemState],
        unfinished=action["state"] in _UNFINISHED,
        export=await _export(visit, action["exportId"]),
        may_confirm=is_own and visit.may(BulkActionKind(action["action"]).role),
        may_cancel=is_own or visit.may(Role.PROVISION),
        next_url=page.next_url(own_url, {"state": state}),
        refresh_url=f"{own_url}/progress{f'?{shown}' if shown else ''}",
    )


async def _recordings(visit: Visit, ids: Sequence[str]) -> dict[str, Any]:
    """Return those of the Recordings that exist, by id."""
    if not ids:
        return {}
    page = await visit.rest.page("/recordings", limit=len(ids), id=",".join(ids))
    return {recording["id"]: recording for recording in page.items}


async def _export(visit: Visit, export_id: str | None) -> Any:
    if export_id is None:
        return None
    try:
        return await visit.rest.get(f"/exports/{export_id}")
    except RestFailed as failed:
        if failed.problem.status != 404:  # it was deleted
            raise
        return None


async def change(visit: Visit) -> Response:
    """Confirm a preview, or cancel a bulk action."""
    wanted = "canceled" if form(visit.request).get("cancel") else "pending"
    action = await visit.rest.result("POST", f"/bulk-actions/{visit.request.id}", {"state": wanted})
    if wanted == "canceled" and not action["confirmedAt"]:
        return redirect_after("bulk_action_canceled", START)
    return redirect(f"{BULK_ACTIONS}/{action['id']}")
