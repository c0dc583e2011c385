"""Query parameters that several resources share, and those whose values follow the grammar of a field.

A "+" that is not percent-encoded arrives as a space (application/x-www-form-urlencoded). A value that can match nothing
is refused, because a client would take the empty list for an answer.
"""

import re
from typing import Final

from voxrec import sipuri
from voxrec.error_codes import FieldErrorCode
from voxrec.errors import InvalidValue
from voxrec.mailaddress import MailAddressError, check_mail_address
from voxrec.model.fields import E164
from voxrec.web.parameters import MAX_TEXT_LENGTH, require_length, text, uuids
from voxrec.web.query import query_parameter

MAX_ADDRESSES: Final = 50
"""Mail addresses in one parameter."""
_ENCODE_PLUS: Final = "; write + as %2B in a query"
_NUMBER: Final = re.compile(E164)
_UNENCODED_NUMBER: Final = re.compile(r"\s+[0-9]")
_SIP_URI: Final = re.compile(r"[Ss][Ii][Pp][Ss]?:[!-~]+")

profile_ids = uuids("Only items of these profiles: one or more ids, separated by commas.")


@query_parameter(type="string", pattern=E164, examples=["+4930123456"])
def phone_number(value: str) -> str:
    """Only the profile with this number (E.164)."""
    if not _NUMBER.fullmatch(value):
        raise InvalidValue(
            f"must be a number in the format E.164, such as +4930123456{_ENCODE_PLUS}",
            FieldErrorCode.WRONG_FORMAT,
            {"example": "+4930123456"},
        )
    return value


@query_parameter(type="string", format="mail-address", examples=["desk@example.org"])
def mail_address(value: str) -> str:
    """One email address, in any letter case; the domain in Unicode or as xn--."""
    try:
        check_mail_address(value)
    except MailAddressError as error:
        hint = _ENCODE_PLUS if " " in value else ""
        message = f"must be one email address, such as desk@example.org: it {error}{hint}"
        raise MailAddressError(message, error.code, error.params) from None
    return value


@query_parameter(type="string", format="mail-address-list", examples=["desk@example.org,sales@example.org"])
def mail_address_list(value: str) -> tuple[str, ...]:
    """Only profiles with this email address, or one of several, separated by commas without spaces.

    Letter case does not matter, and domains may be in Unicode or as xn--.
    """
    addresses = value.split(",")
    if len(addresses) > MAX_ADDRESSES:
        message = f"must be at most {MAX_ADDRESSES} email addresses; there are {len(addresses)}"
        raise InvalidValue(message, FieldErrorCode.TOO_MANY, {"maximum": MAX_ADDRESSES})
    return tuple(mail_address.parse(address) for address in addresses)


@query_parameter(type="string", pattern=f"^{_SIP_URI.pattern}$", maxLength=sipuri.MAX_LENGTH)
def sip_uri(value: str) -> str:
    """Only profiles with exactly this SIP URI."""
    # not sipuri.parse: earlier versions stored URIs that it rejects, and an operator may look for these
    require_length(value, sipuri.MAX_LENGTH)
    if not _SIP_URI.fullmatch(value):
        raise InvalidValue(
            f"must be a SIP URI, such as sip:desk@pbx.example{_ENCODE_PLUS}",
            FieldErrorCode.WRONG_FORMAT,
            {"example": "sip:desk@pbx.example"},
        )
    return value


@query_parameter(type="string", pattern=r"^[^\u0000]*[^\u0000\s][^\u0000]*$", maxLength=MAX_TEXT_LENGTH)
def nonblank_text(value: str) -> str:
    """Text with at least one character that is not white space."""
    if value and not value.strip():
        raise InvalidValue("must have a character that is not white space", FieldErrorCode.BLANK)
    return text.parse(value).strip()


search_text = nonblank_text.described_as(
    "Only profiles with this text in the name, in any letter case, or in a number, or with this id."
)


@query_parameter(type="string", pattern=r"^(?!\s+[0-9])[^\u0000]+$", maxLength=MAX_TEXT_LENGTH)
def party(value: str) -> str:
    """A number or another user part of a SIP URI, as the other side sent it."""
    if _UNENCODED_NUMBER.match(value):
        raise InvalidValue(f"must not begin with a space{_ENCODE_PLUS}", FieldErrorCode.UNENCODED_PLUS)
    return text.parse(value)
