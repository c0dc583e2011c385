"""Builds the MIME message about a recording: text, HTML with a waveform, and the audio if it is not too large."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from twisted.logger import Logger

from voxrec.audio.formats import FORMATS
from voxrec.audio.peaks import compute_peaks
from voxrec.audio.waveform import render_waveform
from voxrec.clock import is_time_zone
from voxrec.errors import AudioError
from voxrec.languages import DEFAULT, Language
from voxrec.mail.base64_lines import encode_base64
from voxrec.mail.content import LANGUAGES, ListeningLink, attachment_name, describe
from voxrec.mail.envelope import UnconfirmedRetries
from voxrec.mail.smime_signature import Signer
from voxrec.mail.templates import Texts, render_texts
from voxrec.mailaddress import encode_mail_address, is_mail_address
from voxrec.model import MailEncryption, Profile, Recording, mail_addresses

_log: Final = Logger()
_POLICY: Final = SMTP.clone(cte_type="7bit")  # a relay need not support 8BITMIME
_WAVEFORM_WIDTH: Final = 560  # pixels, the width of the HTML page


@dataclass(frozen=True, slots=True)
class MessageDefaults:
    """Settings of all messages.

    ``sender`` is the From address, whose domain is also that of the Message-ID. ``attach_limit`` is the maximum size of
    audio that is attached, in bytes (base64 adds 37 %); of larger audio, a copy in ``copy_format`` is attached if that
    is not too large; empty: none. ``time_zone`` and ``language`` are the readers', unless their Profile has others.
    ``utf8_headers``: the headers may have UTF-8 (RFC 6532), for relays with SMTPUTF8; otherwise they are ASCII, and
    recipients that cannot be written so are not in "To". ``templates`` is the directory of the templates; None: the
    built-in form. ``encryption`` says when mails are encrypted, unless their Profile does; ``hide_subject``: the
    subject of an encrypted mail is encrypted, too. ``signer`` None: mails are not signed. ``unconfirmed``: how mails
    are repeated whose acceptance the relay does not confirm.
    """

    sender: str
    attach_limit: int
    time_zone: tzinfo = UTC
    language: str = DEFAULT
    copy_format: str = ""
    templates: Path | None = None
    utf8_headers: bool = False
    encryption: MailEncryption = MailEncryption.NONE
    hide_subject: bool = True
    signer: Signer | None = None
    unconfirmed: UnconfirmedRetries = field(default_factory=UnconfirmedRetries)

    def time_zone_of(self, profile: Profile) -> tzinfo:
        """Return the time zone of the readers."""
        known = profile.time_zone is not None and is_time_zone(profile.time_zone)
        return ZoneInfo(profile.time_zone) if known and profile.time_zone is not None else self.time_zone

    def language_of(self, profile: Profile) -> Language:
        """Return the language of the readers: that of the announcements, if there are texts in it."""
        code = (profile.language or "").lower().replace("_", "-").partition("-")[0]
        return LANGUAGES.available.get(code) or LANGUAGES.available[self.language]


def compose(
    recording: Recording,
    profile: Profile,
    audio: Path,
    link: ListeningLink | None,
    defaults: MessageDefaults,
    now: datetime,
    original_size: int | None = None,
) -> bytes:
    """Return the message as sent by SMTP: 7 bit except for UTF-8 in headers, with CRLF line ends.

    Reads ``audio``, so run it in a thread.

    ``link`` None: a notice, without the audio. ``original_size`` is that of the recording if ``audio`` is a copy of it.
    The Message-ID depends only on the recording, so that mail programs can recognise a duplicate. Raises OSError if
    the audio cannot be read.
    """
    size = audio.stat().st_size
    attached = size <= defaults.attach_limit
    time_zone, language = defaults.time_zone_of(profile), defaults.language_of(profile)
    content = describe(recording, profile, link, size, attached, time_zone, language, original_size)
    waveform = None if link is None else _waveform(recording, audio)
    cid = waveform_cid(recording) if waveform else ""
    texts = render_texts(content, recording, profile, defaults.templates, cid, attached)
    if texts.problem:
        _log.warn(
            "a template of the mail about recording {id} failed; the built-in form is sent: {problem}",
            id=recording.id,
            problem=texts.problem,
        )
    message = EmailMessage(policy=_POLICY.clone(utf8=defaults.utf8_headers))
    _add_headers(message, recording, profile, texts.subject, defaults, now)
    _add_body(message, recording, texts, waveform)
    if attached:
        maintype, subtype = _media_type(recording.format)
        message.add_attachment(b"", maintype, subtype, filename=attachment_name(recording))
        message.set_boundary(f"=_mixed_{recording.id.hex}")
    data = _unfold_empty_first_lines(message.as_bytes())
    return _insert_audio(data, audio) if attached else data


def _add_headers(
    message: EmailMessage,
    recording: Recording,
    profile: Profile,
    subject: str,
    defaults: MessageDefaults,
    now: datetime,
) -> None:
    # Python would decode an encoded word (RFC 2047) in the caller's name, and write a line end in it to the header
    message["Subject"] = subject.replace("=?", "= ?")
    sender = encode_mail_address(defaults.sender)
    local_part, _, domain = sender.rpartition("@")
    message["From"] = Address("voxrec", local_part, domain)
    if recipients := _header_addresses(profile, defaults):
        message["To"] = ", ".join(recipients)
    message["Date"] = now
    message["Message-ID"] = f"<{recording.id}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: suppresses automatic replies
    message["X-Voxrec-Recording"] = str(recording.id)
    if recording.call_id is not None:
        message["X-Voxrec-Call"] = str(recording.call_id)
    message["X-Voxrec-Profile"] = str(profile.id)


def _header_addresses(profile: Profile, defaults: MessageDefaults) -> list[str]:
    addresses = [encode_mail_address(one) for one in mail_addresses(profile.email) if is_mail_address(one)]
    return [*dict.fromkeys(address for address in addresses if defaults.utf8_headers or address.isascii())]


def waveform_cid(recording: Recording) -> str:
    """Return the Content-ID of the picture (RFC 2392)."""
    return f"waveform-{recording.id}@voxrec"


def _add_body(message: EmailMessage, recording: Recording, texts: Texts, waveform: bytes | None) -> None:
    cid = waveform_cid(recording)
    message.set_content(texts.text, cte="quoted-printable")
    message.add_alternative(texts.html, subtype="html", cte="quoted-printable")
    # fixed boundaries make repeated messages identical; "=_" occurs in neither encoding (RFC 2045 section 6.7)
    message.set_boundary(f"=_alternative_{recording.id.hex}")
    if waveform and f"cid:{cid}" in texts.html:  # otherwise mail programs show it as an attachment
        *_, html = message.iter_parts()
        assert isinstance(html, EmailMessage)
        html.add_related(waveform, "image", "png", cid=f"<{cid}>", disposition="inline", filename="waveform.png")
        html.set_boundary(f"=_related_{recording.id.hex}")


def _waveform(recording: Recording, audio: Path) -> bytes | None:
    """Return the waveform as PNG, or None if the audio cannot be decoded; the mail is sent without it then."""
    try:
        return render_waveform(compute_peaks(audio, _WAVEFORM_WIDTH, FORMATS.get(recording.format)))
    except AudioError:
        return None


def _media_type(format_name: str) -> tuple[str, str]:
    audio_format = FORMATS.get(format_name)
    media_type = "application/octet-stream" if audio_format is None else audio_format.media_type
    maintype, _, subtype = media_type.partition(";")[0].partition("/")
    return maintype, subtype


def _insert_audio(data: bytes, audio: Path) -> bytes:
    """Insert the audio into the last part, which is empty."""
    start, end, rest = data.rpartition(b"\r\n--")
    with audio.open("rb") as file:
        return b"".join([start, *encode_base64(file), end, rest])


def _unfold_empty_first_lines(data: bytes) -> bytes:
    """Unfold headers whose first line is empty, which Python writes if the value would just fit on the next line.

    Otherwise the leading space of the next line is part of the value, and some mail servers take the header for empty.
    """
    head, separator, body = data.partition(b"\r\n\r\n")
    return re.sub(rb"(?m)^([A-Za-z-]+:)\r\n ", rb"\1 ", head) + separator + body
