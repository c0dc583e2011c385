"""/console/operations: calls, Recordings, jobs, nodes and dependencies at a glance, and what operators do with them."""

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from voxrec.console.days import start_of_day, today
from voxrec.console.rest_client import Page, RestFailed
from voxrec.console.visit import START, Visit, form, query, redirect_after
from voxrec.deferreds import gather
from voxrec.model import JobState, RecordingState
from voxrec.web.auth import Role
from voxrec.web.response import Response

OPERATIONS: Final = "/console/operations"
_MAX_CALLS: Final = 1000  # that are counted
_LISTED: Final = 20  # Recordings and jobs of each kind on the page
_ENDED: Final = f"{JobState.DEAD},{JobState.UNCONFIRMED}"
_NO_AUDIO: Final = f"{RecordingState.ABSENT},{RecordingState.FAILED}"


class OperationsPage:
    """The page. ``now`` returns the current time, from which the viewer's day follows."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now

    async def show(self, visit: Visit) -> Response:
        """Show the page."""
        rest, zone, given = visit.rest, visit.time_zone, query(visit.request)
        day = today(self._now(), zone)
        since, recording = start_of_day(day, zone), given.get("recording", "")
        readiness, counts, calls, without_audio, dead, waiting, nodes, profiles = await gather(
            rest.readiness(),
            rest.get("/recording-counts", since=since),
            rest.page("/calls", limit=_MAX_CALLS),
            rest.page("/recordings", state=_NO_AUDIO, since=since, limit=_LISTED),
            rest.page("/jobs", state=_ENDED, limit=_LISTED, cursor=given.get("dead"), recordingId=recording),
            rest.page(
                "/jobs", state="pending,running", limit=_LISTED, cursor=given.get("queue"), recordingId=recording
            ),
            _nodes(visit),
            visit.profile_names(),
        )
        return visit.page(
            "operations.html",
            "operations",
            dependencies=_dependencies(visit, readiness),
            recordings=_recording_counts(visit, counts, day),
            calls=_call_counts(calls),
            calls_complete=not calls.next_cursor,
            without_audio=without_audio,
            dead=dead,
            waiting=waiting,
            recording_id=recording,
            nodes=nodes,
            profiles=profiles,
            may_restart=visit.may(Role.PROVISION),
            may_drain=visit.may(Role.ADMIN),
        )


async def _nodes(visit: Visit) -> list[dict[str, Any]] | None:
    """Return the nodes, or None for a user who may not see them because of a limit to some Profiles."""
    try:
        nodes: list[dict[str, Any]] = await visit.rest.get("/nodes")
    except RestFailed as failed:
        if failed.problem.status != 403:
            raise
        return None
    return nodes


def _dependencies(visit: Visit, readiness: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    """Return the name of each dependency, and the reason if it is not ready."""
    names = visit.language.texts["dependencies"]
    return [
        (names.get(name, name), None if state["ready"] else state.get("detail", ""))
        for name, state in readiness["dependencies"].items()
    ]


def _recording_counts(visit: Visit, counts: Mapping[str, Any], day: str) -> list[tuple[RecordingState, int, str]]:
    """Return each state with the number of its Recordings of the day, and the address of their list."""
    of_day = {"first": day, "last": day, "zone": visit.time_zone}
    return [
        (state, counts[state], f"{START}?{urlencode({'state': state.value, **of_day})}") for state in RecordingState
    ]


def _call_counts(calls: Page) -> list[tuple[str, int]]:
    return Counter(call["state"] for call in calls.items).most_common()


async def change_job(visit: Visit) -> Response:
    """Attempt a job now, confirm its mails, or delete one that is dead."""
    path, action = f"/jobs/{visit.request.id}", form(visit.request).get("action")
    if action == "delete":
        await visit.rest.send("DELETE", path)
        return redirect_after("job_deleted", f"{OPERATIONS}#jobs")
    if action == "confirm":
        await visit.rest.send("POST", path, {"state": "done"})
        return redirect_after("job_confirmed", f"{OPERATIONS}#jobs")
    await visit.rest.send("POST", path, {"state": "pending"})
    return redirect_after("job_restarted", f"{OPERATIONS}#queue")


async def change_node(visit: Visit) -> Response:
    """Let a node refuse new calls, or accept them again."""
    draining = form(visit.request).get("draining") == "true"
    await visit.rest.send("POST", f"/nodes/{visit.request.name}", {"draining": draining})
    return redirect_after("node_draining" if draining else "node_accepting", f"{OPERATIONS}#nodes")
