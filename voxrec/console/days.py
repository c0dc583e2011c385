"""Days as a viewer sees them, whose time zone the browser reports as an offset from UTC."""

import re
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Final

_OFFSET: Final = re.compile(r"-?[0-9]{1,4}")  # minutes
_MAX_OFFSET: Final = 24 * 60 - 1  # minutes; datetime permits less than a day


def today(now: datetime, offset: str) -> str:
    """Return the current day for a viewer ``offset`` minutes east of UTC, such as 2026-01-31."""
    return now.astimezone(timezone(_minutes(offset))).date().isoformat()


def start_of_day(day: str, offset: str, days: int = 0) -> str:
    """Return the time at which a day begins for a viewer ``offset`` minutes east of UTC, ``days`` later.

    What is not a day is returned as it is, for the REST API to refuse it.
    """
    try:
        start = datetime.combine(date.fromisoformat(day) + timedelta(days=days), time(), timezone(_minutes(offset)))
    except (ValueError, OverflowError):
        return day
    return start.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _minutes(text: str) -> timedelta:
    number = int(text) if _OFFSET.fullmatch(text) else 0
    return timedelta(minutes=max(-_MAX_OFFSET, min(number, _MAX_OFFSET)))
