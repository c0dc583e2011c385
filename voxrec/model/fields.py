"""The constrained field types that several domain types share. JSON Schema is generated from the same constraints."""

import math
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta

from voxrec import sipuri
from voxrec.error_codes import FieldErrorCode
from voxrec.errors import FieldError

T = TypeVar("T", bound=Hashable)

E164: Final = r"^\+[1-9][0-9]{1,14}$"  # ITU-T E.164: at most 15 digits
# no control characters, no white space at the ends
TRIMMED_TEXT: Final = r"^[^\x00-\x20\x7f-\xa0](?:[^\x00-\x1f\x7f-\x9f]*[^\x00-\x20\x7f-\xa0])?$(?!\n)"
# as `TRIMMED_TEXT`, and no comma, which separates tags in a query
TAG: Final = r"[^\x00-\x20\x7f-\xa0,](?:[^\x00-\x1f\x7f-\x9f,]{0,62}[^\x00-\x20\x7f-\xa0,])?"
MAX_TAGS: Final = 50  # of one Recording
METADATA_LIMIT: Final = 8192  # bytes of JSON
MAX_NUMBERS: Final = 1000  # of one Profile
_WITHOUT_EXPONENT: Final = 17  # digits of a float that JSON has no exponent for
_HEX: Final = "[0-9A-Fa-f]{1,4}"
_IPV6: Final = (
    rf"(?:{_HEX}:){{7}}{_HEX}|(?:{_HEX}(?::{_HEX}){{0,4}})?::(?:{_HEX}(?::{_HEX})?)?|"
    rf"(?:{_HEX}(?::{_HEX})?)?::(?:{_HEX}(?::{_HEX}){{0,4}})?"
)
_PORT: Final = "(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
HTTP_URL: Final = re.compile(
    rf"^https?://(?:[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_.])?|\[(?:{_IPV6})\])(?::{_PORT})?(?:[/?#][!-~]*)?$"
)

# ``extra_json_schema`` expresses in JSON Schema what ``field_errors()`` checks.
_NO_NUL: Final = r"^[^\u0000]*$"  # PostgreSQL cannot store NUL
Text255 = Annotated[str, Meta(max_length=255, extra_json_schema={"pattern": _NO_NUL})]
Uuid4 = Annotated[
    UUID,
    Meta(
        extra_json_schema={
            "pattern": "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-4[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}$"
        }
    ),
]
Email = Annotated[
    str,
    Meta(
        max_length=255,
        description="One email address, or several separated by commas: without quotes, at most 64 octets before the @ "
        "and labels of at most 63 after it. Domains may be internationalized. Other characters than ASCII before the @ "
        "need a mail relay with the extension SMTPUTF8.",
        examples=["desk@example.org, archive@example.org"],
        extra_json_schema={"format": "mail-addresses"},
    ),
]
RemoteSipUri = Annotated[
    str,
    Meta(
        max_length=sipuri.MAX_LENGTH,
        description="The SIP URI of the far end to call (RFC 3261 section 19.1.1), without headers.",
        examples=["sip:desk@pbx.example:5061;transport=tls"],
        extra_json_schema={"format": "sip-uri"},
    ),
]
WebhookUrl = Annotated[
    str,
    Meta(max_length=2048, examples=["https://crm.example/calls"], extra_json_schema={"pattern": HTTP_URL.pattern}),
]
PhoneNumbers = Annotated[
    tuple[Annotated[str, Meta(pattern=E164, examples=["+4930123456"])], ...],
    Meta(
        description="Dialled numbers (E.164) that also select this Profile. A number belongs to one Profile only.",
        extra_json_schema={"uniqueItems": True, "maxItems": MAX_NUMBERS},
    ),
]
Metadata = Annotated[
    dict[str, Any],
    Meta(
        description="Custom data of the client, at most 8 KiB as JSON.",
        extra_json_schema={"examples": [{"customer": "42"}]},
    ),
]
Tag = Annotated[
    str,
    Meta(min_length=1, max_length=64, extra_json_schema={"pattern": f"^{TAG}$(?!\\n)", "examples": ["complaint"]}),
]
Tags = Annotated[
    tuple[Tag, ...],
    Meta(
        description="Labels, sorted: no control characters and commas, and no white space at the ends. Letter case "
        "matters.",
        extra_json_schema={"uniqueItems": True, "maxItems": MAX_TAGS, "examples": [["complaint", "VIP"]]},
    ),
]
Timestamp = Annotated[datetime, Meta(tz=True)]
Seconds = Annotated[int, Meta(ge=0, le=86400)]
PositiveSeconds = Annotated[int, Meta(ge=1, le=86400)]
DtmfCode = Annotated[
    str, Meta(pattern=r"^[0-9*#]{1,8}$", description="DTMF digits that a party dials.", examples=["*1"])
]
Language = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z]{2,3}([_-][A-Za-z0-9]{2,8})*$",
        max_length=20,
        description="Language of the announcements, if Asterisk has its sounds in this language.",
        examples=["de", "pt_BR"],
    ),
]
Cause = Annotated[int, Meta(description="Q.850 cause code.", extra_json_schema={"minimum": 0, "maximum": 127})]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


