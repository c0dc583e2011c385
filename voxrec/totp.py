"""Time-based one-time codes (RFC 6238), and the recovery codes for users who have lost the device that shows them."""

import base64
import re
import secrets
from datetime import datetime
from typing import Final

from pyotp import TOTP, random_base32
from pyotp.exceptions import OTPVerificationError

_WINDOW: Final = 1  # time steps of 30 s before and after the current one, for clocks that differ (RFC 6238 section 5.2)
RECOVERY_CODES: Final = 10
_RECOVERY_BYTES: Final = 10  # 80 bits: a fast hash suffices, as for tokens
_RECOVERY_CODE: Final = re.compile(r"[A-Z2-7]{16}")
_IGNORED: Final = re.compile(r"[\s-]+")


def generate_secret() -> str:
    """Return a new secret of 160 random bits in Base32, as RFC 4226 section 4 recommends."""
    return random_base32()


def provisioning_uri(secret: str, user: str, issuer: str) -> str:
    """Return the URI that authenticator applications read from a QR code (Google's Key URI Format)."""
    return TOTP(secret).provisioning_uri(name=user, issuer_name=issuer)


def matching_step(secret: str, code: str, now: datetime) -> int | None:
    """Return the time step to which a code belongs, or None if it is wrong, or older or newer than a step.

    A caller accepts a code only if its step is later than that of the last one, so that no code is accepted twice (RFC
    6238 section 5.2).
    """
    try:
        return TOTP(secret).verify_and_get_timecode(normalized(code), for_time=now, valid_window=_WINDOW)
    except OTPVerificationError:
        return None


def generate_recovery_codes() -> tuple[str, ...]:
    """Return new recovery codes, each of 80 random bits, in groups of four characters."""
    random = [secrets.token_bytes(_RECOVERY_BYTES) for _ in range(RECOVERY_CODES)]
    return tuple(_grouped(base64.b32encode(each).decode()) for each in random)


def is_recovery_code(code: str) -> bool:
    """Return whether a text has the format of a recovery code. Spaces, hyphens and letter case do not matter."""
    return _RECOVERY_CODE.fullmatch(normalized(code)) is not None


def normalized(code: str) -> str:
    """Return a code without what people and applications add to it for legibility."""
    return _IGNORED.sub("", code).upper()


def _grouped(text: str) -> str:
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))
