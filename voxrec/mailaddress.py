"""The one grammar of email addresses, for REST, the settings and SMTP: what every relay accepts without an extension.

It is ``Mailbox`` of RFC 5321 section 4.1.2 without quoted local parts, address literals and SMTPUTF8 (RFC 6531): relays
and mail programs differ in their support, so that such an address would fail only when mail is sent.
"""

import re
from typing import Final

MAX_LENGTH: Final = 254  # octets: a path has at most 256, including "<" and ">" (RFC 5321 section 4.5.3.1.3)
MAX_LOCAL_PART: Final = 64  # octets (section 4.5.3.1.1)
MAX_LABEL: Final = 63  # octets (RFC 1035 section 2.3.4)
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOT_ATOM: Final = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_VALID_LABEL: Final = re.compile(_LABEL)
PATTERN: Final = (
    # the look-aheads: length of the local part, no encoded word in it, and a last label that is not a number
    rf"(?=[^@]{{1,{MAX_LOCAL_PART}}}@)(?![^@]*=\?)(?![^,]*[@.][0-9]+\s*(?:,|$))"
    rf"{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*"
)
"""The same grammar for JSON Schema, except for `MAX_LENGTH`."""


class MailAddressError(ValueError):
    """The text is not an email address that voxrec can send to. The message completes "the address ..."."""


def check_mail_address(text: str) -> None:
    """Raise `MailAddressError` unless ``text`` is one email address such as ``desk@example.org``."""
    if not text.isascii():
        raise MailAddressError("must be ASCII; write an international domain in its xn-- form")
    local_part, at, domain = text.rpartition("@")
    if not at:
        raise MailAddressError("has no @")
    _check_local_part(local_part)
    _check_domain(domain)
    if len(text) > MAX_LENGTH:
        raise MailAddressError(f"is {len(text)} octets long; at most {MAX_LENGTH} are allowed")


def is_mail_address(text: str) -> bool:
    """Return whether ``text`` is one email address."""
    try:
        check_mail_address(text)
    except MailAddressError:
        return False
    return True


def _check_local_part(local_part: str) -> None:
    if len(local_part) > MAX_LOCAL_PART:
        raise MailAddressError(f"has {len(local_part)} octets before the @; at most {MAX_LOCAL_PART} are allowed")
    if not _DOT_ATOM.fullmatch(local_part):
        raise MailAddressError(
            "needs before the @ letters, digits, !#$%&'*+-/=?^_`{|}~ and single dots between them; "
            "quoted local parts are not supported"
        )
    if "=?" in local_part:
        raise MailAddressError("must not contain =?, with which encoded words (RFC 2047) begin")


def _check_domain(domain: str) -> None:
    labels = domain.split(".")
    for label in labels:
        if len(label) > MAX_LABEL:
            raise MailAddressError(f"has a domain label of {len(label)} octets; at most {MAX_LABEL} are allowed")
        if not _VALID_LABEL.fullmatch(label):
            raise MailAddressError(
                "needs a domain name after the @: labels of letters, digits and inner hyphens, separated by single dots"
            )
    if labels[-1].isdigit():
        raise MailAddressError("needs a domain name after the @, not an IP address")
