"""/recordings and /profiles/<profileId>/recordings: import, retrieval, update and deletion of Recordings."""

from collections.abc import Collection, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final

import msgspec

from voxrec.api.calls.call_control import CallControl
from voxrec.api.field_validation import ProfileExists, format_errors, uuid4_errors
from voxrec.api.parameters import nonblank_text
from voxrec.api.recordings.recording_query import (
    FILTERS,
    ORDER,
    RECORDING_PAGINATION,
    decode_position,
    positions,
    recording_filter,
)
from voxrec.api.recordings.recording_representation import RecordingModel, recording_representation, recording_url
from voxrec.api.recordings.recording_updates import (
    CHANGEABLE_KEYS,
    RECORDING_KEYS,
    PauseRequest,
    RecordingUpdate,
    RecordingUpdateBody,
)
from voxrec.api.resources import apply_update, initial_values, require_visible
from voxrec.api.transaction_hooks import transaction_hook
from voxrec.clock import UtcNow
from voxrec.error_codes import FieldErrorCode, ProblemReason
from voxrec.errors import Conflict, FieldError, InvalidInput, ListTimeout, NotFound
from voxrec.model import PauseBehavior, Profile, Recording, RecordingSort, RecordingState, metadata_errors, tag_errors
from voxrec.store.profiles import Profiles
from voxrec.store.recording_filter import RecordingFilter
from voxrec.store.recordings import Recordings
from voxrec.web.auth import Role, Scoped
from voxrec.web.body import JsonBody
from voxrec.web.pagination import LINK, Paginator
from voxrec.web.request import Request
from voxrec.web.response import Response, no_content
from voxrec.web.route import CONDITIONAL, ETAG, Route

_IMPORTABLE_KEYS: Final = CHANGEABLE_KEYS | {
    *("id", "profileId", "callId", "format", "channels", "startedAt", "endedAt"),
    *("from", "fromName", "to", "remoteSipUri", "hangupCause"),
}
_REASON: Final = nonblank_text.described_as("Why the recording is deleted, for the audit log; without personal data.")


