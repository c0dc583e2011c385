"""/recordings/:id/audio: what was said, in whole or in part, read from the archive no faster than it is taken."""

import os
import tempfile
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Final

import msgspec
from twisted.internet.defer import DeferredSemaphore

from voxrec.api.audio_uploads import TAKEN, NotAudio, audio_upload, examined
from voxrec.api.recordings import SHOWN
from voxrec.archive.interface import Archive
from voxrec.audio.convert import AudioChannel, convert
from voxrec.audio.formats import FORMATS, AudioFormat, find_format
from voxrec.errors import AudioError, Conflict, FieldError, InvalidInput, NotFound
from voxrec.model import Recording, RecordingState
from voxrec.store.recordings import Recordings
from voxrec.threads import DeferToThread
from voxrec.web import query
from voxrec.web.auth import Role, Scoped
from voxrec.web.conditions import etag_of
from voxrec.web.problems import RangeNotSatisfiable, RestError
from voxrec.web.ranges import Span, span_of
from voxrec.web.request import Now, Request
from voxrec.web.response import Response, updated
from voxrec.web.route import CONDITIONAL, ETAG, Route
from voxrec.web.uploads import PREFIX, SpoolUnavailable

LONGEST: Final = 86400.0  # seconds of an imported recording
_PARAMETERS: Final = {"format": query.audio_format, "channel": query.channel}
_CONVERSIONS: Final = 2  # at once; they keep a processor busy
_BLOCK: Final = 1 << 17  # bytes read at once
CACHING: Final = {"Cache-Control": "private, no-cache"}  # may be kept, by its listener alone, and is asked for again
_TO_COME: Final = frozenset(
    {RecordingState.PENDING, RecordingState.RECORDING, RecordingState.PAUSED, RecordingState.PROCESSING}
)


class NoAudioYet(RestError):
    """The audio is still to come."""

    status = 409
    code = "no-audio-yet"


class NotPending(Conflict):
    """Audio can be given to an imported Recording, and once."""

    code = "not-pending"


class AudioDamaged(RestError):
    """The archive does not hold what was put there."""

    status = 500
    code = "audio-damaged"


