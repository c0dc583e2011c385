"""/recordings, and the same below the Profile that they belong to."""

from collections.abc import Collection, Mapping
from functools import partial
from operator import attrgetter
from typing import Annotated, Any, Final, Literal, Protocol
from uuid import UUID, uuid4

import msgspec
from msgspec import Meta
from msgspec.structs import fields

from voxrec.api.validation import format_errors, uuid4_errors
from voxrec.conversion import convert_fields
from voxrec.errors import Conflict, FieldError, NotFound
from voxrec.model import PauseBehavior, Recording, RecordingState, metadata_errors
from voxrec.store.profiles import Profiles
from voxrec.store.recordings import RecordingFilter, Recordings
from voxrec.web import query
from voxrec.web.auth import Role, Scoped
from voxrec.web.conditions import etag_of
from voxrec.web.pagination import LINK, PAGED, Paginator
from voxrec.web.partial_update import PartialUpdate, require
from voxrec.web.request import Now, Request
from voxrec.web.response import Response, conditional_get, created, no_content, updated
from voxrec.web.route import CONDITIONAL, ETAG, JsonBody, Route

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
_FILTERS: Final = {
    "state": query.states,
    "from": query.text,
    "to": query.text,
    "since": query.moment,
    "until": query.moment,
    "q": query.metadata,
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


class _Wish(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a change wants of a live Recording."""

    state: Literal["paused", "recording"] | None = None
    pause_behavior: PauseBehavior | None = None
    resume_after: ResumeAfter | None = None

    @classmethod
    def taken_from(cls, given: dict[str, Any]) -> "_Wish":
        """Read it, and leave the rest. InvalidInput."""
        keys = set(cls.__struct_encode_fields__)
        if given.get("state") not in _STEERED:
            keys.discard("state")  # as it was shown, perhaps
        values, field_errors = convert_fields(cls, {key: given.pop(key) for key in keys & given.keys()})
        wish = cls(**values)
        if wish.state != "paused":
            field_errors += [
                FieldError(key, 'goes with "state": "paused" only')
                for key, value in (("pauseBehavior", wish.pause_behavior), ("resumeAfter", wish.resume_after))
                if value is not None
            ]
        require(field_errors)
        return wish

    def changes(self, recording: Recording) -> bool:
        """Whether anything is to be done for it."""
        return self.state is not None and (recording.state != self.state or self.resume_after is not None)


class RecordingRoutes:
    """The routes of Recordings, and their collections."""

    def __init__(
        self,
        recordings: Scoped[Recordings],
        profiles: Scoped[Profiles],
        steering: Steering,
        formats: Collection[str],
        public_url: str,
        now: Now,
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
            Route, profile_scoped=True, response_model=list[SHOWN], query=_FILTERS | PAGED, response_headers=LINK
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
        return (
            listed("GET", "/recordings", Role.READ, self._list),
            made(
                *("PUT", "/recordings", Role.PROVISION, self._create),
                body=JsonBody(Recording, refuse=_KEYS - _GIVEN, require=frozenset({"profileId"})),
            ),
            listed("GET", below, Role.READ, self._list_of_profile),
            made(
                *("PUT", below, Role.PROVISION, self._create_for_profile),
                body=JsonBody(Recording, refuse=_KEYS - _GIVEN),
                response_model=list[SHOWN],
                replay=self._list_of_profile,
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
                        body=JsonBody(_CHANGE),
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
        return await self._listing(request).asked(request, _FILTERS, _wanted)

    async def _list_of_profile(self, request: Request) -> Response:
        await self._profiles.of(request.principal).get(request.profile_id)
        return await self._listing(request).asked(request, _FILTERS, lambda values: _wanted(values, request.profile_id))

    async def _create(self, request: Request) -> Response:
        made = await self._made(request, request.json_object())
        return self._told(
            await self._recordings.of(request.principal).create(made, request.transaction_hook(self._told))
        )

    def _told(self, stored: Recording) -> Response:
        return created(self._url(stored), self.representation(stored))

    async def _create_for_profile(self, request: Request) -> Response:
        await self._profiles.of(request.principal).get(request.profile_id)
        given = {"profileId": str(request.profile_id), **request.json_object()}
        made = await self._made(request, given)
        told = partial(self._told_all, request)
        return told(await self._recordings.of(request.principal).create(made, request.transaction_hook(told)))

    def _told_all(self, request: Request, stored: Recording) -> Response:
        wanted = RecordingFilter(profile_id=request.profile_id)
        return self._listing(request).whole(wanted, 201, {"Location": self._url(stored)})

    async def _show(self, request: Request) -> Response:
        query.read(request.query(), {})
        recording = await self._recordings.of(request.principal).get(request.id)
        _require_own(request, recording)
        return conditional_get(request.conditions, self.representation(recording))

    async def _change(self, request: Request) -> Response:
        query.read(request.query(), {})
        given = request.json_object()
        wish = _Wish.taken_from(given)
        edit = PartialUpdate.of(Recording, given, (_KEYS - _CHANGEABLE) | {"audioUrl"})

        def edited(current: Recording) -> Recording:
            if wish.state is not None and not current.state.live:
                raise Conflict(f"Recording {current.id} is {current.state}: only a live one can be paused or resumed.")
            return self._edited(request, edit, current)

        stored = await self._recordings.of(request.principal).update(request.id, edited)
        if wish.changes(stored):
            stored = await self._steered(request, stored, wish)
        return updated(self.representation(stored))

    async def _steered(self, request: Request, stored: Recording, wish: _Wish) -> Recording:
        recordings = self._recordings.of(request.principal)
        if wish.state == "paused":
            behavior = wish.pause_behavior or PauseBehavior.SILENCE
            steered = await self._steering.pause(stored.id, behavior, wish.resume_after)
        else:
            steered = await self._steering.resume(stored.id)
        # the call tells its ledger as well; saying it here makes the answer, and its ETag, what the next GET shows
        await recordings.record(steered)
        after = await recordings.get(stored.id)
        request.audit_details.changed(stored, after)
        return after

    async def _delete(self, request: Request) -> Response:
        query.read(request.query(), {})
        await self._recordings.of(request.principal).delete(
            request.id, lambda current: self._require_deletable(request, current)
        )
        return no_content()

    async def _made(self, request: Request, given: Mapping[str, Any]) -> Recording:
        """What an imported Recording's metadata describe; its audio is still to come."""
        query.read(request.query(), {})
        values, field_errors = convert_fields(Recording, given, read_only=_KEYS - _GIVEN)
        field_errors += _value_errors(values)
        field_errors += format_errors("format", values.get("format"), self._formats)
        field_errors += await self._profile_errors(request, given, values.get("profile_id"))
        require(field_errors)
        now = self._now()
        made = {"id": uuid4(), "state": RecordingState.PENDING, "created_at": now, "updated_at": now}
        return Recording(**{**made, **values})

    async def _profile_errors(
        self, request: Request, given: Mapping[str, Any], profile_id: UUID | None
    ) -> list[FieldError]:
        if "profileId" not in given:
            return [FieldError("profileId", "is required: the Profile that the recording belongs to")]
        if profile_id is None:
            return []  # reported already
        if profile_id != request.ids.get("profileId", profile_id):
            return [FieldError("profileId", "is another Profile than the path says")]
        try:
            await self._profiles.of(request.principal).get(profile_id)
        except NotFound as error:
            return [FieldError("profileId", error.detail)]
        return []

    def _edited(self, request: Request, edit: PartialUpdate[Recording], current: Recording) -> Recording:
        """What becomes of a Recording that nobody else can change now."""
        _require_own(request, current)
        before = self.representation(current)
        request.conditions.require(etag_of(before))
        after, field_errors = edit.apply(current, before)
        require([*field_errors, *metadata_errors(after.metadata)])
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
        return Paginator(self._recordings.of(request.principal), self.representation, self._public_url)

    def _url(self, recording: Recording) -> str:
        return f"{self._public_url}/recordings/{recording.id}"

    def representation(self, recording: Recording) -> bytes:
        """A Recording as REST shows it: with the way to its audio, and without where that lies."""
        audio_url = f"{self._url(recording)}/audio" if recording.path is not None else None
        return msgspec.json.encode(SHOWN(*_shared(recording), audio_url), order="deterministic")


def _require_own(request: Request, recording: Recording) -> None:
    """Raise NotFound where the path lies below a Profile, and the Recording is not that Profile's."""
    if recording.profile_id != request.ids.get("profileId", recording.profile_id):
        raise NotFound(f"There is no recording {recording.id} of profile {request.profile_id}.")


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


def _wanted(values: Mapping[str, Any], profile_id: UUID | None = None) -> RecordingFilter:
    return RecordingFilter(
        profile_id=profile_id,
        states=values.get("state", ()),
        from_=values.get("from"),
        to=values.get("to"),
        since=values.get("since"),
        until=values.get("until"),
        metadata=values.get("q"),
    )
