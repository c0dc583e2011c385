"""/recordings, and the same below the Profile that they belong to."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Annotated, Any, Final, Literal, Protocol
from uuid import UUID

import msgspec
from msgspec import Meta
from msgspec.structs import fields

from voxrec.api.clock import UtcNow
from voxrec.api.resources import initial_values
from voxrec.api.transaction_hooks import transaction_hook
from voxrec.api.validation import format_errors, uuid4_errors
from voxrec.conversion import convert_fields
from voxrec.errors import Conflict, FieldError, NotFound
from voxrec.model import PauseBehavior, Recording, RecordingState, metadata_errors
from voxrec.store.profiles import Profiles
from voxrec.store.recordings import RecordingFilter, Recordings
from voxrec.web.auth import Role, Scoped
from voxrec.web.body import BodySchema, JsonBody, PartialUpdateBody, decode_json_object
from voxrec.web.conditions import etag_of
from voxrec.web.pagination import LINK, PAGINATION, Paginator
from voxrec.web.parameters import some_of, text, timestamp
from voxrec.web.partial_update import PartialUpdate, require_no_errors
from voxrec.web.query import QueryParameter, query_parameter
from voxrec.web.request import Request
from voxrec.web.response import Response, conditional_get, created, no_content, updated
from voxrec.web.route import CONDITIONAL, ETAG, Route

_KEYS: Final = frozenset(field.encode_name for field in fields(Recording))
ResumeAfter = Annotated[
    int, Meta(ge=1, le=86400, description="Seconds after which a paused recording resumes by itself.")
]
_CHANGEABLE: Final = frozenset({"metadata", "legalHold"})
_STEERED: Final = (RecordingState.PAUSED, RecordingState.RECORDING)
# What may be said of an existing one; the state is steered, and not written like the rest.
_CHANGE: Final[Any] = msgspec.defstruct(
    "Recording",
    [
        ("metadata", dict[str, Any]),
        ("legal_hold", bool, msgspec.field(name="legalHold")),
        ("state", Literal["paused", "recording"]),
        ("pause_behavior", PauseBehavior, msgspec.field(name="pauseBehavior")),
        ("resume_after", ResumeAfter, msgspec.field(name="resumeAfter")),
    ],
)
_GIVEN: Final = _CHANGEABLE | {
    *("id", "profileId", "callId", "format", "channels", "startedAt", "endedAt"),
    *("from", "fromName", "to", "remoteSipUri", "hangupCause"),
}
_MAX_METADATA_LENGTH: Final = 1000  # characters of JSON: percent-encoded, they must fit into the request line


@query_parameter(type="string", format="json-object", maxLength=_MAX_METADATA_LENGTH, examples=['{"customer":"42"}'])
def metadata_filter(given: str) -> dict[str, Any]:
    """A JSON object that the metadata contain (PostgreSQL's operator `@>`)."""
    try:
        value = msgspec.json.decode(given)
    except (msgspec.DecodeError, RecursionError):
        value = None
    if not isinstance(value, dict) or len(given) > _MAX_METADATA_LENGTH or "\\u0000" in given:
        raise ValueError('must be a JSON object that the metadata contain, such as {"customer":"42"}')
    return value


_FILTERS: Final[dict[str, QueryParameter[Any]]] = {
    "state": some_of([*RecordingState], "States of a Recording.", example="pending,recording"),
    "from": text,
    "to": text,
    "since": timestamp,
    "until": timestamp,
    "q": metadata_filter,
}
# What a client sees of a Recording: the way to its audio, and not where that lies.
_SHARED: Final = tuple(field for field in fields(Recording) if field.name != "path")
_shared: Final = attrgetter(*(field.name for field in _SHARED))
SHOWN: Final[Any] = msgspec.defstruct(
    "Recording",
    [
        *((field.name, field.type, msgspec.field(name=field.encode_name)) for field in _SHARED),
        ("audio_url", str | None, msgspec.field(name="audioUrl")),
    ],
    namespace={"__doc__": Recording.__doc__},
)


class Steering(Protocol):
    """Who can pause and resume what is being recorded. Both give it back as it stands then, or raise Conflict."""

    async def pause(self, recording_id: UUID, behavior: PauseBehavior, seconds: float | None, /) -> Recording:
        """Pause a live Recording, for so many seconds or until somebody resumes it."""

    async def resume(self, recording_id: UUID, /) -> Recording:
        """Resume a live Recording."""


class _Control(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The part of a change that pauses or resumes a live Recording."""

    state: Literal["paused", "recording"] | None = None
    pause_behavior: PauseBehavior | None = None
    resume_after: ResumeAfter | None = None

    @classmethod
    def pop_from(cls, document: dict[str, Any]) -> "_Control":
        """Remove the keys of this part from ``document`` and return their values. Raises InvalidInput."""
        keys = set(cls.__struct_encode_fields__)
        if document.get("state") not in _STEERED:
            keys.discard("state")  # possibly the current state, repeated by the client
        values, field_errors = convert_fields(cls, {key: document.pop(key) for key in keys & document.keys()})
        control = cls(**values)
        if control.state != "paused":
            field_errors += [
                FieldError(key, 'is allowed with "state": "paused" only')
                for key, value in (("pauseBehavior", control.pause_behavior), ("resumeAfter", control.resume_after))
                if value is not None
            ]
        require_no_errors(field_errors)
        return control

    def changes(self, recording: Recording) -> bool:
        """Whether anything is to be done for it."""
        return self.state is not None and (recording.state != self.state or self.resume_after is not None)


@dataclass(frozen=True, slots=True)
class _Change:
    """A change of a Recording: of its fields, and of a live call's recording."""

    control: _Control
    update: PartialUpdate[Recording]


class _ChangeBody:
    """The body of a change."""

    schema = BodySchema(_CHANGE)
    _fields = PartialUpdateBody(
        Recording,
        read_only=(_KEYS - _CHANGEABLE) | {"audioUrl"},
        validators=(lambda recording, _: metadata_errors(recording.metadata),),
    )

    async def bind(self, request: Request) -> _Change:
        """Return the change."""
        document = decode_json_object(request)
        control = _Control.pop_from(document)
        return _Change(control, await self._fields.bind_object(request, document))


class RecordingRoutes:
    """The routes of Recordings, and their collections."""

    def __init__(
        self,
        recordings: Scoped[Recordings],
        profiles: Scoped[Profiles],
        steering: Steering,
        formats: Collection[str],
        public_url: str,
        now: UtcNow,
    ) -> None:
        self._recordings = recordings
        self._profiles = profiles
        self._steering = steering
        self._formats = formats
        self._public_url = public_url
        self._now = now

    def routes(self) -> tuple[Route, ...]:
        """The route table."""
        below = "/profiles/<profileId>/recordings"
        listed = partial(
            Route, profile_scoped=True, response_model=list[SHOWN], query=_FILTERS | PAGINATION, response_headers=LINK
        )
        made = partial(
            Route,
            profile_scoped=True,
            response_model=SHOWN,
            idempotent=True,
            response_headers=("ETag", "Location"),
            errors=(Conflict,),
        )
        single = partial(Route, profile_scoped=True)
        new_recording: dict[str, Any] = {
            "read_only": _KEYS - _GIVEN,
            "initial_values": self._initial_values,
            "value_validators": (self._validate_values, self._validate_profile),
            "properties": {"format": {"enum": list(self._formats)}},
        }
        return (
            listed("GET", "/recordings", Role.READ, self._list),
            made(
                *("PUT", "/recordings", Role.PROVISION, self._create),
                body=JsonBody(Recording, required=frozenset({"profileId"}), **new_recording),
            ),
            listed("GET", below, Role.READ, self._list_of_profile, guard=self._require_profile),
            made(
                *("PUT", below, Role.PROVISION, self._create_for_profile),
                guard=self._require_profile,
                body=JsonBody(Recording, path_keys=frozenset({"profileId"}), **new_recording),
                response_model=list[SHOWN],
                replay=self._complete_list_of_profile,
                response_headers=("Location",),
            ),
            *(
                route
                for path in ("/recordings/<id>", f"{below}/<id>")
                for route in (
                    single(
                        "GET",
                        path,
                        Role.READ,
                        self._show,
                        response_model=SHOWN,
                        request_headers=CONDITIONAL,
                        response_headers=ETAG,
                    ),
                    single(
                        *("POST", path, Role.PROVISION, self._change),
                        body=_ChangeBody(),
                        response_model=SHOWN,
                        request_headers=CONDITIONAL,
                        response_headers=ETAG,
                        errors=(Conflict,),
                    ),
                    single(
                        "DELETE", path, Role.PROVISION, self._delete, request_headers=CONDITIONAL, errors=(Conflict,)
                    ),
                )
            ),
        )

    async def _list(self, request: Request) -> Response:
        return await self._listing(request).respond(request, _filter(request.query))

    async def _list_of_profile(self, request: Request) -> Response:
        return await self._listing(request).respond(request, _filter(request.query, request.ids["profileId"]))

    async def _complete_list_of_profile(self, request: Request) -> Response:
        await self._require_profile(request)
        return self._listing(request).complete_list(RecordingFilter(profile_id=request.ids["profileId"]))

    async def _require_profile(self, request: Request) -> None:
        await self._profiles.visible_to(request.principal).get(request.ids["profileId"])

    async def _create(self, request: Request) -> Response:
        recording: Recording = request.body
        stored = await self._recordings.visible_to(request.principal).create(
            recording, transaction_hook(request, self._told)
        )
        return self._told(stored)

    def _told(self, stored: Recording) -> Response:
        return created(self._url(stored), self.representation(stored))

    async def _create_for_profile(self, request: Request) -> Response:
        recording: Recording = request.body
        respond = partial(self._told_all, request)
        hook = transaction_hook(request, respond)
        return respond(await self._recordings.visible_to(request.principal).create(recording, hook))

    def _told_all(self, request: Request, stored: Recording) -> Response:
        of_profile = RecordingFilter(profile_id=request.ids["profileId"])
        return self._listing(request).complete_list(of_profile, 201, {"Location": self._url(stored)})

    async def _show(self, request: Request) -> Response:
        recording = await self._recordings.visible_to(request.principal).get(request.id)
        _require_own(request, recording)
        return conditional_get(request.conditions, self.representation(recording))

    async def _change(self, request: Request) -> Response:
        change: _Change = request.body

        def edited(current: Recording) -> Recording:
            if change.control.state is not None and not current.state.live:
                raise Conflict(f"Recording {current.id} is {current.state}: only a live one can be paused or resumed.")
            return self._edited(request, change.update, current)

        stored = await self._recordings.visible_to(request.principal).update(request.id, edited)
        if change.control.changes(stored):
            stored = await self._steered(request, stored, change.control)
        return updated(self.representation(stored))

    async def _steered(self, request: Request, stored: Recording, control: _Control) -> Recording:
        recordings = self._recordings.visible_to(request.principal)
        if control.state == "paused":
            behavior = control.pause_behavior or PauseBehavior.SILENCE
            steered = await self._steering.pause(stored.id, behavior, control.resume_after)
        else:
            steered = await self._steering.resume(stored.id)
        # the call tells its ledger as well; saying it here makes the answer, and its ETag, what the next GET shows
        await recordings.record(steered)
        after = await recordings.get(stored.id)
        request.audit_details.changed(stored, after)
        return after

    async def _delete(self, request: Request) -> Response:
        await self._recordings.visible_to(request.principal).delete(
            request.id, lambda current: self._require_deletable(request, current)
        )
        return no_content()

    def _initial_values(self) -> dict[str, Any]:
        """Return the first state of an imported Recording: its audio is still to come."""
        return {**initial_values(self._now), "state": RecordingState.PENDING}

    async def _validate_values(self, _request: Request, values: Mapping[str, Any]) -> list[FieldError]:
        return [*_value_errors(values), *format_errors("format", values.get("format"), self._formats)]

    async def _validate_profile(self, request: Request, values: Mapping[str, Any]) -> list[FieldError]:
        profile_id = values.get("profile_id")
        if profile_id is None:
            return []  # not given, or not a UUID: that error is reported already
        if profile_id != request.ids.get("profileId", profile_id):
            return [FieldError("profileId", "is another Profile than the path says")]
        try:
            await self._profiles.visible_to(request.principal).get(profile_id)
        except NotFound as error:
            return [FieldError("profileId", error.detail)]
        return []

    def _edited(self, request: Request, update: PartialUpdate[Recording], current: Recording) -> Recording:
        """What becomes of a Recording that nobody else can change now."""
        _require_own(request, current)
        before = self.representation(current)
        request.conditions.require(etag_of(before))
        after = update.apply(current, before)
        request.audit_details.changed(current, after)
        if after == current:
            return current
        return msgspec.structs.replace(after, updated_at=max(current.updated_at, self._now()))

    def _require_deletable(self, request: Request, current: Recording) -> None:
        """Raise where it must stay."""
        _require_own(request, current)
        request.conditions.require(etag_of(self.representation(current)))
        if current.state.live:
            raise Conflict(f"The call of recording {current.id} is still going on.")
        if current.legal_hold:
            raise Conflict(f"A legal hold keeps recording {current.id}.")

    def _listing(self, request: Request) -> Paginator[Recording, RecordingFilter]:
        return Paginator(self._recordings.visible_to(request.principal), self.representation, self._public_url)

    def _url(self, recording: Recording) -> str:
        return f"{self._public_url}/recordings/{recording.id}"

    def representation(self, recording: Recording) -> bytes:
        """A Recording as REST shows it: with the way to its audio, and without where that lies."""
        audio_url = f"{self._url(recording)}/audio" if recording.path is not None else None
        return msgspec.json.encode(SHOWN(*_shared(recording), audio_url), order="deterministic")


def _require_own(request: Request, recording: Recording) -> None:
    """Raise NotFound where the path lies below a Profile, and the Recording is not that Profile's."""
    if recording.profile_id != request.ids.get("profileId", recording.profile_id):
        raise NotFound(f"There is no recording {recording.id} of profile {request.ids['profileId']}.")


def _value_errors(values: Mapping[str, Any]) -> list[FieldError]:
    """What the types of a Recording alone cannot say about values that a client gives."""
    field_errors = uuid4_errors("id", values.get("id"))
    field_errors += metadata_errors(values.get("metadata", {}))
    started, ended = values.get("started_at"), values.get("ended_at")
    if not field_errors and started and ended and ended < started:
        field_errors.append(FieldError("endedAt", "is before startedAt"))
    if not 0 <= (values.get("hangup_cause") or 0) <= 127:
        field_errors.append(FieldError("hangupCause", "is no cause of Q.850: 0 to 127 are allowed"))
    return field_errors


def _filter(query: Mapping[str, Any], profile_id: UUID | None = None) -> RecordingFilter:
    return RecordingFilter(
        profile_id=profile_id,
        states=query.get("state", ()),
        from_=query.get("from"),
        to=query.get("to"),
        since=query.get("since"),
        until=query.get("until"),
        metadata=query.get("q"),
    )
