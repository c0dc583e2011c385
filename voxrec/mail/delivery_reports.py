"""Reads what mail servers return: delivery status notifications (RFC 3464, RFC 6533), and bounces without a report.

A message that nothing can be read from is `ReportAction.UNKNOWN`, which does not count as a failure.
"""

import re
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser, HeaderParser
from email.policy import compat32
from quopri import decodestring
from typing import Any, Final

from voxrec.model import ReportAction
from voxrec.sanitize import sanitize_line

_STATUS_TYPES: Final = frozenset({"message/delivery-status", "message/global-delivery-status"})
_SEVERITY: Final = (
    ReportAction.FAILED,
    ReportAction.DELAYED,
    ReportAction.UNKNOWN,
    ReportAction.EXPANDED,
    ReportAction.RELAYED,
    ReportAction.DELIVERED,
)
_BY_STATUS_CLASS: Final = {"5": ReportAction.FAILED, "4": ReportAction.DELAYED, "2": ReportAction.DELIVERED}
_MAX_RECIPIENTS: Final = 100  # of one report that are read
_MAX_TEXT: Final = 65_536  # characters of a bounce without a report that are searched
_STATUS: Final = re.compile(r"\b([245]\.\d{1,3}\.\d{1,3})\b")  # RFC 3463 section 2
_REPLY: Final = re.compile(r"(?m)(?<![\d.])[45]\d\d[- ].*$")  # a reply of SMTP, as servers quote it
_UNICODE_ADDRESS: Final = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")  # RFC 6533 section 3
_SERVER_NAME: Final = re.compile(r"(?i)mailer[-_. ]?daemon|postmaster|mail delivery (sub)?system")
# What Exim, qmail, Sendmail and others have written before they had reports, and users of them still configure.
_STILL_TRIED: Final = re.compile(
    r"(?i)\bdelayed\b|not yet been delivered|could not be delivered yet|keep trying|will be retried|still trying|"
    r"will continue to (?:try|be attempted)|do not need to resend|delivery attempts will continue"
)
_GIVEN_UP: Final = re.compile(
    r"(?i)(?:could not|couldn't|cannot|can not|was not|wasn't able to|unable to) (?:be )?deliver|"
    r"permanent (?:fatal )?error|undeliver|delivery[\w -]{0,20} fail|returned to sender|i've given up"
)


@dataclass(frozen=True, slots=True)
class BounceReport:
    """What a mail server reports about the delivery to one recipient.

    ``status`` is the enhanced status code (RFC 3463), ``remote_mta`` the server that gave the ``reply``; both are empty
    if they are not known. The texts are one line each, and safe to log and to store.
    """

    action: ReportAction
    reply: str
    status: str = ""
    remote_mta: str = ""


def parse_report(data: bytes) -> BounceReport | None:
    """Return what a message to a bounce address reports, or None if it reports nothing.

    The latter are automatic replies (RFC 3834), receipts (RFC 8098) and feedback reports (RFC 5965). If a report is
    about several recipients, to whom the server has distributed the mail, the most severe action is returned. ``data``
    may be truncated behind the report, as the returned mail is. Never raises, whatever ``data`` is.
    """
    try:
        return _read(BytesParser(policy=compat32).parsebytes(data.replace(b"\r\n", b"\n")))
    except Exception as error:  # the email package has no list of the errors that malformed messages cause
        return BounceReport(ReportAction.UNKNOWN, sanitize_line(f"unreadable message: {type(error).__name__}"))


def _read(message: Message) -> BounceReport | None:
    status_part = next((part for part in _parts(message) if part.get_content_type() in _STATUS_TYPES), None)
    if status_part is not None:
        reports = [_read_recipient(fields) for fields in _recipient_fields(status_part)]
        if reports:
            return min(reports, key=lambda report: _SEVERITY.index(report.action))
    elif message.get_content_type() == "multipart/report":  # a receipt, or a complaint about spam
        return None
    return _read_text(message)


def _parts(message: Message) -> Iterator[Message]:
    """Yield the parts of a message, but not those of the mail that it returns."""
    if message.get_content_maintype() == "multipart" and message.is_multipart():
        for part in message.get_payload():
            assert isinstance(part, Message)
            yield from _parts(part)
    else:
        yield message