class AudioRoutes:
    """The routes of a Recording's audio. ``limit`` in bytes; ``work`` is for files on their way."""

    def __init__(
        self,
        recordings: Scoped[Recordings],
        archive: Archive,
        show: Callable[[Recording], bytes],
        now: Now,
        work: Path,
        limit: int,
        defer_to_thread: DeferToThread,
    ) -> None:
        self._recordings = recordings
        self._archive = archive
        self._show = show
        self._now = now
        self._work = work
        self._limit = limit
        self._few = DeferredSemaphore(_CONVERSIONS)
        self._defer_to_thread = defer_to_thread

    def routes(self) -> tuple[Route, ...]:
        """The route table."""
        return (
            Route(
                *("PUT", "/recordings/<id>/audio", Role.PROVISION, self._put),
                profile_scoped=True,
                upload=self._limit,
                body=TAKEN,
                response_model=SHOWN,
                request_headers=CONDITIONAL,
                response_headers=ETAG,
                errors=(NotPending, NotAudio),
            ),
            Route(
                *("GET", "/recordings/<id>/audio", Role.READ, self._get, None),
                profile_scoped=True,
                query=_PARAMETERS,
                response_model=tuple(
                    sorted({*(known.media_type for known in FORMATS.values()), "application/octet-stream"})
                ),
                responses={206: None},
                request_headers=(*CONDITIONAL, "Range", "If-Range"),
                response_headers=("ETag", "Accept-Ranges", "Content-Disposition"),
                errors=(NoAudioYet, RangeNotSatisfiable, AudioDamaged),
            ),
        )

    async def _get(self, request: Request) -> Response:
        wanted = query.read(request.query(), _PARAMETERS)
        recording = await self._recordings.of(request.principal).get(request.id)
        path = path_of(recording)
        channel, name = wanted.get("channel"), wanted.get("format", recording.format)
        if channel is not None and recording.channels != 2:
            fault = FieldError("channel", "cannot be chosen: the recording has one channel")
            raise InvalidInput("Parameters of the query do not fit.", [fault])
        if channel is None and name == recording.format:
            return await self._as_it_is(request, recording, path)
        if name in FORMATS and channel is None and recording.channels > FORMATS[name].channels:
            told = f"is needed here: {name} holds one channel; {', '.join(AudioChannel)} can be chosen"
            raise InvalidInput("Parameters of the query do not fit.", [FieldError("channel", told)])
        if name not in FORMATS:
            fault = FieldError("format", f"is needed here: {name!r} cannot be made; known are {', '.join(FORMATS)}")
            raise InvalidInput("Parameters of the query do not fit.", [fault])
        return await self._converted(request, recording, path, FORMATS[name], channel)

    async def _converted(
        self, request: Request, recording: Recording, path: str, form: AudioFormat, channel: AudioChannel | None
    ) -> Response:
        """Something made of it for this answer alone.

        An encoder may give other bytes each time, so that the tag is a weak one and there are no ranges. HEAD makes
        nothing, and so does not know the length.
        """
        tag = f'"{recording.sha256 or recording.id}-{form.name}-{channel or "all"}"'
        request.conditions.require_readable(tag)
        headers = {**CACHING, "ETag": f"W/{tag}"}
        if request.conditions.unchanged(tag):
            return Response(304, headers)
        side = "" if channel is None else f"-{channel}"
        headers |= {
            "Accept-Ranges": "none",
            "Content-Type": form.media_type,
            "Content-Disposition": f'attachment; filename="{recording.id}{side}.{form.suffix}"',
        }
        if request.method == "HEAD":
            os.close(await self._defer_to_thread(self._open, path, recording))
            return Response(200, headers, _no_body())
        async with self._few:
            descriptor: int = await self._defer_to_thread(self._convert, path, recording, form, channel)
        size = os.fstat(descriptor).st_size
        body = FilePart(descriptor, 0, size, self._defer_to_thread)
        return Response(200, {**headers, "Content-Length": str(size)}, body)

    def _convert(self, path: str, recording: Recording, form: AudioFormat, channel: AudioChannel | None) -> int:
        """Open a file that is nowhere else, and gone once it is closed."""
        os.close(self._open(path, recording))
        try:
            self._work.mkdir(mode=0o750, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=PREFIX, dir=self._work)
            os.close(handle)
            output = Path(name)
            try:
                convert(self._archive.locate(path), output, form, channel, FORMATS.get(recording.format))
                return os.open(output, os.O_RDONLY | os.O_CLOEXEC)
            finally:
                output.unlink(missing_ok=True)
        except AudioError as fault:
            raise AudioDamaged(f"The audio of recording {recording.id} cannot be read: {fault.detail}.") from fault
        except OSError as error:
            raise SpoolUnavailable(f"there is no room to convert in {self._work}: {error}") from error

    async def _put(self, request: Request) -> Response:
        """The audio of an imported Recording: kept as it came."""
        query.read(request.query(), {})
        upload = audio_upload(request)
        recordings = self._recordings.of(request.principal)
        self._require_pending(request, await recordings.get(request.id))
        info, seconds = await self._defer_to_thread(examined, upload.path, 2, LONGEST)
        form = find_format(info.container, info.subtype)
        if form is None:
            raise NotAudio(f"The audio is {info.container} ({info.subtype}), which is not one of {', '.join(FORMATS)}.")
        found = {"format": form.name, "channels": info.channels, "duration": seconds}

        async def bring(current: Recording) -> Recording:
            self._require_pending(request, current)
            began = current.started_at or current.created_at
            stored = await self._defer_to_thread(self._archive.put, upload.path, current.id, began, form.suffix)
            return msgspec.structs.replace(
                current,
                state=RecordingState.COMPLETED,
                path=stored.path,
                size=stored.size,
                sha256=stored.sha256,
                updated_at=max(current.updated_at, self._now()),
                **found,
            )

        return updated(self._show(await recordings.update_async(request.id, bring)))

    def _require_pending(self, request: Request, recording: Recording) -> None:
        request.conditions.require(etag_of(self._show(recording)))
        if recording.state is not RecordingState.PENDING:
            raise NotPending(f"Recording {recording.id} takes no audio: it is {recording.state}, and not pending.")

    async def _as_it_is(self, request: Request, recording: Recording, path: str) -> Response:
        etag = f'"{recording.sha256 or recording.id}"'
        request.conditions.require_readable(etag)
        if request.conditions.unchanged(etag):
            return Response(304, {**CACHING, "ETag": etag})
        descriptor: int = await self._defer_to_thread(self._open, path, recording)
        try:
            span = _span(request, etag, recording.size or 0)
        except BaseException:
            os.close(descriptor)
            raise
        return self._answer(recording, etag, span, descriptor)

    def _answer(self, recording: Recording, etag: str, span: Span, descriptor: int) -> Response:
        known = FORMATS.get(recording.format)
        suffix = recording.format if known is None else known.suffix
        headers = {
            **CACHING,
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream" if known is None else known.media_type,
            "Content-Disposition": f'attachment; filename="{recording.id}.{suffix}"',
            "Content-Length": str(span.length),
            "ETag": etag,
        }
        body = FilePart(descriptor, span.start, span.length, self._defer_to_thread)
        if span.length == span.size:
            return Response(200, headers, body)
        return Response(206, {**headers, "Content-Range": span.content_range}, body)

    def _open(self, path: str, recording: Recording) -> int:
        """Open the audio, having seen that it is all there: half a file must never pass for the whole."""
        try:
            descriptor = os.open(self._archive.locate(path), os.O_RDONLY | os.O_CLOEXEC)
        except (NotFound, OSError) as error:
            raise AudioDamaged(f"The archive does not give the audio of recording {recording.id}.") from error
        size = os.fstat(descriptor).st_size
        if size != recording.size:
            os.close(descriptor)
            raise AudioDamaged(
                f"The archive has {size} bytes of recording {recording.id}, and {recording.size} were put there."
            )
        return descriptor


