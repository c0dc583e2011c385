"""GET /recordings/<id>/audio: the stored file, ranges of it, and the audio in other formats."""

import os
from typing import Any, Final

from voxrec.api.audio.audio_conversion import AudioConverter
from voxrec.api.audio.audio_files import (
    AUDIO_TYPES,
    REVALIDATED,
    AudioDamaged,
    FileSection,
    NoAudioYet,
    missing_audio,
    open_audio,
    require_audio,
)
from voxrec.api.recordings.accesses import ACCESS_PARAMETERS, AUDIO_PATH, AccessLog, purpose_of
from voxrec.archive.interface import Archive, RemoteAudio
from voxrec.audio.convert import AudioChannel
from voxrec.audio.formats import FORMATS, AudioFormat
from voxrec.error_codes import FieldErrorCode
from voxrec.errors import FieldError, InvalidInput, NotFound
from voxrec.model import AccessPurpose, Recording
from voxrec.store.recordings import Recordings
from voxrec.threads import DeferToThread
from voxrec.web.auth import Role, Scoped
from voxrec.web.body import OCTET_STREAM
from voxrec.web.errors import RangeNotSatisfiable
from voxrec.web.parameters import one_of
from voxrec.web.query import QueryParameter
from voxrec.web.ranges import ByteRange, requested_range
from voxrec.web.request import Request
from voxrec.web.response import Response, not_modified, unsent_body
from voxrec.web.route import CONDITIONAL, Route

AUDIO_PARAMETERS: Final[dict[str, QueryParameter[Any]]] = {
    "format": one_of([*FORMATS], "Convert the audio to this format.", title="AudioFormat"),
    "channel": one_of(
        [*AudioChannel], "Only this channel of a recording that has two, or both channels mixed.", title="AudioChannel"
    ),
}


