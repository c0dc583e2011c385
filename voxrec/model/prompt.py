"""Prompts: custom announcements."""

from datetime import datetime

from msgspec import Struct

from voxrec.model.fields import Sha256, Text255, Uuid4


class Prompt(Struct, frozen=True, kw_only=True, rename="camel"):
    """A custom announcement.

    ``duration`` (seconds), ``size`` (bytes) and ``sha256`` are null until its audio is uploaded.
    """

    id: Uuid4
    name: Text255 | None = None
    created_at: datetime
    updated_at: datetime
    duration: float | None = None
    size: int | None = None
    sha256: Sha256 | None = None
