"""The body of POST /recordings/<id>: new values of fields, and pausing or resuming a live Recording."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import fields

from voxrec.conversion import convert_fields
from voxrec.error_codes import FieldErrorCode
from voxrec.errors import FieldError
from voxrec.model import PauseBehavior, Recording, RecordingState, metadata_errors, tag_errors
from voxrec.model.fields import Tags
from voxrec.web.body import BodySchema, PartialUpdateBody, decode_json_object
from voxrec.web.partial_update import PartialUpdate, require_no_errors
from voxrec.web.request import Request

RECORDING_KEYS: Final = frozenset(field.encode_name for field in fields(Recording))
CHANGEABLE_KEYS: Final = frozenset({"metadata", "tags", "legalHold"})
_REQUESTABLE_STATES: Final = (RecordingState.PAUSED, RecordingState.RECORDING)

ResumeAfter = Annotated[
    int, Meta(ge=1, le=86400, description="Seconds after which a paused recording resumes automatically.")
]
_UpdateModel: Final[Any] = msgspec.defstruct(
    "Recording",
    [
        ("metadata", dict[str, Any]),
        ("tags", Tags),
        ("legal_hold", bool, msgspec.field(name="legalHold")),
        ("state", Literal["paused", "recording"]),
        ("pause_behavior", PauseBehavior, msgspec.field(name="pauseBehavior")),
        ("resume_after", ResumeAfter, msgspec.field(name="resumeAfter")),
    ],
)


class PauseRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The part of an update that pauses or resumes a live Recording. ``state`` None: neither."""

    state: Literal["paused", "recording"] | None = None
    pause_behavior: PauseBehavior | None = None
    resume_after: ResumeAfter | None = None

    @classmethod
    def pop_from(cls, document: dict[str, Any]) -> "PauseRequest":
        """Remove the keys of this part from ``document`` and return their values. Raises InvalidInput."""
        keys = set(cls.__struct_encode_fields__)
        if document.get("state") not in _REQUESTABLE_STATES:
            keys.discard("state")  # possibly the current state, repeated by the client
        values, field_errors = convert_fields(cls, {key: document.pop(key) for key in keys & document.keys()})
        pause = cls(**values)
        if pause.state != "paused":
            field_errors += [
                FieldError(key, 'is allowed with "state": "paused" only', FieldErrorCode.ONLY_WITH_PAUSE)
                for key, value in (("pauseBehavior", pause.pause_behavior), ("resumeAfter", pause.resume_after))
                if value is not None
            ]
        require_no_errors(field_errors)
        return pause

    def changes(self, recording: Recording) -> bool:
        """Return whether the Recording has to be paused or resumed, or paused for another time."""
        return self.state is not None and (recording.state != self.state or self.resume_after is not None)


@dataclass(frozen=True, slots=True)
class RecordingUpdate:
    """An update of a Recording: of its stored fields, and of the recording of a live call."""

    pause: PauseRequest
    fields: PartialUpdate[Recording]


class RecordingUpdateBody:
    """The request body; the handler receives a RecordingUpdate."""

    schema = BodySchema(_UpdateModel)
    _fields = PartialUpdateBody(
        Recording,
        read_only=(RECORDING_KEYS - CHANGEABLE_KEYS) | {"audioUrl"},
        validators=(lambda recording, _: [*metadata_errors(recording.metadata), *tag_errors(recording.tags)],),
    )

    async def bind(self, request: Request) -> RecordingUpdate:
        """Return the update. Raises BadRequest, UnsupportedMedia, or InvalidInput if pausing is requested wrongly."""
        document = decode_json_object(request)
        pause = PauseRequest.pop_from(document)
        update = await self._fields.bind_object(request, document)
        if "tags" in update.values:
            update = replace(update, values={**update.values, "tags": tuple(sorted(update.values["tags"]))})
        return RecordingUpdate(pause, update)
