"""Comparison of a read-only field that a client sends back with its current value: by value, not by text.

Clients parse a resource into types of their own and write these in other notations of the same value: Python writes
UTC as "+00:00", JavaScript has milliseconds instead of microseconds, and 1.0 may be sent as 1.
"""

import re
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

_FRACTION: Final = re.compile(r":[0-9]{2}(?:[.,]([0-9]*))?(?:[Zz]|[+-][0-9:]{2,8})?$")  # the end of an RFC 3339 time


def is_repeated(sent: object, current: object, type_: Any) -> bool:
    """Return whether ``sent`` is the value ``current`` of a field with this type; both are decoded JSON.

    Times are compared at the precision of ``sent``: JavaScript's Date has milliseconds, and Ruby's iso8601 seconds.
    """
    current_value = msgspec.convert(_integral_to_int(current), type_)
    if isinstance(current_value, datetime):
        return isinstance(sent, str) and _is_same_time(sent, current_value)
    try:
        return bool(msgspec.convert(_integral_to_int(sent), type_) == current_value)
    except msgspec.ValidationError:
        return False


def _is_same_time(text: str, current: datetime) -> bool:
    try:
        sent = datetime.fromisoformat(text.upper())
    except ValueError:
        return False
    precision = _precision(text)
    return sent.tzinfo is not None and -precision < sent - current <= precision / 2  # truncated, or rounded


def _precision(text: str) -> timedelta:
    """Return the value of the last digit of a time in this notation."""
    match = _FRACTION.search(text)
    digits = len(match[1] or "") if match else 6
    return timedelta(microseconds=10 ** max(0, 6 - digits))


def _integral_to_int(value: object) -> object:
    """Convert 5.0 to 5, at any depth: some clients have only one type of number."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [_integral_to_int(item) for item in value]
        case dict():
            return {key: _integral_to_int(item) for key, item in value.items()}
    return value
