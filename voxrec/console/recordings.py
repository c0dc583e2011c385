"""/console/recordings: the list of Recordings, and the page of one."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

from voxrec.audio.formats import PLAYABLE, PLAYER_FORMAT
from voxrec.console.days import start_of_day
from voxrec.console.notes import note_values, split_tags
from voxrec.console.rest_client import RestFailed
from voxrec.console.visit import START, Visit, form, profile_label, query, redirect
from voxrec.model import RecordingState
from voxrec.sanitize import sanitize_line
from voxrec.web.auth import Role
from voxrec.web.response import Response

_PAGE_SIZE: Final = 50
_FILTERS: Final = ("from", "to", "tag", "state", "profile", "first", "last")
_MAX_PARTY: Final = 60  # characters, in the title


async def show_recordings(visit: Visit) -> Response:
    """Show the newest Recordings that match the filter in the query."""
    given = query(visit.request)
    filters = {name: given.get(name, "").strip() for name in (*_FILTERS, "offset")}
    path = f"/profiles/{quote(filters['profile'], safe='')}/recordings" if filters["profile"] else "/recordings"
    page = await visit.rest.page(
        path,
        limit=_PAGE_SIZE,
        cursor=given.get("cursor"),
        state=filters["state"],
        tag=",".join(split_tags(filters["tag"])),
        since=start_of_day(filters["first"], filters["offset"]),
        until=start_of_day(filters["last"], filters["offset"], days=1),
        **{name: filters[name] for name in ("from", "to")},
    )
    return visit.page(
        "recordings.html",
        "recordings",
        recordings=page.items,
        filters=filters,
        filtered=any(filters[name] for name in _FILTERS),
        states=[*RecordingState],
        profiles=await visit.profile_names(),
        next_url=page.next_url(START, filters),
    )


async def show_recording(visit: Visit) -> Response:
    """Show one Recording: the player, the facts, tags, notes, the timeline and the deliveries."""
    path = f"/recordings/{visit.request.id}"
    recording = await visit.rest.get(path)
    text = visit.language.text
    verdict = recording["verdict"]
    return visit.page(
        "recording.html",
        "recordings",
        recording=recording,
        title=text("title_parties", caller=_caller(visit, recording), called=_party(visit, recording["to"])),
        reasons="; ".join(map(visit.language.reason, verdict["reasons"])) if verdict else "",
        playable=recording["audioUrl"] is not None,
        conversion="" if recording["format"] in PLAYABLE else f"?format={PLAYER_FORMAT}",
        facts=await _facts(visit, recording),
        deliveries=await visit.rest.get(f"{path}/deliveries"),
        may_change=visit.may(Role.PROVISION),
        **await note_values(visit, path),
    )


async def _facts(visit: Visit, recording: Mapping[str, Any]) -> list[tuple[str, object]]:
    language = visit.language
    time_element = visit.renderer.time_element(language)
    verdict = recording["verdict"]
    checked = "verdict_none" if verdict is None else "verdict_ok" if verdict["ok"] else "problem"
    return [
        ("from", _caller(visit, recording)),
        ("to", _party(visit, recording["to"])),
        ("remote", recording["remoteSipUri"] or language.text("none")),
        ("profile", await _profile_name(visit, recording["profileId"])),
        ("started", time_element(recording["startedAt"] or recording["createdAt"])),
        ("duration", language.duration(recording["duration"])),
        ("state", language.text(f"state_{recording['state']}")),
        ("verdict", language.text(checked)),
        ("expires", time_element(recording["expiresAt"]) if recording["expiresAt"] else language.text("never")),
        ("node", recording["node"] or language.text("none")),
        ("id", recording["id"]),
    ]


async def _profile_name(visit: Visit, profile_id: str) -> str:
    try:
        return profile_label(await visit.rest.get(f"/profiles/{profile_id}"))
    except RestFailed as failed:
        if failed.problem.status != 404:  # it was deleted; its Recordings are kept
            raise
        return profile_id


def _caller(visit: Visit, recording: Mapping[str, Any]) -> str:
    name, number = recording["fromName"] or "", recording["from"] or ""
    both = f"{name} ({number})" if name and number and name != number else name or number
    return sanitize_line(both or visit.language.text("withheld"), _MAX_PARTY)


def _party(visit: Visit, number: str | None) -> str:
    return sanitize_line(number or visit.language.text("unknown"), _MAX_PARTY)


async def change_hold(visit: Visit) -> Response:
    """Set or release the legal hold."""
    hold = form(visit.request).get("hold") == "true"
    await visit.rest.send("POST", f"/recordings/{visit.request.id}", {"legalHold": hold})
    return redirect(f"{START}/{visit.request.id}")


async def delete_recording(visit: Visit) -> Response:
    """Delete a Recording."""
    reason = form(visit.request).get("reason", "").strip()
    parameters = f"?{urlencode({'reason': reason})}" if reason else ""
    await visit.rest.send("DELETE", f"/recordings/{visit.request.id}{parameters}")
    return redirect(START)
