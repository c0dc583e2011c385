"""Conversion of archived audio into the format and channel that a client requests."""

import os
import tempfile
from pathlib import Path
from typing import Final

from twisted.internet.defer import DeferredSemaphore

from voxrec.api.audio_files import AudioDamaged, FileSection, open_audio
from voxrec.archive.interface import Archive
from voxrec.audio.convert import AudioChannel, convert
from voxrec.audio.formats import FORMATS, AudioFormat
from voxrec.errors import AudioError
from voxrec.model import Recording
from voxrec.threads import DeferToThread
from voxrec.web.uploads import PREFIX, UploadUnavailable

_MAX_CONCURRENT: Final = 2  # each conversion occupies one processor


class AudioConverter:
    """Converts archived audio in threads. ``directory`` holds the results until they are opened."""

    def __init__(self, archive: Archive, directory: Path, defer_to_thread: DeferToThread) -> None:
        self._archive = archive
        self._directory = directory
        self._defer_to_thread = defer_to_thread
        self._semaphore = DeferredSemaphore(_MAX_CONCURRENT)

    async def check_source(self, recording: Recording, path: str) -> None:
        """Raise AudioDamaged if the archived file cannot be opened or is truncated."""
        os.close(await self._defer_to_thread(open_audio, self._archive, recording, path))

    async def convert(
        self, recording: Recording, path: str, target: AudioFormat, channel: AudioChannel | None
    ) -> tuple[FileSection, int]:
        """Return the converted audio and its size in bytes.

        Raises AudioDamaged if the archived file cannot be read, UploadUnavailable if the result cannot be written.
        """
        async with self._semaphore:
            descriptor: int = await self._defer_to_thread(self._convert, recording, path, target, channel)
        size = os.fstat(descriptor).st_size
        return FileSection(descriptor, 0, size, self._defer_to_thread), size

    def _convert(self, recording: Recording, path: str, target: AudioFormat, channel: AudioChannel | None) -> int:
        """Convert into a file without a name, which disappears when its descriptor is closed."""
        os.close(open_audio(self._archive, recording, path))
        try:
            self._directory.mkdir(mode=0o750, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=PREFIX, dir=self._directory)
            os.close(descriptor)
            output = Path(name)
            try:
                convert(self._archive.locate(path), output, target, channel, FORMATS.get(recording.format))
                return os.open(output, os.O_RDONLY | os.O_CLOEXEC)
            finally:
                output.unlink(missing_ok=True)
        except AudioError as error:
            raise AudioDamaged(
                f"The archived audio of recording {recording.id} cannot be decoded: {error.detail}."
            ) from error
        except OSError as error:
            raise UploadUnavailable(f"cannot write converted audio in {self._directory}: {error}") from error
