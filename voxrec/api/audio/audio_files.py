"""Access to the archived audio files of Recordings: opening them, and streaming them as response bodies."""

import os
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

from voxrec.archive.interface import Archive
from voxrec.audio.formats import FORMATS
from voxrec.errors import NotFound
from voxrec.files import open_regular
from voxrec.model import Recording, RecordingState
from voxrec.threads import DeferToThread
from voxrec.web.body import OCTET_STREAM
from voxrec.web.errors import RestError

AUDIO_TYPES: Final = tuple(sorted({*(each.media_type for each in FORMATS.values()), OCTET_STREAM}))
"""The media types of audio in responses."""
REVALIDATED: Final = {"Cache-Control": "private, no-cache"}
"""Response headers: only the client may cache the audio, and has to revalidate it."""
_BLOCK_SIZE: Final = 1 << 17  # bytes
_AUDIO_EXPECTED: Final = frozenset(
    {RecordingState.PENDING, RecordingState.RECORDING, RecordingState.PAUSED, RecordingState.PROCESSING}
)


class NoAudioYet(RestError):
    """The recording has no audio yet. Try again once its state is `completed`."""

    status = 409
    code = "no-audio-yet"


class AudioDamaged(RestError):
    """The archived audio file is missing or damaged."""

    status = 500
    code = "audio-damaged"


def require_audio(recording: Recording) -> str:
    """Return the archive path of a Recording's audio.

    Raises NoAudioYet if the audio is still expected, NotFound if there will be none.
    """
    if recording.path is not None:
        return recording.path
    if recording.state in _AUDIO_EXPECTED:
        raise NoAudioYet(f"Recording {recording.id} has no audio yet: its state is {recording.state}.")
    raise NotFound(f"Recording {recording.id} has no audio: its state is {recording.state}.")


async def obtain_audio(archive: Archive, recording: Recording) -> AbstractAsyncContextManager[Path]:
    """Return a local file with a Recording's audio. Raises AudioDamaged if it is missing, and ArchiveUnavailable."""
    try:
        return await archive.obtain(recording)
    except NotFound as error:
        raise missing_audio(recording) from error


def open_audio(archive: Archive, recording: Recording, path: str) -> int:
    """Open a Recording's local audio file and return its file descriptor. Blocks: run it in a thread.

    Raises AudioDamaged as `open_audio_file`, and ArchiveUnavailable.
    """
    try:
        location = archive.locate(path)
    except NotFound as error:
        raise missing_audio(recording) from error
    return open_audio_file(recording, location)


def missing_audio(recording: Recording) -> AudioDamaged:
    """Return the error for a Recording whose audio is not where it was stored."""
    return AudioDamaged(f"The archived audio of recording {recording.id} cannot be opened.")


def open_audio_file(recording: Recording, location: Path) -> int:
    """Open a file with a Recording's audio for reading and return its descriptor. Blocks: run it in a thread.

    Raises AudioDamaged if the file is missing or its size differs from the stored one, so that a truncated file is
    never sent as if it were complete.
    """
    try:
        descriptor = open_regular(location)
    except OSError as error:
        raise missing_audio(recording) from error
    size = os.fstat(descriptor).st_size
    if size != recording.size:
        os.close(descriptor)
        raise AudioDamaged(
            f"The archived audio of recording {recording.id} has {size} bytes; {recording.size} are expected."
        )
    return descriptor


class FileSection:
    """A response body: ``length`` bytes of an open file from the offset ``start``. It closes the descriptor."""

    def __init__(self, descriptor: int, start: int, length: int, defer_to_thread: DeferToThread) -> None:
        self._descriptor = descriptor
        self._offset = start
        self._end = start + length
        self._defer_to_thread = defer_to_thread

    def __aiter__(self) -> "FileSection":
        return self

    async def __anext__(self) -> bytes:
        """Return the next block. Raises AudioDamaged if the file has become shorter."""
        if self._offset == self._end:
            raise StopAsyncIteration
        length = min(_BLOCK_SIZE, self._end - self._offset)
        block = _read_cached(self._descriptor, length, self._offset)
        if block is None:
            block = await self._defer_to_thread(os.pread, self._descriptor, length, self._offset)
        if not block:
            raise AudioDamaged("The audio file was truncated while it was sent.")
        self._offset += len(block)
        return block

    async def aclose(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def _read_cached(descriptor: int, length: int, offset: int) -> bytes | None:
    """Read what is in the page cache without waiting for the disk (preadv2(2)). None: it has to be read in a thread."""
    block = bytearray(length)
    try:
        return bytes(block[: os.preadv(descriptor, [block], offset, os.RWF_NOWAIT)])
    except OSError:  # not cached, or the file system does not support RWF_NOWAIT
        return None
