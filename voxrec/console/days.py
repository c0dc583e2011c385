"""Days as a viewer sees them, in the time zone that the browser reports."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*")
_OFFSET: Final = re.compile(r"-?[0-9]{1,4}")  # minutes
_MAX_OFFSET: Final = 24 * 60 - 1  # minutes; datetime permits less than a day


def zone_of(fields: Mapping[str, str]) -> str:
    """Return the time zone in the fields of a form or a URL. Bookmarks of earlier versions have the offset from UTC."""
    return fields.get("zone", fields.get("offset", "")).strip()


def today(now: datetime, zone: str) -> str:
    """Return the current day in a time zone, such as 2026-01-31; ``zone`` as for `start_of_day`."""
    return now.astimezone(_time_zone(zone)).date().isoformat()


def start_of_day(day: str, zone: str, days: int = 0) -> str:
    """Return the time at which a day begins in a time zone, ``days`` later.

    ``zone`` is a name such as Europe/Berlin, or the minutes east of UTC; UTC is used instead of an unknown one. What is
    not a day is returned as it is, for the REST API to refuse it.
    """
    try:
        start = datetime.combine(date.fromisoformat(day) + timedelta(days=days), time(), _time_zone(zone))
        return start.astimezone(UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError):
        return day


def _time_zone(text: str) -> tzinfo:
    if _OFFSET.fullmatch(text):
        return timezone(timedelta(minutes=max(-_MAX_OFFSET, min(int(text), _MAX_OFFSET))))
    try:
        return ZoneInfo(text) if _NAME.fullmatch(text) else UTC
    except (KeyError, ValueError, OSError):  # such as one that only the browser knows, or a directory
        return UTC
