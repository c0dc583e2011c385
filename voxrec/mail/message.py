"""The mail about one recording: plain text, HTML, and the audio itself where it is not too large."""

import re
from binascii import b2a_base64
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from html import escape
from pathlib import Path
from typing import Final

from voxrec.audio.formats import FORMATS
from voxrec.audio.peaks import compute_peaks
from voxrec.audio.waveform import render_waveform
from voxrec.errors import AudioError
from voxrec.model import Profile, Recording, Verdict, mail_addresses
from voxrec.sanitize import sanitize_line

_POLICY: Final = SMTP.clone(cte_type="7bit")  # a relay need not offer 8BITMIME
_PICTURE_WIDTH: Final = 560  # pixels, as the page is
_LINE: Final = 57  # bytes of audio in one line of base64
_SHOWN_NAME: Final = 80  # characters of a name in the subject


@dataclass(frozen=True, slots=True)
class MessageDefaults:
    """What is the same for every letter.

    ``sender``: the From address, whose domain also ends each Message-ID; ``attach_limit``: bytes of audio above which
    a link stands in for the attachment (in the mail it takes 37 % more); ``zone``: whose time the reader lives in.
    """

    sender: str
    attach_limit: int
    zone: tzinfo = UTC


def compose(
    recording: Recording, profile: Profile, audio: Path, audio_url: str, stationery: MessageDefaults, now: datetime
) -> bytes:
    """Return the mail as it goes over the wire: 7 bit, CRLF. Reads ``audio``, so it belongs in a thread.

    The Message-ID comes from the recording alone: who gets the same mail twice can tell, and most mailboxes do.
    """
    size = audio.stat().st_size
    attached = size <= stationery.attach_limit
    facts = _Facts(recording, profile, audio_url, size, attached, stationery.zone)
    message = EmailMessage(policy=_POLICY)
    # Python would decode an encoded word of the caller's (RFC 2047), and write out the line end that it may hold
    message["Subject"] = facts.subject.replace("=?", "= ?")
    message["From"] = Address("voxrec", addr_spec=stationery.sender)
    message["To"] = ", ".join(mail_addresses(profile.email))
    message["Date"] = now
    message["Message-ID"] = f"<{recording.id}@{stationery.sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday notices, please
    message["X-Voxrec-Recording"] = str(recording.id)
    if recording.call_id is not None:
        message["X-Voxrec-Call"] = str(recording.call_id)
    message["X-Voxrec-Profile"] = str(profile.id)
    message.set_content(_text(facts), cte="quoted-printable")
    picture = _picture(recording, audio)
    message.add_alternative(_html(facts, _cid(recording) if picture else ""), subtype="html", cte="quoted-printable")
    message.set_boundary(f"=_alternative_{recording.id.hex}")  # "=_" occurs in neither encoding (RFC 2045 6.7)
    if picture:
        *_, page = message.iter_parts()
        assert isinstance(page, EmailMessage)
        page.add_related(
            picture, "image", "png", cid=f"<{_cid(recording)}>", disposition="inline", filename="waveform.png"
        )
        page.set_boundary(f"=_related_{recording.id.hex}")
    if attached:
        maintype, subtype = _media_type(recording.format)
        message.add_attachment(b"", maintype, subtype, filename=file_name(recording))
        message.set_boundary(f"=_mixed_{recording.id.hex}")
    wire = _without_empty_first_lines(message.as_bytes())
    return _with_audio(wire, audio) if attached else wire


def _cid(recording: Recording) -> str:
    """The name of the picture within the mail (RFC 2392)."""
    return f"waveform-{recording.id}@voxrec"


def _picture(recording: Recording, audio: Path) -> bytes | None:
    """The outline of the audio as PNG. A mail without it is better than none."""
    try:
        return render_waveform(compute_peaks(audio, _PICTURE_WIDTH, FORMATS.get(recording.format)))
    except AudioError:
        return None


