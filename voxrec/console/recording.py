"""/console/recordings/<id>: one Recording with its player, facts, deliveries, links and accesses."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final
from unicodedata import bidirectional
from urllib.parse import urlencode
from uuid import uuid4

import msgspec
from markupsafe import Markup

from voxrec.audio.formats import FORMATS, PLAYABLE, PLAYER_FORMAT
from voxrec.audio.positions import AudioPositions
from voxrec.console.deliveries import delivery_values
from voxrec.console.forms import FormState, rejected
from voxrec.console.links import link_values
from voxrec.console.notes import note_values
from voxrec.console.recording_query import ListQuery, neighbor_urls
from voxrec.console.rest_client import RestFailed
from voxrec.console.visit import START, Visit, form, profile_label, query, redirect_after, to_recording
from voxrec.languages import Language
from voxrec.model import EventType, RecordingState, TimelineEntry
from voxrec.sanitize import sanitize_line
from voxrec.web.auth import Role
from voxrec.web.response import Response

_MAX_PARTY: Final = 60  # characters, in the title
_ACCESSES: Final = 10  # on the page of a Recording
_ACCESSES_PER_PAGE: Final = 50
_LOSSLESS: Final = "flac"
"""The format for browsers that cannot play the encoding of a WAV file."""
_DOWNLOADS: Final = ("wav", "mp3")  # formats that are offered besides the stored one
_UNFINISHED: Final = frozenset(
    {RecordingState.PENDING, RecordingState.RECORDING, RecordingState.PAUSED, RecordingState.PROCESSING}
)
SCRIPT_TEXTS: Final = (
    *("play", "pause", "position_of", "pause_of", "paused_here", "converting", "not_playable", "audio_failed"),
    *(
        "waveform",
        "side_caller",
        "side_callee",
        "waveform_loading",
        "waveform_failed",
        "balance_left",
        "balance_right",
        "balance_middle",
    ),
    *("verify_ok", "verify_differs", "verify_failed", "cancelled"),
    *("state_changed", "recording_deleted", "live_lost", "decimal_separator"),
)
"""The keys of the texts that scripts show."""
_EVENT_TYPES: Final = ",".join(type_ for type_ in EventType if type_.startswith("recording."))


async def show_recording(visit: Visit) -> Response:
    """Show one Recording."""
    return await _page(visit)


def with_form(
    send: Callable[[Visit], Awaitable[Response]],
    names: Collection[str] = (),
    renamed: Mapping[str, str] = MappingProxyType({}),
) -> Callable[[Visit], Awaitable[Response]]:
    """Return the handler of a form on the page of a Recording.

    ``send`` makes the request; what REST rejects is shown in the form again, with the reasons. ``names`` are the fields
    of the form, and ``renamed`` those whose names differ, by the names of REST.
    """

    async def handle(visit: Visit) -> Response:
        try:
            return await send(visit)
        except RestFailed as failed:
            state = rejected(visit, failed, form(visit.request), names, renamed)
            return await _page(visit, state, failed.problem.status)

    return handle


def _forms(visit: Visit, state: FormState | None) -> Callable[..., FormState]:
    """Return the function with which the template gets the state of a form; ``state`` is that of the rejected one."""

    def form_of(
        action: str, initial: Mapping[str, object] = MappingProxyType({}), delivery_id: str | None = None
    ) -> FormState:
        id_prefix = f"{action.replace('/', '-')}-{f'{delivery_id}-' if delivery_id else ''}"
        was_sent = visit.request.path == f"{START}/{visit.request.id}/{action}"
        if state is None or not was_sent or delivery_id not in (None, state.value("deliveryId")):
            return FormState(initial, id_prefix=id_prefix)
        return replace(state, id_prefix=id_prefix)

    return form_of


async def _page(visit: Visit, state: FormState | None = None, status: int = 200) -> Response:
    """Return the page; ``state`` is that of a form that was rejected."""
    path = f"/recordings/{visit.request.id}"
    recording = await visit.rest.get(path)
    text = visit.language.text
    verdict = recording["verdict"] or {"reasons": ()}
    may_change = visit.may(Role.PROVISION)
    return visit.page(
        "recording.html",
        "recordings",
        status,
        form_of=_forms(visit, state),
        recording=recording,
        title=text("title_parties", caller=_caller(visit, recording), called=_party(visit, recording["to"])),
        problems=[(visit.language.reason(each), visit.language.advice(each)) for each in verdict["reasons"]],
        playable=recording["audioUrl"] is not None,
        unfinished=recording["state"] in _UNFINISHED,
        event_types=_EVENT_TYPES,
        neighbors=await neighbor_urls(visit),
        list_query=ListQuery.of(visit).url(""),
        facts=await _facts(visit, recording),
        may_change=may_change,
        script_texts={key: visit.language.texts[key] for key in SCRIPT_TEXTS},
        **_audio_values(visit.language, recording),
        **await delivery_values(visit, recording),
        **await note_values(visit, path),
        **(await link_values(visit, path) if may_change else {}),
        accesses=await visit.rest.page(f"{path}/accesses", limit=_ACCESSES) if may_change else None,
    )


def _audio_values(language: Language, recording: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the player and the timeline show."""
    timeline = msgspec.convert(recording["timeline"], list[TimelineEntry])
    positions = AudioPositions(timeline, recording["duration"] or 0.0)
    events, details = language.texts["events"], language.texts["event_details"]
    hearing = {"purpose": "play", "hearing": uuid4()}
    return {
        "sources": _sources(recording, hearing),
        "plays_stored": recording["format"] in PLAYABLE,
        "downloads": _downloads(recording),
        "pauses": positions.pauses,
        "events": [
            {
                "at": entry.at,
                "position": positions.position(entry.at),
                "text": events.get(entry.event, entry.event),
                "by": language.texts.get(f"by_{entry.by}", entry.by),
                "detail": details.get(entry.detail, entry.detail),
            }
            for entry in timeline
        ],
    }