def _recipient_fields(part: Message) -> Iterator[Message]:
    """Yield the fields of each recipient (RFC 3464 section 2.3).

    The email package splits only message/delivery-status into groups of fields, and only if it is not encoded, while
    message/global-delivery-status may be (RFC 6533 section 4).
    """
    body = part.as_bytes().partition(b"\n\n")[2]
    encoding = str(part.get("Content-Transfer-Encoding", "")).strip().lower()
    if encoding == "base64":
        body = b64decode(b"".join(body.split()) + b"==")
    elif encoding == "quoted-printable":
        body = decodestring(body)
    text = body.decode("utf-8", "replace").replace("\r\n", "\n")
    for group in re.split(r"\n(?:[ \t]*\n)+", text.strip("\n"), maxsplit=_MAX_RECIPIENTS):
        fields = HeaderParser(policy=compat32).parsestr(group)
        if "Action" in fields or "Final-Recipient" in fields or "Status" in fields:
            yield fields


def _read_recipient(fields: Message) -> BounceReport:
    match = _STATUS.search(_text(fields, "Status"))
    status = match[1] if match else ""
    words = re.split(r"[\s(;]", _text(fields, "Action").strip().lower(), maxsplit=1)
    try:
        action = ReportAction(words[0])
    except ValueError:  # missing, or not one of RFC 3464 section 2.3.3
        action = _BY_STATUS_CLASS.get(status[:1], ReportAction.UNKNOWN)
    reply = _after_type(_text(fields, "Diagnostic-Code")) or f"{words[0] or 'reported'} without a reply of a server"
    recipient = _UNICODE_ADDRESS.sub(_decode_character, _after_type(_text(fields, "Final-Recipient")))
    if recipient:
        reply = f"{reply} ({recipient})"
    remote_mta = _after_type(_text(fields, "Remote-MTA"))
    return BounceReport(action, sanitize_line(reply), status, sanitize_line(remote_mta, 255))


def _decode_character(match: re.Match[str]) -> str:
    number = int(match[1], 16)
    return chr(number) if number <= 0x10FFFF else match[0]


def _text(fields: Message, name: str) -> str:
    return str(fields.get(name, ""))


def _after_type(value: str) -> str:
    """Return what follows the type of an address, a name or a code: ``smtp; 550 unknown`` (RFC 3464 section 2.1.2)."""
    type_, separator, rest = value.partition(";")
    return (rest if separator and re.fullmatch(r"\s*[\w-]+\s*", type_) else value).strip()


def _read_text(message: Message) -> BounceReport | None:
    """Return what the text of a message without a report says."""
    text = _first_text(message)
    reply = _quoted_reply(text)
    match = _STATUS.search(reply)
    status = match[1] if match else ""
    if "X-Failed-Recipients" in message:  # Exim, Gmail
        return BounceReport(ReportAction.FAILED, reply, status)
    if _SERVER_NAME.search(_text(message, "From")):
        subject = f"{_text(message, 'Subject')}\n{text}"
        if _STILL_TRIED.search(subject):
            return BounceReport(ReportAction.DELAYED, reply, status)
        if _GIVEN_UP.search(subject):
            return BounceReport(ReportAction.FAILED, reply, status)
    if _is_automatic_reply(message):
        return None
    return BounceReport(ReportAction.UNKNOWN, reply, status)


def _is_automatic_reply(message: Message) -> bool:
    """Return whether a program has answered for a person (RFC 3834 section 5, and what is in use beside it)."""
    submitted = re.split(r"[\s;(]", _text(message, "Auto-Submitted").strip().lower(), maxsplit=1)[0]
    return (
        submitted not in ("", "no")
        or any(name in message for name in ("X-Autoreply", "X-Autorespond", "X-Auto-Response-Suppress"))
        or _text(message, "Precedence").strip().lower() in ("auto_reply", "bulk", "junk")
    )


def _first_text(message: Message) -> str:
    for part in _parts(message):
        if part.get_content_maintype() == "text":
            payload: Any = part.get_payload(decode=True)
            return bytes(payload or b"").decode("utf-8", "replace")[:_MAX_TEXT]
    return ""


def _quoted_reply(text: str) -> str:
    """Return the reply of SMTP in a text; without one, the beginning of the text."""
    match = _REPLY.search(text)
    return sanitize_line(match[0] if match else text.strip() or "a message without text")
