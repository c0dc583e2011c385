"""The JSON representation of Recordings: with the URL of the audio instead of its path in the archive."""

from collections.abc import Callable, Sequence
from inspect import getdoc
from operator import attrgetter
from typing import Any, Final

import msgspec
from msgspec.structs import fields

from voxrec.api.resources import Representation
from voxrec.model import Note, Recording

_INTERNAL: Final = frozenset({"path", "stored_object", "pause_code", "resume_code"})
_SHARED_FIELDS: Final = tuple(field for field in fields(Recording) if field.name not in _INTERNAL)
_shared_values: Final = attrgetter(*(field.name for field in _SHARED_FIELDS))
RecordingModel: Final[Any] = msgspec.defstruct(
    "Recording",
    [
        *((field.name, field.type, msgspec.field(name=field.encode_name)) for field in _SHARED_FIELDS),
        ("audio_url", str | None, msgspec.field(name="audioUrl")),
    ],
    namespace={"__doc__": f"{getdoc(Recording)} ``audioUrl`` is null until the audio is available."},
)
"""The type of a Recording in responses."""


def recording_url(public_url: str, recording: Recording) -> str:
    """Return the URL of a Recording."""
    return f"{public_url}/recordings/{recording.id}"


def recording_representation(public_url: str) -> Representation[Recording]:
    """Return the representation of Recordings in an API at ``public_url``."""

    def encode(recording: Recording) -> bytes:
        audio_url = None if recording.path is None else f"{recording_url(public_url, recording)}/audio"
        return msgspec.json.encode(RecordingModel(*_shared_values(recording), audio_url), order="deterministic")

    return Representation(encode)


def recording_with_notes(public_url: str) -> Callable[[Recording, Sequence[Note]], bytes]:
    """Return a function that returns the JSON of a Recording with the field ``notes``, for exports."""
    encode = recording_representation(public_url).encode

    def encode_with_notes(recording: Recording, notes: Sequence[Note]) -> bytes:
        return b'%s,"notes":%s}' % (encode(recording).removesuffix(b"}"), msgspec.json.encode(notes))

    return encode_with_notes
