"""/recordings/<id>/peaks: the waveform of a Recording, as numbers and as an image."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct
from twisted.internet.defer import DeferredSemaphore

from voxrec.api.audio.audio_files import REVALIDATED, AudioDamaged, NoAudioYet, obtain_audio, require_audio
from voxrec.archive.interface import Archive
from voxrec.audio.formats import FORMATS
from voxrec.audio.peaks import compute_peaks
from voxrec.audio.waveform import render_waveform
from voxrec.errors import AudioError
from voxrec.model import Recording
from voxrec.store.recordings import Recordings
from voxrec.threads import DeferToThread
from voxrec.web.auth import Role, Scoped
from voxrec.web.errors import ClientDisconnected
from voxrec.web.parameters import integer
from voxrec.web.request import Request
from voxrec.web.response import JSON, Response, not_modified
from voxrec.web.route import CONDITIONAL, ETAG, Route

PNG: Final = "image/png"
_MAX_POINTS: Final = 4000
_DEFAULT_POINTS: Final = 800
_MAX_CONCURRENT: Final = 2  # each reads a whole audio file
_PARAMETERS: Final = {"points": integer(1, _MAX_POINTS, "Number of points in each channel.")}

Sample = Annotated[int, Meta(ge=-128, le=127)]
MinMax = Annotated[list[Sample], Meta(min_length=2, max_length=2)]
Waveform = list[list[MinMax]]
"""For each channel, the minimum and maximum of consecutive intervals of equal length."""
Encode = Callable[[Recording, Waveform], bytes]


class Peaks(Struct, frozen=True, kw_only=True):
    """The waveform of a recording.

    ``peaks`` has one array for each channel, the caller's first, of pairs: the minimum and the maximum sample of
    consecutive intervals of equal length, from -128 to 127. ``rate`` is the number of pairs per second, or null if the
    audio is empty.
    """

    channels: Literal[1, 2]
    rate: float | None
    peaks: Annotated[Waveform, Meta(examples=[[[[-3, 4], [-90, 87]]]])]


class PeaksRoutes:
    """The routes of a Recording's waveform."""

    def __init__(self, recordings: Scoped[Recordings], archive: Archive, defer_to_thread: DeferToThread) -> None:
        self._recordings = recordings
        self._archive = archive
        self._semaphore = DeferredSemaphore(_MAX_CONCURRENT)
        self._defer_to_thread = defer_to_thread

    def routes(self) -> tuple[Route, ...]:
        """Return the routes."""
        common: dict[str, Any] = {
            "profile_scoped": True,
            "query": _PARAMETERS,
            "request_headers": CONDITIONAL,
            "response_headers": ETAG,
            "errors": (NoAudioYet, AudioDamaged),
            "tag": "recordings",
        }
        return (
            Route(
                *("GET", "/recordings/<id>/peaks", Role.READ, self._numbers),
                response_model=Peaks,
                summary="Get the waveform of a recording",
                **common,
            ),
            Route(
                *("GET", "/recordings/<id>/peaks.png", Role.READ, self._image, None),
                response_model=(PNG,),
                summary="Get the waveform of a recording as an image",
                **common,
            ),
        )

    async def _numbers(self, request: Request) -> Response:
        """Minimum and maximum samples, for drawing the waveform."""
        return await self._respond(request, JSON, _encode_json)

    async def _image(self, request: Request) -> Response:
        """A PNG image of the waveform, one pixel wide for each point, with a row for each channel."""
        return await self._respond(request, PNG, _encode_png)

    async def _respond(self, request: Request, media_type: str, encode: Encode) -> Response:
        points = request.query.get("points", _DEFAULT_POINTS)
        recording = await self._recordings.visible_to(request.principal).get(request.id)
        require_audio(recording)
        etag = f'"{recording.sha256 or recording.id}-{media_type.rpartition("/")[2]}-{points}"'
        if (unchanged := not_modified(request.conditions, etag, REVALIDATED)) is not None:
            return unchanged
        async with self._semaphore:
            if request.disconnected():  # while it waited
                raise ClientDisconnected("The client has disconnected.")
            async with await obtain_audio(self._archive, recording) as audio:
                body: bytes = await self._defer_to_thread(_encoded_waveform, recording, audio, points, encode)
        return Response(200, {**REVALIDATED, "ETag": etag, "Content-Type": media_type}, body)


def _encoded_waveform(recording: Recording, audio: Path, points: int, encode: Encode) -> bytes:
    """Compute the waveform of an audio file. Blocks: run it in a thread."""
    try:
        channels = compute_peaks(audio, points, FORMATS.get(recording.format))
    except (AudioError, OSError) as error:
        raise AudioDamaged(f"The archived audio of recording {recording.id} cannot be read.") from error
    return encode(recording, [[list(pair) for pair in channel] for channel in channels])


def _encode_json(recording: Recording, waveform: Waveform) -> bytes:
    count = len(waveform[0])
    rate = count / recording.duration if recording.duration else None
    return msgspec.json.encode(Peaks(channels=2 if len(waveform) == 2 else 1, rate=rate, peaks=waveform))


def _encode_png(_: Recording, waveform: Waveform) -> bytes:
    return render_waveform([[(low, high) for low, high in channel] for channel in waveform])