def _with_audio(wire: bytes, audio: Path) -> bytes:
    """Fill the last part, left empty so far.

    Python's own way to do so holds the interpreter for a quarter of a second per 20 MB, and calls would stutter.
    """
    start, end, rest = wire.rpartition(b"\r\n--")
    return b"".join([start, *_encoded(audio), end, rest])


def _encoded(audio: Path) -> Iterator[bytes]:
    """Base64 in lines of 76 characters (RFC 2045 section 6.8), in pieces small enough to let others run between."""
    with audio.open("rb") as file:
        while block := file.read(_LINE * 1024):
            lines = (b2a_base64(block[at : at + _LINE], newline=False) for at in range(0, len(block), _LINE))
            yield b"\r\n".join([*lines, b""])


def _without_empty_first_lines(wire: bytes) -> bytes:
    """Undo what Python does to a header that would just fit on a line by itself: it leaves the first line empty.

    The space that begins the next line then counts as part of the subject, and some mail servers take the header for
    an empty one.
    """
    head, blank, body = wire.partition(b"\r\n\r\n")
    return re.sub(rb"(?m)^([A-Za-z-]+:)\r\n ", rb"\1 ", head) + blank + body


def file_name(recording: Recording) -> str:
    """Return ``2026-11-23T19-31-00Z_+49123_to_+49555.wav``: sorts by time, and every file system takes it."""
    began = (recording.started_at or recording.created_at).astimezone(UTC)
    caller, dialled = (_safe(one) or "unknown" for one in (recording.from_, recording.to))
    known = FORMATS.get(recording.format)
    suffix = (_safe(recording.format) or "audio") if known is None else known.suffix
    return f"{began:%Y-%m-%dT%H-%M-%SZ}_{caller}_to_{dialled}.{suffix}"


def _safe(text: str | None) -> str:
    return re.sub(r"[^A-Za-z0-9+-]+", "_", text or "")[:64].strip("_-")


def _media_type(format_: str) -> tuple[str, str]:
    known = FORMATS.get(format_)
    kind, _, subtype = "application/octet-stream".partition("/") if known is None else known.media_type.partition("/")
    return kind, subtype.partition(";")[0]


class _Facts:
    """What the letter says, in words; nothing is escaped for HTML yet."""

    def __init__(
        self, recording: Recording, profile: Profile, audio_url: str, size: int, attached: bool, zone: tzinfo
    ) -> None:
        caller = _caller(recording)
        dialled = sanitize_line(recording.to or "unknown", 255)
        began = recording.started_at or recording.created_at
        local = began.astimezone(zone)
        length = _length(recording.duration)
        self.title = f"{sanitize_line(caller, _SHOWN_NAME)} called {sanitize_line(dialled, _SHOWN_NAME)}"
        self.subject = f"{self.title}, {local:%d %b %Y %H:%M}, {length}"
        self.when = f"{_date(local)}, {length}"
        self.rows = [("Caller", caller), ("Dialled", dialled)]
        if recording.remote_sip_uri:
            self.rows.append(("Far end", sanitize_line(recording.remote_sip_uri, 255)))
        if profile.name:
            self.rows.append(("Profile", sanitize_line(profile.name, 255)))
        self.rows += [("Began", _moment(began, zone)), ("Length", length)]
        self.rows.append(("File", f"{file_name(recording)}, {_bytes(size)}"))
        if recording.sha256:
            self.rows.append(("SHA-256", recording.sha256))
        self.warning = _warning(recording.verdict)
        self.invitation = (
            "The recording is attached. It is also kept here:"
            if attached
            else f"The recording is too large for a mail ({_bytes(size)}). It is kept here:"
        )
        self.picture = "The loudness of the call over its time"
        if recording.channels == 2:
            self.picture += ": the caller above, the far end below"
        self.url = audio_url


def _caller(recording: Recording) -> str:
    name, number = sanitize_line(recording.from_name or "", 255), sanitize_line(recording.from_ or "", 255)
    if name and number and name != number:
        return f"{name} ({number})"
    return name or number or "A caller who withheld the number"


