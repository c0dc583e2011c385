"""Access tokens of the REST API, and the roles of tokens and users."""

import enum
import re
import unicodedata
from collections.abc import Iterable
from typing import Annotated, Final
from uuid import UUID

from msgspec import Meta, Struct

from voxrec.error_codes import FieldErrorCode
from voxrec.errors import FieldError
from voxrec.model.fields import TRIMMED_TEXT, Timestamp, doc, duplicates

ADMINISTRATOR: Final = "admin"
"""Name of the user of `rest.admin_token` in the audit log."""

# Letters that look like those of ADMINISTRATOR, after compatibility decomposition and case folding (Unicode UTS #39).
_LOOK_ALIKES: Final = {
    **dict.fromkeys("@4\u0251\u03b1\u0430", "a"),  # Latin alpha, Greek alpha, Cyrillic a
    **dict.fromkeys("\u0111\u0256\u0257\u0501", "d"),  # d with stroke, tail, hook; Cyrillic komi de
    **dict.fromkeys("\u0271\u043c", "m"),  # m with hook, Cyrillic em
    **dict.fromkeys("!1l|\u0131\u0269\u03b9\u0456\u04cf", "i"),  # dotless i, Latin and Greek iota, Cyrillic i, palochka
    **dict.fromkeys("\u014b\u0272\u0274\u03b7\u043f\u0578", "n"),  # eng, n with hook, small capital n, eta, pe, vo
}
_INVISIBLE: Final = (
    r"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
)
_INVISIBLE_CHARACTER: Final = re.compile(f"[{_INVISIBLE}]")  # or one that changes the direction of the text


class Role(enum.StrEnum):
    """Permissions of a token or a user. Each role includes those before it.

    - ``read``: retrieve
    - ``supervise``: pause, resume and record live calls, hang up, change tags, and write notes
    - ``provision``: create, change and delete Profiles, Recordings, prompts and webhooks
    - ``admin``: tokens, users, nodes and the audit log
    """

    READ = "read"
    SUPERVISE = "supervise"
    PROVISION = "provision"
    ADMIN = "admin"

    def includes(self, required: "Role") -> bool:
        """Whether this role has all permissions of ``required``."""
        roles = tuple(Role)
        return roles.index(self) >= roles.index(required)


class Token(Struct, frozen=True, kw_only=True, rename="camel"):
    """An access token of the REST API, without its secret."""

    id: Annotated[UUID, doc("Id of the token.")]
    name: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=255,
            pattern=TRIMMED_TEXT,
            description="Name of the client that uses it, in the audit log too. It must not resemble `admin`.",
            extra_json_schema={"pattern": f"^(?!.*[{_INVISIBLE}]){TRIMMED_TEXT[1:]}"},
        ),
    ]
    role: Role
    profile_ids: Annotated[
        Annotated[tuple[UUID, ...], Meta(min_length=1, max_length=1000)] | None,
        doc("Profiles to which the token is restricted. Null: all Profiles."),
    ] = None
    listen_live: Annotated[
        bool, doc("Whether the token permits listening to live calls. No role includes this permission.")
    ] = False
    expires_at: Annotated[Timestamp | None, doc("Time at which the token expires. Null: never.")] = None
    created_at: Annotated[Timestamp, doc("Time of creation.")]
    revoked_at: Annotated[Timestamp | None, doc("Time at which the token was revoked.")] = None

    def field_errors(self) -> list[FieldError]:
        """Check what the types of the fields of a new token cannot express."""
        return [error for check in _TOKEN_CHECKS for error in check(self)]


def _check_expiry(token: Token) -> list[FieldError]:
    if token.expires_at is None:
        return []
    if token.expires_at.tzinfo is None:
        return [FieldError("expiresAt", "has no UTC offset, such as Z", FieldErrorCode.NO_UTC_OFFSET)]
    if token.expires_at <= token.created_at:
        return [FieldError("expiresAt", "is not in the future", FieldErrorCode.NOT_IN_FUTURE)]
    return []


def _check_profile_ids(token: Token) -> list[FieldError]:
    ids = token.profile_ids or ()
    if ids and token.role is Role.ADMIN:
        message = "not allowed for the role admin, which can create unrestricted tokens"
        return [FieldError("profileIds", message, FieldErrorCode.ROLE_WITHOUT_LIMITS)]
    return duplicate_profile_errors(ids)


def duplicate_profile_errors(profile_ids: Iterable[UUID]) -> list[FieldError]:
    """Return an error for each Profile that a limit names more than once."""
    return [
        FieldError("profileIds", f"duplicate id {profile_id}", FieldErrorCode.DUPLICATE, {"value": str(profile_id)})
        for profile_id in duplicates(profile_ids)
    ]


def _check_name(token: Token) -> list[FieldError]:
    return name_errors(token.name)


def name_errors(name: str) -> list[FieldError]:
    """Return what makes a name misleading in the audit log."""
    if _INVISIBLE_CHARACTER.search(name):
        return [FieldError("name", "must not contain invisible characters", FieldErrorCode.INVISIBLE_CHARACTERS)]
    if _skeleton(name) == ADMINISTRATOR:
        return [
            FieldError(
                "name",
                f"{name!r} could be confused with {ADMINISTRATOR!r}, the name of the configured administrator in "
                "the audit log; use another name, such as that of the client or person",
                FieldErrorCode.RESERVED_NAME,
                {"value": ADMINISTRATOR},
            )
        ]
    return []


def _skeleton(name: str) -> str:
    """Return a name as its reader perceives it: names with equal skeletons can be confused."""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).casefold())
    letters = [_LOOK_ALIKES.get(character, character) for character in decomposed]
    return "".join(letter for letter in letters if letter.isalnum()).replace("rn", "m")


_TOKEN_CHECKS: Final = (_check_expiry, _check_profile_ids, _check_name)