class RecordingRoutes:
    """Recordings of calls, and imported recordings."""

    def __init__(
        self,
        recordings: Scoped[Recordings],
        profiles: Scoped[Profiles],
        call_control: CallControl,
        formats: Collection[str],
        public_url: str,
        now: UtcNow,
    ) -> None:
        self._recordings = recordings
        self._profiles = profiles
        self._call_control = call_control
        self._formats = formats
        self._public_url = public_url
        self._now = now
        self._representation = recording_representation(public_url)

    def routes(self) -> tuple[Route, ...]:
        """Return the routes."""
        all_recordings, of_profile = "/recordings", "/profiles/<profileId>/recordings"
        return (
            *self._collection_routes(all_recordings, of_profile),
            *self._item_routes(f"{all_recordings}/<id>"),
            *self._item_routes(f"{of_profile}/<id>"),
        )

    def _collection_routes(self, all_recordings: str, of_profile: str) -> tuple[Route, ...]:
        list_route = partial(
            Route,
            profile_scoped=True,
            response_model=list[RecordingModel],
            query=FILTERS | ORDER | RECORDING_PAGINATION,
            response_headers=LINK,
            errors=(ListTimeout,),
        )
        create_route = partial(Route, profile_scoped=True, idempotent=True, errors=(Conflict,))
        body: dict[str, Any] = {
            "read_only": RECORDING_KEYS - _IMPORTABLE_KEYS,
            "initial_values": self._initial_values,
            "value_validators": (self._validate_values, self._validate_profile),
            "properties": {"format": {"title": "RecordingFormat", "enum": list(self._formats)}},
        }
        return (
            list_route("GET", all_recordings, Role.READ, self._list),
            create_route(
                *("PUT", all_recordings, Role.PROVISION, self._create),
                body=JsonBody(Recording, required=frozenset({"profileId"}), **body),
                response_model=RecordingModel,
                response_headers=("ETag", "Location"),
            ),
            list_route(
                "GET", of_profile, Role.READ, self._list_of_profile, guard=require_visible(self._profiles, "profileId")
            ),
            create_route(
                *("PUT", of_profile, Role.PROVISION, self._create_for_profile),
                guard=require_visible(self._profiles, "profileId"),
                body=JsonBody(Recording, path_keys=frozenset({"profileId"}), **body),
                response_model=list[RecordingModel],
                replay=self._complete_list_of_profile,
                response_headers=("Location",),
            ),
        )

    def _item_routes(self, path: str) -> tuple[Route, ...]:
        route = partial(Route, profile_scoped=True, request_headers=CONDITIONAL)
        with_representation = partial(route, response_model=RecordingModel, response_headers=ETAG)
        return (
            with_representation("GET", path, Role.READ, self._get),
            with_representation(
                *("POST", path, Role.SUPERVISE, self._update), body=RecordingUpdateBody(), errors=(Conflict,)
            ),
            route("DELETE", path, Role.PROVISION, self._delete, query={"reason": _REASON}, errors=(Conflict,)),
        )

    async def _list(self, request: Request) -> Response:
        return await self._respond_with_list(request, recording_filter(request.query))

    async def _list_of_profile(self, request: Request) -> Response:
        return await self._respond_with_list(request, recording_filter(request.query, request.ids["profileId"]))

    async def _respond_with_list(self, request: Request, filters: RecordingFilter) -> Response:
        if "cursor" in request.query:
            position = decode_position(filters.sort, request.query["cursor"])
            request.query = {**request.query, "cursor": position}
        return await self._paginator(request, filters.sort).respond(request, filters)

    async def _complete_list_of_profile(self, request: Request) -> Response:
        await require_visible(self._profiles, "profileId")(request)
        return self._paginator(request).complete_list(RecordingFilter(profile_id=request.ids["profileId"]))

    async def _create(self, request: Request) -> Response:
        """For importing audio: the recording is `pending` until its audio is uploaded.

        It expires when the profile's `retentionDays` have passed since `startedAt`.
        """
        recordings = self._recordings.visible_to(request.principal)
        recording = await self._with_expiry(request)
        return self._created(await recordings.create(recording, transaction_hook(request, self._created)))

    def _created(self, stored: Recording) -> Response:
        return self._representation.created(stored, recording_url(self._public_url, stored))

    async def _create_for_profile(self, request: Request) -> Response:
        """For importing audio: the recording is `pending` until its audio is uploaded.

        It expires when the profile's `retentionDays` have passed since `startedAt`. The response is the list of the
        profile's recordings.
        """
        recordings = self._recordings.visible_to(request.principal)
        respond = partial(self._created_in_list, request)
        return respond(await recordings.create(await self._with_expiry(request), transaction_hook(request, respond)))

    async def _with_expiry(self, request: Request) -> Recording:
        """Return the Recording to create with the time of its expiry.

        Raises InvalidInput if that has passed already, unless the Recording has a legal hold: it would be deleted at
        once.
        """
        recording: Recording = request.body
        profile = await self._profiles.visible_to(request.principal).get(recording.profile_id)
        expires_at = import_expiry(profile, recording)
        if expires_at is not None and expires_at <= self._now() and not recording.legal_hold:
            message = (
                f"is more than {profile.retention_days} days ago, the retentionDays of the Profile: the Recording "
                "would be deleted at once, unless legalHold is true"
            )
            params = {"days": profile.retention_days}
            field_error = FieldError("startedAt", message, FieldErrorCode.EXPIRED, params)
            raise InvalidInput("The recording has expired.", [field_error])
        return msgspec.structs.replace(recording, tags=tuple(sorted(recording.tags)), expires_at=expires_at)

    def _created_in_list(self, request: Request, stored: Recording) -> Response:
        of_profile = RecordingFilter(profile_id=request.ids["profileId"])
        location = {"Location": recording_url(self._public_url, stored)}
        return self._paginator(request).complete_list(of_profile, 201, location)

    async def _get(self, request: Request) -> Response:
        recording = await self._recordings.visible_to(request.principal).get(request.id)
        _require_in_path(request, recording)
        return self._representation.retrieved(request, recording)

    async def _update(self, request: Request) -> Response:
        """Change `tags`, `metadata` and `legalHold`, or pause or resume a live recording.

        Fields that are not given are not changed. `"state": "paused"` pauses a live recording, `"state": "recording"`
        resumes it. `pauseBehavior` selects whether the time of the pause becomes silence or is left out. Changes
        of `metadata` and `legalHold` require the role `provision`.
        """
        update: RecordingUpdate = request.body
        if update.fields.values.keys() - {"tags"}:
            request.principal.require_role(Role.PROVISION)
        recordings = self._recordings.visible_to(request.principal)
        stored = await recordings.update(request.id, partial(self._apply_update, request, update))
        if update.pause.changes(stored):
            stored = await self._pause_or_resume(request, stored, update.pause)
        return self._representation.updated(stored)

    def _apply_update(self, request: Request, update: RecordingUpdate, current: Recording) -> Recording:
        if update.pause.state is not None and not current.state.live:
            raise Conflict(
                f"Recording {current.id} is {current.state}; only a live recording can be paused or resumed.",
                reason=ProblemReason.NOT_LIVE,
            )
        _require_in_path(request, current)
        return apply_update(request, update.fields, current, self._representation, self._now)

    async def _pause_or_resume(self, request: Request, stored: Recording, pause: PauseRequest) -> Recording:
        if pause.state == "paused":
            behavior = pause.pause_behavior or PauseBehavior.SILENCE
            changed = await self._call_control.pause(stored.id, behavior, pause.resume_after)
        else:
            changed = await self._call_control.resume(stored.id)
        # The call stores this too, but later; the response and its ETag have to be those of the next GET.
        recordings = self._recordings.visible_to(request.principal)
        await recordings.record(changed)
        after = await recordings.get(stored.id)
        request.audit_details.changed(stored, after)
        return after

    async def _delete(self, request: Request) -> Response:
        """The files of the recording are erased afterwards. Only an entry in the audit log remains.

        A recording cannot be deleted while its call is in progress, or under a legal hold.
        """
        request.audit_details.reason = request.query.get("reason")
        recordings = self._recordings.visible_to(request.principal)
        await recordings.delete(request.id, partial(self._require_deletable, request))
        return no_content()

    def _require_deletable(self, request: Request, current: Recording) -> None:
        """Raise NotFound, PreconditionFailed or Conflict if the Recording must not be deleted."""
        _require_in_path(request, current)
        self._representation.require_version(request, current)
        if current.state.live:
            detail = f"Recording {current.id} cannot be deleted: its call is in progress."
            raise Conflict(detail, reason=ProblemReason.CALL_IN_PROGRESS)
        if current.legal_hold:
            detail = f"Recording {current.id} cannot be deleted: it is under a legal hold."
            raise Conflict(detail, reason=ProblemReason.LEGAL_HOLD)

    def _initial_values(self) -> dict[str, Any]:
        return {**initial_values(self._now), "state": RecordingState.PENDING}

    async def _validate_values(self, _request: Request, values: Mapping[str, Any]) -> list[FieldError]:
        return [*_value_errors(values), *format_errors("format", values.get("format"), self._formats)]

    async def _validate_profile(self, request: Request, values: Mapping[str, Any]) -> list[FieldError]:
        profile_id = values.get("profile_id")
        if profile_id is not None and profile_id != request.ids.get("profileId", profile_id):
            message = "differs from the Profile in the path"
            return [FieldError("profileId", message, FieldErrorCode.OF_ANOTHER_PROFILE)]
        return await ProfileExists(self._profiles)(request, values)

    def _paginator(
        self, request: Request, sort: RecordingSort = RecordingSort.NEWEST
    ) -> Paginator[Recording, RecordingFilter]:
        recordings = self._recordings.visible_to(request.principal)
        return Paginator(recordings, self._representation.encode, self._public_url, positions(sort))


