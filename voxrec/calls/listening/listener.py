"""One listener: a WAV stream of the audio of a call, from a bounded buffer."""

from collections import deque
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

import msgspec
from twisted.internet.interfaces import IReactorTime

from voxrec.audio.pcm_wav import MAX_DATA_SIZE, make_header
from voxrec.calls.listening.frames import FRAMES_PER_SECOND, Frame
from voxrec.clock import utc_now
from voxrec.deferreds import AsyncEvent
from voxrec.model import Listening, ListeningReport, ListenSide

BUFFER_FRAMES: Final = FRAMES_PER_SECOND
"""Frames (1 s) that wait for a slow client; of more, the oldest are dropped."""
CLIENT_LEFT: Final = "the client has disconnected"
_CHUNK_FRAMES: Final = 3  # sent at once: 60 ms
_WAIT: Final = 60.0  # seconds between two looks at a stream without audio


class Listener:
    """The audio of one call for one person, until `end` or until the client disconnects.

    It is the streamed body of a response. The WAV header names the largest possible size, since the length is not
    known. ``ended`` is called once with the listener.
    """

    def __init__(
        self,
        clock: IReactorTime,
        call_id: UUID,
        profile_id: UUID,
        listening: Listening,
        ended: Callable[["Listener"], None],
    ) -> None:
        self.call_id = call_id
        self.profile_id = profile_id
        self.listening = listening
        self.rate = 0
        """The sample rate in Hz, which is known before the first frame."""
        self.reason = ""
        """Why the listening has ended; empty until then."""
        self.dropped = 0
        """The number of frames that the client has not received because it is too slow."""
        self._clock = clock
        self._ended = ended
        self._began_at = clock.seconds()
        self._seconds = 0.0
        self._frames: deque[bytes] = deque()
        self._arrived = AsyncEvent(clock)
        self._header_due = True

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will be heard."""
        return bool(self.reason)

    @property
    def seconds(self) -> float:
        """The duration until now, or until the end."""
        return self._seconds if self.has_ended else self._clock.seconds() - self._began_at

    def report(self) -> ListeningReport:
        """Return the listening with its end, if it has ended."""
        end: dict[str, Any] = (
            {"ended_at": utc_now(self._clock), "seconds": round(self.seconds, 3), "reason": self.reason}
            if self.has_ended
            else {}
        )
        return ListeningReport(**msgspec.structs.asdict(self.listening), call_id=self.call_id, **end)

    def add(self, frame: Frame) -> None:
        """Add 20 ms of the call."""
        if self.has_ended:
            return
        if len(self._frames) >= BUFFER_FRAMES:
            self._frames.popleft()
            self.dropped += 1
        self._frames.append(frame.pcm(self.listening.side))
        if len(self._frames) >= _CHUNK_FRAMES:
            self._arrived.set()

    def end(self, reason: str) -> None:
        """End the stream, because of ``reason``. Only the first end counts."""
        if self.has_ended:
            return
        self._seconds = self.seconds
        self.reason = reason
        self._arrived.set()
        self._ended(self)

    # The body of the response.

    def __aiter__(self) -> "Listener":
        return self

    async def __anext__(self) -> bytes:
        """Return the header of the stream first, and then what there is to hear."""
        if self._header_due:
            self._header_due = False
            channels = 2 if self.listening.side is ListenSide.BOTH else 1
            return make_header(self.rate, channels, MAX_DATA_SIZE // (2 * channels) * (2 * channels))
        while len(self._frames) < _CHUNK_FRAMES and not self.has_ended:
            await self._arrived.wait(_WAIT)
        if not self._frames:
            raise StopAsyncIteration
        frames = b"".join(self._frames)
        self._frames.clear()
        return frames

    def close(self) -> None:
        """End the stream now, because the client has disconnected."""
        self.end(CLIENT_LEFT)
        self._frames.clear()

    async def aclose(self) -> None:
        """End the stream, unless it has ended."""
        self.close()
