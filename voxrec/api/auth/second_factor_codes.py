"""The codes of second factors: their set-up, what a user enters, and which codes are accepted."""

from collections.abc import Collection
from typing import Annotated, Final
from uuid import UUID

from msgspec import Meta, Struct

from voxrec import totp
from voxrec.clock import UtcNow
from voxrec.model.fields import Timestamp, doc
from voxrec.store.second_factors import AcceptedCode, SecondFactors
from voxrec.store.tokens import generate_secret, hash_secret

ISSUER: Final = "voxrec"
"""The name of the account in authenticator applications."""

_TICKET_PREFIX: Final = "vxc_"


class CodeEntry(Struct, frozen=True, kw_only=True, rename="camel"):
    """A code, and the ticket of the challenge that it belongs to."""

    ticket: Annotated[str, Meta(min_length=1, max_length=100)]
    code: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=40,
            description="The code that the authenticator application shows, or a recovery code.",
            examples=["492039"],
        ),
    ]


class EnrolmentData(Struct, frozen=True, kw_only=True, rename="camel"):
    """What an authenticator application needs. The second factor is stored when its first code is entered."""

    secret: Annotated[str, doc("Secret of the codes (RFC 6238), in Base32.")]
    uri: Annotated[str, doc("The same as a URI, for a QR code.")]


class CodeChallenge(Struct, frozen=True, kw_only=True, rename="camel"):
    """The password was right, and a code is required."""

    ticket: Annotated[str, doc("Ticket to be sent with the code.")]
    expires_at: Annotated[Timestamp, doc("Time until which the code can be entered.")]
    enrolment: Annotated[
        EnrolmentData | None,
        doc("A new second factor, if one is required and the user has none. Null: the user has one."),
    ]


async def accepted_code(second_factors: SecondFactors, user_id: UUID, code: str, now: UtcNow) -> AcceptedCode | None:
    """Return what is used up if ``code`` is accepted; None if it is wrong or has been used."""
    if totp.is_recovery_code(code):
        return AcceptedCode(recovery_hash=hash_secret(totp.normalized(code)))
    second_factor = await second_factors.find(user_id)
    step = None if second_factor is None else totp.matching_step(second_factor.secret, code, now())
    return None if step is None else AcceptedCode(step=step)


def new_enrolment(user_name: str) -> EnrolmentData:
    """Return a new second factor, which is not stored."""
    secret = totp.generate_secret()
    return EnrolmentData(secret=secret, uri=totp.provisioning_uri(secret, user_name, ISSUER))


def new_ticket() -> str:
    """Return the ticket of a new challenge."""
    return generate_secret(_TICKET_PREFIX)


def recovery_hashes(codes: Collection[str]) -> list[bytes]:
    """Return the hashes of recovery codes, as they are stored."""
    return [hash_secret(totp.normalized(code)) for code in codes]
