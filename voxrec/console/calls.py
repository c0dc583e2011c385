"""/console/calls: the live calls, and what a supervisor does with them."""

from collections.abc import Mapping
from typing import Any, Final

from voxrec.console.rest_client import RestFailed
from voxrec.console.visit import Visit, redirect_after
from voxrec.errors import NotFound
from voxrec.model import EventType, ListeningEventType
from voxrec.web.auth import Role
from voxrec.web.response import Response

CALLS: Final = "/console/calls"
_LIMIT: Final = 200  # calls on the page
_EVENTS: Final = [
    *(event for event in EventType if not event.endswith(("pending", "deleted"))),
    *ListeningEventType,
]


async def show_calls(visit: Visit) -> Response:
    """Show the live calls; a script keeps them up to date."""
    return visit.page("calls.html", "calls", events=_EVENTS, **await _values(visit))


async def show_table(visit: Visit) -> Response:
    """Return the table of the page alone."""
    return visit.page("calls_table.html", **await _values(visit))


async def _values(visit: Visit) -> dict[str, Any]:
    return {
        "calls": (await visit.rest.page("/calls", limit=_LIMIT)).items,
        "profiles": await visit.profile_names(),
        "may_control": visit.may(Role.SUPERVISE),
        "actions": _actions,
    }


def _actions(call: Mapping[str, Any]) -> list[str]:
    """Return what can be done with a call in its state."""
    if call["state"] in ("clearing", "over", "lost"):
        return []
    of_recording = {"recording": ["pause"], "paused": ["resume"], None: ["record"]}
    recording_actions = of_recording.get(call["recordingState"], [])
    return [*(recording_actions if call["answeredAt"] else []), "hang-up"]


async def confirm_hang_up(visit: Visit) -> Response:
    """Say which call would end, and ask; if it has ended, say so on the page of the calls."""
    try:
        call = await visit.rest.get(f"/calls/{visit.request.id}")
    except RestFailed as failed:
        return _unless_over(failed)
    return visit.page("hang_up.html", "calls", call=call, profiles=await visit.profile_names())


async def control_call(visit: Visit) -> Response:
    """Pause, resume or begin the recording of a call, or hang up; if it has ended, say so on the page of the calls."""
    try:
        return await _control(visit, f"/calls/{visit.request.id}", visit.request.name)
    except RestFailed as failed:
        return _unless_over(failed)


def _unless_over(failed: RestFailed) -> Response:
    """Return the page of the calls if a call has ended; raise another failure."""
    if failed.problem.status != NotFound.status:
        raise failed
    return redirect_after("call_over", CALLS)


async def _control(visit: Visit, path: str, action: str) -> Response:
    if action == "hang-up":
        await visit.rest.send("DELETE", path)
    elif action == "record":
        await visit.rest.send("POST", path, {"recording": True})
    elif action in ("pause", "resume"):
        recording_id = (await visit.rest.get(path))["recordingId"]
        state = {"pause": "paused", "resume": "recording"}[action]
        await visit.rest.send("POST", f"/recordings/{recording_id}", {"state": state})
    else:
        raise NotFound(f"There is no action {action!r}.")
    return redirect_after(f"call_{action}", CALLS)
