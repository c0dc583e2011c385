"""What resources that clients create have in common."""

from typing import Any
from uuid import uuid4

from voxrec.api.clock import UtcNow


def initial_values(now: UtcNow) -> dict[str, Any]:
    """Return the id and the timestamps of a new resource, by attribute."""
    created_at = now()
    return {"id": uuid4(), "created_at": created_at, "updated_at": created_at}
