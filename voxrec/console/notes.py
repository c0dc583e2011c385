"""Tags and notes on the page of a Recording."""

from collections.abc import Mapping
from typing import Any, Final

from voxrec.console.forms import parse_number
from voxrec.console.visit import Visit, form, to_recording
from voxrec.web.auth import Role
from voxrec.web.response import Response

FIELDS: Final = ("text", "position")
_LIMIT: Final = 200  # notes on the page


async def note_values(visit: Visit, path: str) -> dict[str, Any]:
    """Return what the template needs of the notes about the Recording at ``path`` of the REST API."""
    page = await visit.rest.page(f"{path}/notes", limit=_LIMIT)
    return {
        "notes": page.items,
        "more_notes": bool(page.next_cursor),
        "may_note": visit.may(Role.SUPERVISE),
        "may_change_note": lambda note: visit.may(Role.PROVISION) or _is_own(visit, note),
    }


def _is_own(visit: Visit, note: Mapping[str, Any]) -> bool:
    return visit.may(Role.SUPERVISE) and note["userId"] == str(visit.user.user_id)


def split_tags(text: str) -> list[str]:
    """Return the tags that a user has typed, separated by commas, with or without spaces; each of them once."""
    return list(dict.fromkeys(tag for part in text.split(",") if (tag := part.strip())))


async def change_tags(visit: Visit) -> Response:
    """Replace the tags of a Recording."""
    tags = split_tags(form(visit.request).get("tags", ""))
    await visit.rest.send("POST", f"/recordings/{visit.request.id}", {"tags": tags})
    return to_recording(visit, "tags_saved")


async def add_note(visit: Visit) -> Response:
    """Create a note."""
    await visit.rest.send("POST", f"/recordings/{visit.request.id}/notes", _note(visit))
    return to_recording(visit, "note_added", "#notes")


async def change_note(visit: Visit) -> Response:
    """Change a note."""
    await visit.rest.send("POST", _note_path(visit), _note(visit))
    return to_recording(visit, "note_changed", "#notes")


async def delete_note(visit: Visit) -> Response:
    """Delete a note."""
    await visit.rest.send("DELETE", _note_path(visit))
    return to_recording(visit, "note_deleted", "#notes")


def _note(visit: Visit) -> dict[str, object]:
    fields = form(visit.request)
    position = fields.get("position", "").strip()
    # Browsers send line ends as CR LF.
    return {"text": fields.get("text", "").replace("\r\n", "\n").strip(), "position": parse_number(position)}


def _note_path(visit: Visit) -> str:
    return f"/recordings/{visit.request.id}/notes/{visit.request.ids['noteId']}"
