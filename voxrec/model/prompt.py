"""Prompts: custom announcements."""

from datetime import datetime
from typing import Annotated

from msgspec import Struct

from voxrec.model.fields import Sha256, Text255, Uuid4, doc


class Prompt(Struct, frozen=True, kw_only=True, rename="camel"):
    """A custom announcement."""

    id: Annotated[Uuid4, doc("Id of the Prompt, a UUID of version 4.")]
    name: Annotated[Text255 | None, doc("Name for people.")] = None
    created_at: Annotated[datetime, doc("Time of creation.")]
    updated_at: Annotated[datetime, doc("Time of the last change.")]
    duration: Annotated[float | None, doc("Duration of the audio in seconds. Null until it is uploaded.")] = None
    size: Annotated[int | None, doc("Size of the audio in bytes. Null until it is uploaded.")] = None
    sha256: Annotated[Sha256 | None, doc("SHA-256 digest of the audio. Null until it is uploaded.")] = None
