"""/recordings/:id/peaks: the outline of what was said, to draw it."""

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct
from twisted.internet.defer import DeferredSemaphore

from voxrec.api.audio import CACHING, AudioDamaged, NoAudioYet, path_of
from voxrec.archive.interface import Archive
from voxrec.audio.formats import FORMATS
from voxrec.audio.peaks import compute_peaks
from voxrec.audio.waveform import render_waveform
from voxrec.errors import AudioError, NotFound
from voxrec.model import Recording
from voxrec.store.recordings import Recordings
from voxrec.threads import DeferToThread
from voxrec.web import query
from voxrec.web.auth import Role, Scoped
from voxrec.web.request import Request
from voxrec.web.response import JSON, Response
from voxrec.web.route import CONDITIONAL, ETAG, Route

PNG: Final = "image/png"
_USUAL: Final = 800  # points, about as many as a page has room for
_AT_ONCE: Final = 2  # each reads a whole file
_PARAMETERS: Final = {"points": query.points}

Peak = Annotated[int, Meta(ge=-128, le=127)]
Pair = Annotated[list[Peak], Meta(min_length=2, max_length=2)]
Outline = list[list[Pair]]


class Peaks(Struct, frozen=True, kw_only=True):
    """The outline of a Recording's audio: ``rate`` pairs a second, in ``peaks`` by channel, the caller's first.

    Each pair is the lowest and the highest sample of its stretch, from -128 to 127. ``rate`` is null where the audio
    has no length.
    """

    channels: Literal[1, 2]
    rate: float | None
    peaks: Annotated[Outline, Meta(examples=[[[[-3, 4], [-90, 87]]]])]


class PeaksRoutes:
    """The outlines of Recordings."""

    def __init__(self, recordings: Scoped[Recordings], archive: Archive, defer_to_thread: DeferToThread) -> None:
        self._recordings = recordings
        self._archive = archive
        self._few = DeferredSemaphore(_AT_ONCE)
        self._defer_to_thread = defer_to_thread

    def routes(self) -> tuple[Route, ...]:
        """The route table."""
        common: dict[str, Any] = {
            "profile_scoped": True,
            "query": _PARAMETERS,
            "request_headers": CONDITIONAL,
            "response_headers": ETAG,
            "errors": (NoAudioYet, AudioDamaged),
            "tag": "recordings",
        }
        return (
            Route("GET", "/recordings/<id>/peaks", Role.READ, self._json, response_model=Peaks, **common),
            Route("GET", "/recordings/<id>/peaks.png", Role.READ, self._png, None, response_model=(PNG,), **common),
        )

    async def _json(self, request: Request) -> Response:
        """The outline as numbers."""
        return await self._told(request, JSON, _encoded)

    async def _png(self, request: Request) -> Response:
        """The outline as a picture, one pixel wide for each point."""
        return await self._told(request, PNG, _painted)

    async def _told(self, request: Request, kind: str, make: Callable[[Recording, Outline], bytes]) -> Response:
        points = query.read(request.query(), _PARAMETERS).get("points", _USUAL)
        recording = await self._recordings.of(request.principal).get(request.id)
        path = path_of(recording)
        # the audio's own tag, and what is made of it
        etag = f'"{recording.sha256 or recording.id}-{kind.rpartition("/")[2]}-{points}"'
        request.conditions.require_readable(etag)
        headers = {**CACHING, "ETag": etag}
        if request.conditions.unchanged(etag):
            return Response(304, headers)
        async with self._few:
            body: bytes = await self._defer_to_thread(self._made, recording, path, points, make)
        return Response(200, {**headers, "Content-Type": kind}, body)

    def _made(self, recording: Recording, path: str, points: int, make: Callable[[Recording, Outline], bytes]) -> bytes:
        try:
            pairs = compute_peaks(self._archive.locate(path), points, FORMATS.get(recording.format))
            found = [[list(pair) for pair in channel] for channel in pairs]
        except (NotFound, AudioError, OSError) as error:
            raise AudioDamaged(f"The archive does not give the audio of recording {recording.id}.") from error
        return make(recording, found)


def _encoded(recording: Recording, found: Outline) -> bytes:
    count = len(found[0])
    rate = count / recording.duration if recording.duration else None
    return msgspec.json.encode(Peaks(channels=2 if len(found) == 2 else 1, rate=rate, peaks=found))


def _painted(_: Recording, found: Outline) -> bytes:
    return render_waveform([[(low, high) for low, high in channel] for channel in found])
