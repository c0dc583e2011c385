"""The one grammar of email addresses, for REST, the settings and SMTP, and the form in which SMTP sends them.

It is ``Mailbox`` of RFC 5321 section 4.1.2 without quoted local parts and address literals: relays and mail programs
differ in their support, so that such an address would fail only when mail is sent. Domains may be internationalized
(IDNA 2008, RFC 5891), which no relay needs to support: SMTP receives their ASCII form. Local parts may have other than
ASCII characters (RFC 6531); they need a relay with the extension SMTPUTF8.
"""

import re
from typing import Final
from unicodedata import normalize

import idna

from voxrec.error_codes import FieldErrorCode
from voxrec.errors import InvalidValue

MAX_LENGTH: Final = 254  # octets: a path has at most 256, including "<" and ">" (RFC 5321 section 4.5.3.1.3)
MAX_LOCAL_PART: Final = 64  # octets (section 4.5.3.1.1)
MAX_LABEL: Final = 63  # octets (RFC 1035 section 2.3.4)
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010ffff-]+"
_LABEL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_DOT_ATOM: Final = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")


class MailAddressError(InvalidValue):
    """The text is not an email address that voxrec can send to. The message completes "the address ..."."""


def check_mail_address(text: str) -> None:
    """Raise `MailAddressError` unless ``text`` is one email address such as ``desk@example.org``."""
    encode_mail_address(text)


def is_mail_address(text: str) -> bool:
    """Return whether ``text`` is one email address."""
    try:
        encode_mail_address(text)
    except MailAddressError:
        return False
    return True


def encode_mail_address(text: str) -> str:
    """Return the form of an address that SMTP sends.

    The domain is in its ASCII form, ``xn--...``, and the local part is normalized (NFC, RFC 6532 section 3.1). Raises
    `MailAddressError`.
    """
    local_part, at, domain = text.rpartition("@")
    if not at:
        raise MailAddressError("has no @", FieldErrorCode.MAIL_NO_AT, {"address": text})
    local_part = normalize("NFC", local_part)
    _check_local_part(text, local_part)
    domain = _encode_domain(text, domain)
    _check_domain(text, domain)
    address = f"{local_part}@{domain}"
    if (octets := len(address.encode())) > MAX_LENGTH:
        raise MailAddressError(
            f"is {octets} octets long; at most {MAX_LENGTH} are allowed",
            FieldErrorCode.MAIL_TOO_LONG,
            {"address": text, "maximum": MAX_LENGTH},
        )
    return address


def needs_smtputf8(text: str) -> bool:
    """Return whether a valid address can only be sent to a relay with SMTPUTF8: its local part is not ASCII."""
    return not encode_mail_address(text).isascii()


def mailbox_key(text: str) -> str:
    """Return what is equal for the different spellings of one address; of an invalid one, the text itself."""
    try:
        return encode_mail_address(text)
    except MailAddressError:
        return text


def caseless_mailbox_key(text: str) -> str:
    """Return the `mailbox_key` without letter case, which no known mail system distinguishes before the @.

    Letter by letter, since ``casefold`` would join different mailboxes, such as straße and strasse.
    """
    return "".join(letter.lower() for letter in mailbox_key(text))


def spellings(text: str) -> list[str]:
    """Return an address as it is given, and with its domain in ASCII and in Unicode, each once."""
    encoded = mailbox_key(text)
    local_part, _, domain = encoded.rpartition("@")
    try:
        decoded = f"{local_part}@{idna.decode(domain)}" if local_part else encoded
    except UnicodeError:  # such as a domain in ASCII that was registered under older rules
        decoded = encoded
    return [*dict.fromkeys((text, encoded, decoded))]


def _check_local_part(address: str, local_part: str) -> None:
    octets = len(local_part.encode("utf-8", "replace"))
    if octets > MAX_LOCAL_PART:
        raise MailAddressError(
            f"has {octets} octets before the @; at most {MAX_LOCAL_PART} are allowed",
            FieldErrorCode.MAIL_LOCAL_PART_TOO_LONG,
            {"address": address, "maximum": MAX_LOCAL_PART},
        )
    if not _DOT_ATOM.fullmatch(local_part) or not local_part.isprintable():
        raise MailAddressError(
            "needs before the @ letters, digits, !#$%&'*+-/=?^_`{|}~ and single dots between them; "
            "quoted local parts are not supported",
            FieldErrorCode.MAIL_LOCAL_PART,
            {"address": address},
        )
    if "=?" in local_part:
        raise MailAddressError(
            "must not contain =?, with which encoded words (RFC 2047) begin",
            FieldErrorCode.MAIL_LOCAL_PART,
            {"address": address},
        )


def _encode_domain(address: str, domain: str) -> str:
    """Return the ASCII form of a domain name, which has no other form if it is ASCII."""
    if domain.isascii():
        return domain
    if len(domain) > MAX_LENGTH:
        raise MailAddressError(
            f"has a domain name of {len(domain)} characters; at most {MAX_LENGTH} are allowed",
            FieldErrorCode.MAIL_TOO_LONG,
            {"address": address, "maximum": MAX_LENGTH},
        )
    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except UnicodeError as error:  # IDNAError is one
        raise MailAddressError(
            f"needs a valid international domain name after the @ (IDNA 2008): {error}",
            FieldErrorCode.MAIL_DOMAIN,
            {"address": address},
        ) from error


def _check_domain(address: str, domain: str) -> None:
    labels = domain.split(".")
    for label in labels:
        if len(label) > MAX_LABEL:
            raise MailAddressError(
                f"has a domain label of {len(label)} octets; at most {MAX_LABEL} are allowed",
                FieldErrorCode.MAIL_DOMAIN,
                {"address": address},
            )
        if not _LABEL.fullmatch(label):
            raise MailAddressError(
                "needs a domain name after the @: labels of letters, digits and inner hyphens, separated by single "
                "dots",
                FieldErrorCode.MAIL_DOMAIN,
                {"address": address},
            )
    if labels[-1].isdigit():
        raise MailAddressError(
            "needs a domain name after the @, not an IP address", FieldErrorCode.MAIL_DOMAIN, {"address": address}
        )
