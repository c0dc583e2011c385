"""What the mail about a recording says, in plain English and without any markup."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Final

from voxrec.audio.formats import FORMATS
from voxrec.model import Profile, Recording, Verdict
from voxrec.sanitize import sanitize_line

_MAX_NAME_IN_SUBJECT: Final = 80  # characters
_MAX_VALUE: Final = 255  # characters


@dataclass(frozen=True, slots=True)
class ListeningLink:
    """Where the readers of a mail can listen to the recording. ``expires_at`` None: the URL needs a token instead."""

    url: str
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """The texts of a mail. ``facts`` are labels with their values; ``warning`` is empty if there is none."""

    subject: str
    title: str
    summary: str
    warning: str
    facts: tuple[tuple[str, str], ...]
    introduction: str
    url: str
    waveform_description: str


def describe(
    recording: Recording, profile: Profile, link: ListeningLink, size: int, attached: bool, time_zone: tzinfo = UTC
) -> Content:
    """Return the content of the mail about a recording.

    ``size`` is that of the audio in bytes, ``attached`` whether the mail has it attached, and ``time_zone`` that of the
    reader.
    """
    caller = _caller(recording)
    called = sanitize_line(recording.to or "unknown number", _MAX_VALUE)
    started_at = recording.started_at or recording.created_at
    local_start = started_at.astimezone(time_zone)
    duration = _format_duration(recording.duration)
    facts = [("Caller", caller), ("Called number", called)]
    if recording.remote_sip_uri:
        facts.append(("Connected to", sanitize_line(recording.remote_sip_uri, _MAX_VALUE)))
    if profile.name:
        facts.append(("Profile", sanitize_line(profile.name, _MAX_VALUE)))
    facts += [
        ("Started", _format_time(started_at, time_zone)),
        ("Duration", duration),
        ("File", f"{attachment_name(recording)}, {_format_size(size)}"),
    ]
    if recording.sha256:
        facts.append(("SHA-256", recording.sha256))
    title = f"{sanitize_line(caller, _MAX_NAME_IN_SUBJECT)} called {sanitize_line(called, _MAX_NAME_IN_SUBJECT)}"
    return Content(
        subject=f"{title}, {local_start:%d %b %Y %H:%M}, {duration}",
        title=title,
        summary=f"{_format_date(local_start)}, {duration}",
        warning=_warning(recording.verdict),
        facts=tuple(facts),
        introduction=_introduction(link, size, attached, time_zone),
        url=link.url,
        waveform_description=(
            "Waveform of the recording: the caller at the top, the other side at the bottom"
            if recording.channels == 2
            else "Waveform of the recording"
        ),
    )


def _introduction(link: ListeningLink, size: int, attached: bool, time_zone: tzinfo) -> str:
    until = "" if link.expires_at is None else f" until {_format_date(link.expires_at.astimezone(time_zone))}"
    if attached:
        return f"The recording is attached. You can also listen to it here{until}:"
    return f"The recording is too large to attach: {_format_size(size)}. You can listen to it here{until}:"


def attachment_name(recording: Recording) -> str:
    """Return a file name such as ``2026-11-23T19-31-00Z_+49123_to_+49555.wav``.

    It sorts by time and is valid on every file system.
    """
    started_at = (recording.started_at or recording.created_at).astimezone(UTC)
    caller, called = (_safe_for_file_name(number) or "unknown" for number in (recording.from_, recording.to))
    audio_format = FORMATS.get(recording.format)
    suffix = (_safe_for_file_name(recording.format) or "audio") if audio_format is None else audio_format.suffix
    return f"{started_at:%Y-%m-%dT%H-%M-%SZ}_{caller}_to_{called}.{suffix}"


def _safe_for_file_name(text: str | None) -> str:
    return re.sub(r"[^A-Za-z0-9+-]+", "_", text or "")[:64].strip("_-")


def _caller(recording: Recording) -> str:
    name = sanitize_line(recording.from_name or "", _MAX_VALUE)
    number = sanitize_line(recording.from_ or "", _MAX_VALUE)
    if name and number and name != number:
        return f"{name} ({number})"
    return name or number or "Caller with withheld number"


def _format_time(time: datetime, time_zone: tzinfo) -> str:
    """Return the local time, and UTC if it differs, because file names and the REST API use UTC."""
    local, utc = time.astimezone(time_zone), time.astimezone(UTC)
    if local.utcoffset() == utc.utcoffset():
        return f"{_format_date(local)}, {local:%H:%M:%S} UTC"
    offset = local.isoformat()[-6:]
    return f"{_format_date(local)}, {local:%H:%M:%S} ({offset}), which is {utc:%H:%M:%S} UTC"


def _format_date(time: datetime) -> str:
    return f"{time.day} {time:%B %Y}"


def _format_duration(seconds: float | None) -> str:
    if seconds is None:
        return "unknown duration"
    minutes, seconds_left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min {seconds_left} s"
    return f"{minutes} min {seconds_left} s" if minutes else f"{seconds_left} s"


def _format_size(size: int) -> str:
    if size < 1000:
        return f"{size} bytes"
    amount, unit = (size / 1e6, "MB") if size >= 1e6 else (size / 1e3, "kB")
    return f"{amount:.1f} {unit} ({size:,} bytes)"


def _warning(verdict: Verdict | None) -> str:
    if verdict is None or verdict.ok:
        return ""
    reasons = "; ".join(sanitize_line(reason, _MAX_VALUE) for reason in verdict.reasons)
    return f"There may be a problem with this recording: {reasons or 'unknown reason'}."
