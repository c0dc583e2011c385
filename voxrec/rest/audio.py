"""/recordings/:id/audio: what was said, in whole or in part, read from the archive no faster than it is taken."""

import os
from typing import Final

from voxrec.archive.interface import Archive
from voxrec.audio.formats import FORMATS
from voxrec.errors import NotFound
from voxrec.model import Recording, RecordingState
from voxrec.rest import query
from voxrec.rest.auth import Guarded, Role
from voxrec.rest.exchange import READING, Answer, Ask, DeferToThread, Route
from voxrec.rest.problems import RangeNotSatisfiable, RestError
from voxrec.rest.ranges import Span, span_of
from voxrec.store.recordings import Recordings

_BLOCK: Final = 1 << 17  # bytes read at once
_CACHING: Final = {"Cache-Control": "private, no-cache"}  # may be kept, by its listener alone, and is asked for again
_TO_COME: Final = frozenset(
    {RecordingState.PENDING, RecordingState.RECORDING, RecordingState.PAUSED, RecordingState.PROCESSING}
)


class NoAudioYet(RestError):
    """The audio is still to come."""

    status = 409
    code = "no-audio-yet"


class AudioDamaged(RestError):
    """The archive does not hold what was put there."""

    status = 500
    code = "audio-damaged"


class AudioRoutes:
    """The route of a Recording's audio."""

    def __init__(self, recordings: Guarded[Recordings], archive: Archive, defer_to_thread: DeferToThread) -> None:
        self._recordings = recordings
        self._archive = archive
        self._defer_to_thread = defer_to_thread

    def routes(self) -> tuple[Route, ...]:
        """The route table."""
        return (
            Route(
                *("GET", "/recordings/<id>/audio", Role.READ, self._get, None),
                shows=tuple(sorted({*(known.media_type for known in FORMATS.values()), "application/octet-stream"})),
                also={206: None},
                asks=(*READING, "Range", "If-Range"),
                tells=("ETag", "Accept-Ranges", "Content-Disposition"),
                fails=(NoAudioYet, RangeNotSatisfiable, AudioDamaged),
            ),
        )

    async def _get(self, ask: Ask) -> Answer:
        query.read(ask.query(), {})
        recording = await self._recordings.of(ask.principal).get(ask.id)
        path = _path(recording)
        etag = f'"{recording.sha256 or recording.id}"'
        ask.conditions.demand_readable(etag)
        if ask.conditions.unchanged(etag):
            return Answer(304, {**_CACHING, "ETag": etag})
        descriptor: int = await self._defer_to_thread(self._open, path, recording)
        try:
            span = _span(ask, etag, recording.size or 0)
        except BaseException:
            os.close(descriptor)
            raise
        return self._answer(recording, etag, span, descriptor)

    def _answer(self, recording: Recording, etag: str, span: Span, descriptor: int) -> Answer:
        known = FORMATS.get(recording.format)
        suffix = recording.format if known is None else known.suffix
        headers = {
            **_CACHING,
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream" if known is None else known.media_type,
            "Content-Disposition": f'attachment; filename="{recording.id}.{suffix}"',
            "Content-Length": str(span.length),
            "ETag": etag,
        }
        body = FilePart(descriptor, span.start, span.length, self._defer_to_thread)
        if span.length == span.size:
            return Answer(200, headers, body)
        return Answer(206, {**headers, "Content-Range": span.content_range}, body)

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
        block: bytes = await self._defer_to_thread(os.pread, self._descriptor, wanted, self._at)
        if not block:
            raise AudioDamaged("The file became shorter while it was sent.")
        self._at += len(block)
        return block

    async def aclose(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def _path(recording: Recording) -> str:
    """Where the audio is; raises where there is none."""
    if recording.path is not None:
        return recording.path
    if recording.state in _TO_COME:
        raise NoAudioYet(f"The audio of recording {recording.id} is still to come: it is {recording.state}.")
    raise NotFound(f"There is no audio of recording {recording.id}: it is {recording.state}.")


def _span(ask: Ask, etag: str, size: int) -> Span:
    """What part is asked for. Range counts for GET alone, and where If-Range still holds (RFC 9110 section 13.1.5)."""
    whole = Span(0, size, size)
    if ask.method != "GET" or ask.headers.get("if-range", etag) != etag:
        return whole
    return span_of(ask.headers.get("range", ""), size) or whole
