"""PUT /recordings/<id>/audio: the upload of the audio of an imported Recording."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import Final

import msgspec

from voxrec.api.audio.audio_inspection import ACCEPTED_TYPES, NotAudio, UploadedAudio, inspect_audio
from voxrec.api.recordings.accesses import AUDIO_PATH
from voxrec.api.recordings.recording_representation import RecordingModel
from voxrec.api.recordings.recordings import import_expiry
from voxrec.api.resources import Representation, touched
from voxrec.api.transaction_hooks import transaction_hook
from voxrec.archive.interface import Archive, StoredFile
from voxrec.audio.formats import FORMATS, AudioFormat, find_format
from voxrec.audio.probe import AudioInfo
from voxrec.audio.verdict import make_import_verdict
from voxrec.clock import UtcNow
from voxrec.error_codes import ProblemReason
from voxrec.errors import Conflict, NotFound
from voxrec.model import Recording, RecordingState
from voxrec.postgres.transaction import Transaction
from voxrec.store.profiles import Profiles
from voxrec.store.recordings import Recordings
from voxrec.threads import DeferToThread
from voxrec.web.auth import Role, Scoped
from voxrec.web.body import FileBody
from voxrec.web.request import Request, Upload
from voxrec.web.response import Response
from voxrec.web.route import CONDITIONAL, ETAG, Route

_MAX_DURATION: Final = 86400.0  # seconds
_MAX_CHANNELS: Final = 2

EnqueueUpload = Callable[[Transaction, Recording], Awaitable[object]]
"""Enqueues the upload to S3 in the transaction that stores the Recording."""


class NotPending(Conflict):
    """Audio can be uploaded only once, to a recording created by PUT: its state must be `pending`."""

    code = "not-pending"


class AudioUploadRoutes:
    """Uploads of the audio of imported Recordings. ``size_limit`` is in bytes."""

    def __init__(
        self,
        recordings: Scoped[Recordings],
        profiles: Scoped[Profiles],
        archive: Archive,
        representation: Representation[Recording],
        now: UtcNow,
        size_limit: int,
        defer_to_thread: DeferToThread,
        defer_to_audio_thread: DeferToThread,
        enqueue_upload: EnqueueUpload | None = None,
    ) -> None:
        self._recordings = recordings
        self._profiles = profiles
        self._archive = archive
        self._representation = representation
        self._now = now
        self._size_limit = size_limit
        self._defer_to_thread = defer_to_thread
        self._defer_to_audio_thread = defer_to_audio_thread
        self._enqueue_upload = enqueue_upload

    def routes(self) -> tuple[Route, ...]:
        """Return the route."""
        return (
            Route(
                *("PUT", AUDIO_PATH, Role.PROVISION, self._upload),
                profile_scoped=True,
                body=FileBody(ACCEPTED_TYPES, self._size_limit),
                response_model=RecordingModel,
                request_headers=CONDITIONAL,
                response_headers=ETAG,
                errors=(NotPending, NotAudio),
                idempotent=True,
                summary="Upload the audio of an imported recording",
            ),
        )

    async def _upload(self, request: Request) -> Response:
        """Store the audio unchanged. The recording must be `pending`; it is `completed` afterwards.

        `If-Match` names a version of the recording.

        The audio has one or two channels, in one of the formats in which it can be downloaded. If it has two, the
        caller is on the left. Its `verdict` is that of a recorded call; the reason `truncated` means that the file ends
        before the end of its audio, or that it is shorter than the time from `startedAt` to `endedAt`.
        """
        upload: Upload = request.body
        recordings = self._recordings.visible_to(request.principal)
        pending = await recordings.get(request.id)
        self._require_pending(request, pending)
        expires_at = await self._expiry(request, pending)
        audio: UploadedAudio = await self._defer_to_audio_thread(
            inspect_audio, upload.path, _MAX_CHANNELS, _MAX_DURATION
        )
        audio_format = _require_format(audio.info)

        async def complete(current: Recording) -> Recording:
            self._require_pending(request, current)
            started_at = current.started_at or current.created_at
            stored = await self._defer_to_thread(
                self._archive.put, upload.path, current.id, started_at, audio_format.suffix
            )
            completed = _completed(current, audio, audio_format, stored)
            return touched(msgspec.structs.replace(completed, expires_at=expires_at), self._now)

        hook = replace(transaction_hook(request, self._representation.updated), enqueue=self._enqueue_upload)
        return self._representation.updated(await recordings.update_async(request.id, complete, hook))

    async def _expiry(self, request: Request, pending: Recording) -> datetime | None:
        """Return when a Recording expires. If it had no time of expiry when it was created, the Profile decides now."""
        if pending.expires_at is not None:
            return pending.expires_at
        try:
            return import_expiry(await self._profiles.visible_to(request.principal).get(pending.profile_id), pending)
        except NotFound:  # the Profile was deleted
            return None

    def _require_pending(self, request: Request, recording: Recording) -> None:
        self._representation.require_version(request, recording)
        if recording.state is not RecordingState.PENDING:
            raise NotPending(
                f"Recording {recording.id} is {recording.state}; audio can be uploaded only while pending."
            )


def _require_format(info: AudioInfo) -> AudioFormat:
    """Return the format of uploaded audio. Raises NotAudio if it is not one in which voxrec stores audio."""
    audio_format = find_format(info.container, info.subtype)
    if audio_format is None:
        raise NotAudio(
            f"The format {info.container} ({info.subtype}) is not supported; expected one of {', '.join(FORMATS)}.",
            reason=ProblemReason.AUDIO_FORMAT,
            params={"allowed": list(FORMATS)},
        )
    return audio_format


def _completed(recording: Recording, audio: UploadedAudio, audio_format: AudioFormat, stored: StoredFile) -> Recording:
    return msgspec.structs.replace(
        recording,
        state=RecordingState.COMPLETED,
        format=audio_format.name,
        channels=audio.info.channels,
        duration=audio.duration,
        verdict=make_import_verdict(audio.meters, recording.call_seconds, truncated=audio.truncated),
        path=stored.path,
        size=stored.size,
        sha256=stored.sha256,
    )