def _moment(moment: datetime, zone: tzinfo) -> str:
    """The reader's time, and UTC beside it where that differs: the file's name and REST speak UTC."""
    local, utc = moment.astimezone(zone), moment.astimezone(UTC)
    if local.utcoffset() == utc.utcoffset():
        return f"{_date(local)}, {local:%H:%M:%S} UTC"
    offset = local.isoformat()[-6:]
    return f"{_date(local)}, {local:%H:%M:%S} ({offset}), that is {utc:%H:%M:%S} UTC"


def _date(moment: datetime) -> str:
    return f"{moment.day} {moment:%B %Y}"


def _length(seconds: float | None) -> str:
    if seconds is None:
        return "unknown length"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min {rest} s"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _bytes(size: int) -> str:
    if size < 1000:
        return f"{size} bytes"
    amount, unit = (size / 1e6, "MB") if size >= 1e6 else (size / 1e3, "kB")
    return f"{amount:.1f} {unit} ({size:,} bytes)"


def _warning(verdict: Verdict | None) -> str:
    if verdict is None or verdict.ok:
        return ""
    reasons = "; ".join(sanitize_line(reason, 255) for reason in verdict.reasons)
    return f"Something is wrong with this recording: {reasons or 'no reason was given'}."


def _text(facts: _Facts) -> str:
    width = max(len(label) for label, _ in facts.rows) + 2
    parts = [
        f"{facts.title}\n{facts.when}",
        *([facts.warning] if facts.warning else []),
        "\n".join(f"{label + ':':{width}}{value}" for label, value in facts.rows),
        f"{facts.invitation}\n{facts.url}",
    ]
    return "\n\n".join(parts) + "\n"


_FONT: Final = "font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"
_PAGE: Final = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
</head>
<body style="margin:0;padding:16px;{font};font-size:16px;line-height:1.45">
<div style="max-width:560px;margin:0 auto">
<h1 style="margin:0;font-size:20px;line-height:1.3;overflow-wrap:anywhere">{title}</h1>
<p style="margin:4px 0 20px;opacity:.7">{when}</p>
{warning}<table role="presentation" style="width:100%;border-collapse:collapse;border-top:1px solid #8884">
{rows}
</table>
{picture}<p style="margin:20px 0 12px">{invitation}</p>
<p style="margin:0"><a href="{url}" style="display:inline-block;padding:10px 20px;border-radius:8px;\
background:#1f5fbf;color:#ffffff;text-decoration:none;font-weight:600">Listen</a></p>
<p style="margin:12px 0 0;font-size:13px;opacity:.7;overflow-wrap:anywhere">{url}</p>
</div>
</body>
</html>
"""
_WARNING: Final = """\
<p style="margin:0 0 20px;padding:12px 16px;border-left:4px solid #d97706;background:#fef3c7;color:#78350f;\
overflow-wrap:anywhere">{warning}</p>
"""
_PICTURE: Final = """\
<p style="margin:20px 0 0"><img src="cid:{cid}" alt="{about}" title="{about}" width="560" \
style="width:100%;height:auto"></p>
"""
_ROW: Final = """\
<tr><td style="padding:8px 16px 8px 0;border-bottom:1px solid #8884;vertical-align:top;white-space:nowrap;\
opacity:.7">{label}</td>
<td style="padding:8px 0;border-bottom:1px solid #8884;overflow-wrap:anywhere;\
word-break:break-word">{value}</td></tr>"""


def _html(facts: _Facts, cid: str) -> str:
    rows = "\n".join(_ROW.format(label=escape(label), value=escape(value)) for label, value in facts.rows)
    return _PAGE.format(
        font=_FONT,
        title=escape(facts.title),
        when=escape(facts.when),
        warning=_WARNING.format(warning=escape(facts.warning)) if facts.warning else "",
        rows=rows,
        picture=_PICTURE.format(cid=cid, about=escape(facts.picture)) if cid else "",
        invitation=escape(facts.invitation),
        url=escape(facts.url),
    )
