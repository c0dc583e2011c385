"""Profiles and Recordings for tests, each with an id of its own."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from voxrec.model import Profile, Recording, RecordingState

NOON = datetime(2026, 5, 4, 12, 0, 0, 123456, tzinfo=UTC)


def later(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def profile(**fields: Any) -> Profile:
    return Profile(**{"id": uuid4(), "created_at": NOON, "updated_at": NOON, **fields})


def recording(**fields: Any) -> Recording:
    defaults = {
        "id": uuid4(),
        "profile_id": uuid4(),
        "state": RecordingState.RECORDING,
        "created_at": NOON,
        "updated_at": NOON,
    }
    return Recording(**{**defaults, **fields})