class FilePart:
    """The bytes of an open file from ``start`` on, ``length`` of them. Owns the descriptor."""

    def __init__(self, descriptor: int, start: int, length: int, defer_to_thread: DeferToThread) -> None:
        self._descriptor = descriptor
        self._at = start
        self._end = start + length
        self._defer_to_thread = defer_to_thread

    def __aiter__(self) -> "FilePart":
        return self

    async def __anext__(self) -> bytes:
        if self._at == self._end:
            raise StopAsyncIteration
        wanted = min(_BLOCK, self._end - self._at)
        block = _at_hand(self._descriptor, wanted, self._at)
        if block is None:
            block = await self._defer_to_thread(os.pread, self._descriptor, wanted, self._at)
        if not block:
            raise AudioDamaged("The file became shorter while it was sent.")
        self._at += len(block)
        return block

    async def aclose(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def _at_hand(descriptor: int, length: int, start: int) -> bytes | None:
    """What of a file is in memory already, without waiting for the disk (preadv2(2)); None where a thread has to."""
    block = bytearray(length)
    try:
        return bytes(block[: os.preadv(descriptor, [block], start, os.RWF_NOWAIT)])
    except OSError:  # it is on the disk still, or the file system cannot tell
        return None


async def _no_body() -> AsyncGenerator[bytes, None]:
    """Of a HEAD whose GET has a body."""
    return
    yield b""


def path_of(recording: Recording) -> str:
    """Where the audio is; raises where there is none."""
    if recording.path is not None:
        return recording.path
    if recording.state in _TO_COME:
        raise NoAudioYet(f"The audio of recording {recording.id} is still to come: it is {recording.state}.")
    raise NotFound(f"There is no audio of recording {recording.id}: it is {recording.state}.")


def _span(request: Request, etag: str, size: int) -> Span:
    """What part is asked for. Range counts for GET alone, and where If-Range still holds (RFC 9110 section 13.1.5)."""
    whole = Span(0, size, size)
    if request.method != "GET" or request.headers.get("if-range", etag) != etag:
        return whole
    return span_of(request.headers.get("range", ""), size) or whole