class AudioDownloadRoutes:
    """Downloads of the audio of Recordings."""

    def __init__(
        self,
        recordings: Scoped[Recordings],
        archive: Archive,
        converter: AudioConverter,
        access_log: AccessLog,
        defer_to_thread: DeferToThread,
    ) -> None:
        self._recordings = recordings
        self._archive = archive
        self._converter = converter
        self._access_log = access_log
        self._defer_to_thread = defer_to_thread

    def routes(self) -> tuple[Route, ...]:
        """Return the route."""
        return (
            Route(
                *("GET", AUDIO_PATH, Role.READ, self._download, None),
                profile_scoped=True,
                query={**AUDIO_PARAMETERS, **ACCESS_PARAMETERS},
                response_model=AUDIO_TYPES,
                responses={206: None, 302: None},
                request_headers=(*CONDITIONAL, "Range", "If-Range"),
                response_headers=("ETag", "Accept-Ranges", "Content-Disposition"),
                errors=(NoAudioYet, RangeNotSatisfiable, AudioDamaged),
                summary="Download the audio of a recording",
            ),
        )

    async def _download(self, request: Request) -> Response:
        """Without parameters, the response is the stored file, and byte ranges are supported.

        With `format` or `channel`, the audio is converted for this response, and byte ranges are not supported. The
        history of accesses has an entry for each hearing and each download. Only downloads are redirected to the store
        that has the audio: players and verifiers in a web page may not read from another host.
        """
        recording = await self._recordings.visible_to(request.principal).get(request.id)
        response = await self.respond(request, recording, may_redirect=purpose_of(request) is AccessPurpose.DOWNLOAD)
        if request.method != "HEAD":
            try:
                await self._access_log.record(request, recording, response.status)
            except BaseException:
                if not isinstance(response.body, bytes):
                    await response.body.aclose()
                raise
        return response

    async def respond(self, request: Request, recording: Recording, *, may_redirect: bool = False) -> Response:
        """Return the response to a request for the audio of a Recording. Its query is that of ``AUDIO_PARAMETERS``.

        Unless it ``may_redirect`` to the store that has the audio, voxrec passes it on.
        """
        path = require_audio(recording)
        channel, name = request.query.get("channel"), request.query.get("format", recording.format)
        _require_channel(recording, channel)
        if channel is None and name == recording.format:
            return await self._stored(request, recording, path, may_redirect)
        return await self._converted(request, recording, _target_format(recording, name, channel), channel)

    async def _converted(
        self, request: Request, recording: Recording, target: AudioFormat, channel: AudioChannel | None
    ) -> Response:
        """Return the audio in another format, or one channel of it.

        The ETag is weak and ranges are not supported, because an encoder may produce different bytes each time. The
        response to HEAD has no Content-Length, because the size is known only after the conversion.
        """
        etag = f'W/"{recording.sha256 or recording.id}-{target.name}-{channel or "all"}"'
        if (unchanged := not_modified(request.conditions, etag, REVALIDATED)) is not None:
            return unchanged
        suffix = "" if channel is None else f"-{channel}"
        headers = {
            **REVALIDATED,
            "ETag": etag,
            "Accept-Ranges": "none",
            "Content-Type": target.media_type,
            "Content-Disposition": f'attachment; filename="{recording.id}{suffix}.{target.suffix}"',
        }
        if request.method == "HEAD":
            await self._converter.check_source(recording)
            return Response(200, headers, unsent_body())
        body, size = await self._converter.convert(
            *(recording, target, channel), client=request.principal.key, disconnected=request.disconnected
        )
        length = {} if size is None else {"Content-Length": str(size)}
        return Response(200, {**headers, **length}, body)

    async def _stored(self, request: Request, recording: Recording, path: str, may_redirect: bool) -> Response:
        """Return the stored file, or the requested range of it."""
        etag = f'"{recording.sha256 or recording.id}"'
        if (unchanged := not_modified(request.conditions, etag, REVALIDATED)) is not None:
            return unchanged
        remote = await self._archive.remote_audio(recording)
        if remote is not None:
            return await self._remote(request, recording, remote, etag, may_redirect)
        try:
            descriptor: int = await self._defer_to_thread(open_audio, self._archive, recording, path)
        except AudioDamaged:  # or it was uploaded, and removed here, since the row was read
            recording = await self._recordings.visible_to(request.principal).get(recording.id)
            if (remote := await self._archive.remote_audio(recording)) is None:
                raise
            return await self._remote(request, recording, remote, etag, may_redirect)
        size = recording.size or 0
        try:
            requested = requested_range(request, etag, size)
        except BaseException:
            os.close(descriptor)
            raise
        sent = requested or ByteRange(0, size, size)
        body = FileSection(descriptor, sent.start, sent.length, self._defer_to_thread)
        headers = _file_headers(recording, etag, sent)
        if requested is None:
            return Response(200, headers, body)
        return Response(206, {**headers, "Content-Range": requested.content_range}, body)

    async def _remote(
        self, request: Request, recording: Recording, remote: RemoteAudio, etag: str, may_redirect: bool
    ) -> Response:
        """Return what a store on the network has, or the requested range of it, or redirect to its URL."""
        size = recording.size or 0
        requested = requested_range(request, etag, size)
        sent = requested or ByteRange(0, size, size)
        headers = _file_headers(recording, etag, sent)
        if requested is not None:
            headers |= {"Content-Range": requested.content_range}
        try:
            if request.method == "HEAD":
                await remote.check()
                return Response(200, headers, unsent_body())  # a Range is ignored
            file_name = headers["Content-Disposition"].partition('"')[2].rstrip('"')
            if may_redirect and (url := await remote.redirect_url(headers["Content-Type"], file_name)):
                return Response(302, {"Location": url, "Cache-Control": "private, no-store"})
            body = await remote.open(sent.start, sent.length)
        except NotFound as error:
            raise missing_audio(recording) from error
        return Response(200 if requested is None else 206, headers, body)


def _require_channel(recording: Recording, channel: AudioChannel | None) -> None:
    if channel is not None and recording.channels != 2:
        message = "is not available: the recording has one channel"
        raise _invalid(FieldError("channel", message, FieldErrorCode.ONE_CHANNEL_RECORDING))


def _target_format(recording: Recording, name: str, channel: AudioChannel | None) -> AudioFormat:
    """Return the format to convert to. Raises InvalidInput if it is not supported or cannot hold the channels."""
    if name not in FORMATS:
        message = f"is required: {name!r} cannot be produced; expected one of {', '.join(FORMATS)}"
        raise _invalid(FieldError("format", message, FieldErrorCode.FORMAT_REQUIRED, {"allowed": list(FORMATS)}))
    if channel is None and recording.channels > FORMATS[name].channels:
        message = f"is required: {name} holds one channel; expected one of {', '.join(AudioChannel)}"
        params = {"format": name, "allowed": [*AudioChannel]}
        raise _invalid(FieldError("channel", message, FieldErrorCode.CHANNEL_REQUIRED, params))
    return FORMATS[name]


def _invalid(parameter: FieldError) -> InvalidInput:
    return InvalidInput("The request has an invalid query parameter.", [parameter])


def _file_headers(recording: Recording, etag: str, byte_range: ByteRange) -> dict[str, str]:
    stored_format = FORMATS.get(recording.format)
    suffix = recording.format if stored_format is None else stored_format.suffix
    return {
        **REVALIDATED,
        "Accept-Ranges": "bytes",
        "Content-Type": OCTET_STREAM if stored_format is None else stored_format.media_type,
        "Content-Disposition": f'attachment; filename="{recording.id}.{suffix}"',
        "Content-Length": str(byte_range.length),
        "ETag": etag,
    }
