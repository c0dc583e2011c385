"""What the mail about a recording says, in the reader's language and without any markup."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Final

from voxrec.audio.formats import FORMATS
from voxrec.languages import DEFAULT, Language, Languages
from voxrec.model import MailContent, Profile, Recording, Verdict
from voxrec.sanitize import sanitize_line

LANGUAGES: Final = Languages("voxrec.mail", "texts")
"""The languages of mails."""
_MAX_NAME_IN_SUBJECT: Final = 80  # characters
_MAX_VALUE: Final = 255  # characters


@dataclass(frozen=True, slots=True)
class ListeningLink:
    """Where the readers of a mail can listen to the recording. ``expires_at`` None: the URL needs a token instead."""

    url: str
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """The texts of a mail. ``facts`` are labels with their values; ``warning`` is empty if there is none.

    ``url`` is empty if the mail has no link. ``button`` is the text of the link; ``language`` a code such as ``de``.
    """

    subject: str
    title: str
    summary: str
    warning: str
    facts: tuple[tuple[str, str], ...]
    introduction: str
    url: str
    waveform_description: str
    button: str = "Listen"
    language: str = "en"


def describe(
    recording: Recording,
    profile: Profile,
    link: ListeningLink | None,
    size: int,
    attached: bool,
    time_zone: tzinfo = UTC,
    language: Language | None = None,
    original_size: int | None = None,
) -> Content:
    """Return the content of the mail about a recording.

    ``link`` None: the mail is a notice, without the audio. ``size`` is that of the audio in bytes, ``attached`` whether
    the mail has it attached, ``time_zone`` and ``language`` (English by default) those of the reader.
    ``original_size`` is that of the recording if a smaller copy is attached.
    """
    texts = language or LANGUAGES.available[DEFAULT]
    caller = _caller(recording)
    called = _called(recording, profile, texts)
    started_at = recording.started_at or recording.created_at
    local_start = started_at.astimezone(time_zone)
    duration = texts.duration(recording.duration)
    facts = [(texts.text("caller"), caller or texts.text("number_withheld")), (texts.text("called"), called)]
    if recording.remote_sip_uri:
        facts.append((texts.text("connected_to"), sanitize_line(recording.remote_sip_uri, _MAX_VALUE)))
    if profile.name:
        facts.append((texts.text("profile"), sanitize_line(profile.name, _MAX_VALUE)))
    facts += [
        (texts.text("started"), _format_time(started_at, time_zone, texts)),
        (texts.text("duration"), duration),
        (texts.text("file"), f"{attachment_name(recording)}, {_format_size(size, texts)}"),
    ]
    if recording.sha256 and original_size is None:
        facts.append(("SHA-256", recording.sha256))
    title = texts.text(
        "title",
        caller=_caller(recording, _MAX_NAME_IN_SUBJECT) or texts.text("withheld"),
        called=sanitize_line(called, _MAX_NAME_IN_SUBJECT),
    )
    return Content(
        subject=f"{title}, {_format_date(local_start, texts, 'short_date')} {local_start:%H:%M}, {duration}",
        title=title,
        summary=texts.text(
            "summary", date=_format_date(local_start, texts), time=f"{local_start:%H:%M}", duration=duration
        ),
        warning=_warning(recording.verdict, texts),
        facts=tuple(facts),
        introduction=_introduction(recording, profile, link, size, attached, original_size, time_zone, texts),
        url="" if link is None else link.url,
        waveform_description=texts.text("waveform_of_two" if recording.channels == 2 else "waveform"),
        button=texts.text("listen"),
        language=texts.code,
    )


def _introduction(
    recording: Recording,
    profile: Profile,
    link: ListeningLink | None,
    size: int,
    attached: bool,
    original_size: int | None,
    time_zone: tzinfo,
    texts: Language,
) -> str:
    if link is None:
        return texts.text("notice")
    until = ""
    if link.expires_at is not None:
        until = texts.text("until", date=_format_date(link.expires_at.astimezone(time_zone), texts))
    if not attached:
        key = "linked" if profile.mail_content is MailContent.LINK else "too_large"
    else:
        key = "attached" if original_size is None else "copy_attached"
    size_text = _format_size(size if original_size is None else original_size, texts)
    return texts.text(key, until=until, size=size_text, format=recording.format)


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


def _caller(recording: Recording, limit: int = 3 * _MAX_VALUE) -> str:
    """Return name and number of the caller in ``limit`` characters, or "". A long name must not hide the number."""
    number = sanitize_line(recording.from_ or "", min(limit, _MAX_VALUE))
    name = sanitize_line(recording.from_name or "", min(limit, _MAX_VALUE))
    room = limit - len(f" ({number})")
    if name and number and name != number and room > 0:
        return f"{sanitize_line(name, room)} ({number})"
    return number or name


def _called(recording: Recording, profile: Profile, texts: Language) -> str:
    """Return what was dialled; instead of the Profile's id, which says nothing to a reader, its name."""
    called = recording.to
    if called is not None and called.lower() == str(profile.id) and profile.name:
        called = profile.name
    return sanitize_line(called or texts.text("unknown_number"), _MAX_VALUE)


def _format_time(time: datetime, time_zone: tzinfo, texts: Language) -> str:
    """Return the local time, and UTC if it differs, because file names and the REST API use UTC."""
    local, utc = time.astimezone(time_zone), time.astimezone(UTC)
    values = {"date": _format_date(local, texts), "time": f"{local:%H:%M:%S}"}
    if local.utcoffset() == utc.utcoffset():
        return texts.text("local_time", **values)
    return texts.text("local_time_with_utc", **values, offset=local.isoformat()[-6:], utc=f"{utc:%H:%M:%S}")


def _format_date(time: datetime, texts: Language, key: str = "date") -> str:
    month = texts.texts["months"][time.month - 1]
    return texts.text(key, day=time.day, month=month, short_month=month[:3], number=time.month, year=time.year)


def _format_size(size: int, texts: Language) -> str:
    count = texts.text("bytes", size=f"{size:,}".replace(",", texts.text("thousands_separator")))
    return count if size < 1000 else texts.text("size", amount=texts.size(size), bytes=count)


def _warning(verdict: Verdict | None, texts: Language) -> str:
    if verdict is None or verdict.ok:
        return ""
    reasons = "; ".join(sanitize_line(texts.reason(reason), _MAX_VALUE) for reason in verdict.reasons)
    return texts.text("warning", reasons=reasons or texts.text("unknown_reason"))
