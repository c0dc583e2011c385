"""The header Retry-After of HTTP responses (RFC 9110 section 10.2.3), as a remote server may send anything in it."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def retry_after_seconds(value: str, now: datetime, limit: float) -> float | None:
    """Return the delay that the value of the header demands, from 0 to ``limit`` seconds; None if it is invalid."""
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), limit)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):  # the latter if a number in it is too large
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max((moment - now).total_seconds(), 0.0), limit)