def metadata_errors(metadata: dict[str, Any]) -> list[FieldError]:
    """Return an error if ``metadata`` is larger than `METADATA_LIMIT` bytes as JSON, as it is sent or as it is read.

    PostgreSQL returns 1e300 as a number of 301 digits, so that small metadata could become large.
    """
    digits = (abs(math.log10(abs(number))) for number in _floats(metadata) if number)
    size = len(msgspec.json.encode(metadata)) + int(sum(count for count in digits if count > _WITHOUT_EXPONENT))
    if size <= METADATA_LIMIT:
        return []
    message = f"is {size} bytes as JSON; at most {METADATA_LIMIT} are allowed"
    return [FieldError("metadata", message, FieldErrorCode.TOO_MANY_BYTES, {"maximum": METADATA_LIMIT})]


def tag_errors(tags: Sequence[str]) -> list[FieldError]:
    """Return an error for each tag that is not allowed or occurs twice, or a single one if there are too many."""
    if len(tags) > MAX_TAGS:
        message = f"has {len(tags)} tags; at most {MAX_TAGS} are allowed"
        return [FieldError("tags", message, FieldErrorCode.TOO_MANY, {"maximum": MAX_TAGS})]
    rule = "a tag must have 1 to 64 characters, without control characters, commas, and white space at its ends"
    return [
        *(
            FieldError("tags", f"{rule}: {tag!r}", FieldErrorCode.TAG_INVALID, {"value": tag})
            for tag in tags
            if not re.fullmatch(TAG, tag)
        ),
        *(
            FieldError("tags", f"duplicate tag {tag!r}", FieldErrorCode.DUPLICATE, {"value": tag})
            for tag in duplicates(tags)
        ),
    ]


def _floats(metadata: dict[str, Any]) -> Iterator[float]:
    pending: list[Any] = [metadata]
    while pending:
        match pending.pop():
            case dict() as values:
                pending += values.values()
            case list() as values:
                pending += values
            case float() as number:
                yield number


def url_errors(field: str, url: str) -> list[FieldError]:
    """Return what is wrong with the URL of a webhook."""
    if HTTP_URL.fullmatch(url):
        return []
    if re.match(r"https?://[^/?#]*@", url):
        message = "must not contain a user or password; use a webhook with the header Authorization instead"
        return [FieldError(field, message, FieldErrorCode.URL_WITH_PASSWORD)]
    message = (
        f"invalid URL {url!r}; expected http:// or https:// with a host, and a port from 1 to 65535 if there is one"
    )
    return [FieldError(field, message, FieldErrorCode.URL_INVALID)]


def duplicates(values: Iterable[T]) -> list[T]:
    """Return the values that occur more than once, in the order of their first occurrence."""
    return [value for value, count in Counter(values).items() if count > 1]


def doc(text: str) -> Meta:
    """Return the description of a field, for the JSON Schema."""
    return Meta(description=text)
