"""/console/recordings/<id>: the page of one Recording."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from voxrec.audio.formats import PLAYABLE, PLAYER_FORMAT
from voxrec.console.notes import note_values
from voxrec.console.recording_query import neighbor_urls
from voxrec.console.rest_client import RestFailed
from voxrec.console.visit import START, Visit, form, profile_label, redirect
from voxrec.sanitize import sanitize_line
from voxrec.web.auth import Role
from voxrec.web.response import Response

_MAX_PARTY: Final = 60  # characters, in the title


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
        neighbors=await neighbor_urls(visit),
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