def import_expiry(profile: Profile, recording: Recording) -> datetime | None:
    """Return when an imported Recording expires; None: never.

    The retention period begins with the call, as that of a recorded call does, and at the latest with the import.
    """
    return profile.expiry(min(recording.started_at or recording.created_at, recording.created_at))


def _require_in_path(request: Request, recording: Recording) -> None:
    """Raise NotFound if the path names a Profile, and the Recording belongs to another one."""
    if recording.profile_id != request.ids.get("profileId", recording.profile_id):
        raise NotFound(f"Profile {request.ids['profileId']} has no recording {recording.id}.")


def _value_errors(values: Mapping[str, Any]) -> list[FieldError]:
    """Return the errors that the types of a Recording's fields cannot express."""
    field_errors = uuid4_errors("id", values.get("id"))
    field_errors += metadata_errors(values.get("metadata", {}))
    field_errors += tag_errors(values.get("tags", ()))
    started_at, ended_at = values.get("started_at"), values.get("ended_at")
    if started_at and ended_at and ended_at < started_at:
        params = {"other": "startedAt"}
        field_errors.append(FieldError("endedAt", "is earlier than startedAt", FieldErrorCode.EARLIER_THAN, params))
    if not 0 <= (values.get("hangup_cause") or 0) <= 127:
        message, limits = "must be a Q.850 cause code from 0 to 127", {"minimum": 0, "maximum": 127}
        field_errors.append(FieldError("hangupCause", message, FieldErrorCode.NUMBER_RANGE, limits))
    return field_errors
