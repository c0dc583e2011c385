"""Notes of people about a Recording."""

from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from voxrec.error_codes import FieldErrorCode
from voxrec.errors import FieldError
from voxrec.model.fields import Timestamp, doc
from voxrec.model.principal_key import principal_key

NoteText = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=10_000,
        description="Text, with a character that is not white space.",
        extra_json_schema={"pattern": r"^[^\u0000]*[^\s\u0000][^\u0000]*$", "examples": ["The caller agrees."]},
    ),
]
NotePosition = Annotated[
    float, Meta(ge=0, le=1_000_000, description="Seconds from the beginning of the audio. Null: the whole recording.")
]


class Note(Struct, frozen=True, kw_only=True, rename="camel"):
    """A note of a user about a recording."""

    id: Annotated[UUID, doc("Id of the note.")]
    recording_id: Annotated[UUID, doc("Id of the recording.")]
    text: NoteText
    position: NotePosition | None = None
    author: Annotated[str, doc("Name of the user or token that created the note.")]
    user_id: Annotated[UUID | None, doc("Id of the user. Null: a token created the note.")] = None
    token_id: Annotated[UUID | None, doc("Id of the token. Null for a user, and for the token of the settings.")] = None
    created_at: Annotated[Timestamp, doc("Time of creation.")]
    updated_at: Annotated[Timestamp, doc("Time of the last change.")]

    @property
    def author_key(self) -> UUID | str:
        """What distinguishes the author from others, see `principal_key`."""
        return principal_key(self.token_id, self.user_id, self.author)


def note_errors(text: str) -> list[FieldError]:
    """Return an error if the text of a note has only white space."""
    if text.strip():
        return []
    return [FieldError("text", "must contain a character that is not white space", FieldErrorCode.BLANK)]