def _sources(recording: Mapping[str, Any], hearing: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return the URLs and media types from which a browser chooses the first that it can play.

    A stored file may have an encoding that a browser cannot play although it plays the format, such as ADPCM in WAV.
    """
    stored = str(recording["format"])
    names = [stored, PLAYER_FORMAT, _LOSSLESS] if stored in PLAYABLE else [PLAYER_FORMAT, _LOSSLESS]
    url = f"/recordings/{recording['id']}/audio"
    queries = {name: hearing if name == stored else {"format": name, **hearing} for name in dict.fromkeys(names)}
    return [(f"{url}?{urlencode(each)}", FORMATS[name].media_type) for name, each in queries.items()]


def _downloads(recording: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the key of the text, the URL and the format of the downloads besides the stored file."""
    url = f"/recordings/{recording['id']}/audio"
    found = [("download_as", f"{url}?format={name}", name) for name in _DOWNLOADS if name != recording["format"]]
    if recording["channels"] == 2:
        found += [
            (f"only_{side}", f"{url}?{urlencode({'channel': side, 'format': PLAYER_FORMAT})}", PLAYER_FORMAT)
            for side in ("caller", "callee")
        ]
    return found


async def _facts(visit: Visit, recording: Mapping[str, Any]) -> list[tuple[str, object]]:
    language = visit.language
    time_element = visit.renderer.time_element(language)
    verdict = recording["verdict"]
    checked = "verdict_none" if verdict is None else "verdict_ok" if verdict["ok"] else "problem"
    return [
        ("from", _caller(visit, recording)),
        ("to", _party(visit, recording["to"])),
        ("remote", recording["remoteSipUri"] or language.text("none")),
        ("profile", await _profile(visit, recording["profileId"])),
        ("started", time_element(recording["startedAt"] or recording["createdAt"])),
        ("duration", language.duration(recording["duration"])),
        ("state", language.text(f"state_{recording['state']}")),
        ("verdict", language.text(checked)),
        ("expires", time_element(recording["expiresAt"]) if recording["expiresAt"] else language.text("never")),
        ("node", recording["node"] or language.text("none")),
        ("id", recording["id"]),
    ]


async def _profile(visit: Visit, profile_id: str) -> str:
    """Return a link to a Profile; the id of one that was deleted, whose Recordings are kept."""
    try:
        label = profile_label(await visit.rest.get(f"/profiles/{profile_id}"))
    except RestFailed as failed:
        if failed.problem.status != 404:
            raise
        return profile_id
    return Markup('<a href="/console/profiles/{}"><bdi>{}</bdi></a>').format(profile_id, label)


def _caller(visit: Visit, recording: Mapping[str, Any]) -> str:
    name, number = recording["fromName"] or "", recording["from"] or ""
    both = f"{name} ({number})" if name and number and name != number else name or number
    return _isolated(sanitize_line(both or visit.language.text("withheld"), _MAX_PARTY))


def _party(visit: Visit, number: str | None) -> str:
    return _isolated(sanitize_line(number or visit.language.text("unknown"), _MAX_PARTY))


def _isolated(party: str) -> str:
    """Return a name within the marks that keep one from right to left from reordering the text around it (UAX #9)."""
    return f"\u2068{party}\u2069" if any(bidirectional(letter) in ("R", "AL") for letter in party) else party


async def show_accesses(visit: Visit) -> Response:
    """Show who has played or downloaded a Recording."""
    recording_id = visit.request.id
    cursor = query(visit.request).get("cursor")
    page = await visit.rest.page(f"/recordings/{recording_id}/accesses", limit=_ACCESSES_PER_PAGE, cursor=cursor)
    return visit.page(
        "accesses.html",
        "recordings",
        recording_id=recording_id,
        accesses=page,
        next_url=page.next_url(f"{START}/{recording_id}/accesses"),
    )


async def change_hold(visit: Visit) -> Response:
    """Set or release the legal hold."""
    hold = form(visit.request).get("hold") == "true"
    await visit.rest.send("POST", f"/recordings/{visit.request.id}", {"legalHold": hold})
    return to_recording(visit, "hold_set" if hold else "hold_released")


async def delete_recording(visit: Visit) -> Response:
    """Delete a Recording."""
    reason = form(visit.request).get("reason", "").strip()
    parameters = f"?{urlencode({'reason': reason})}" if reason else ""
    await visit.rest.send("DELETE", f"/recordings/{visit.request.id}{parameters}")
    return redirect_after("recording_deleted", ListQuery.of(visit).url())
