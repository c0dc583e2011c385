"""Conversion of archived audio into the format and channel that a client requests, within budgets.

Most formats are streamed: a part is converted when the client has received the one before. The others are converted
into a temporary file, whose size is limited. The conversion for a client that has left is abandoned.
"""

import os
import tempfile
from collections.abc import Callable, Generator, Hashable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from voxrec.api.audio.audio_files import AudioDamaged, FileSection, missing_audio, obtain_audio, open_audio_file
from voxrec.archive.interface import Archive
from voxrec.audio import stream
from voxrec.audio.convert import AudioChannel, convert
from voxrec.audio.formats import FORMATS, AudioFormat
from voxrec.errors import AudioError, NotFound
from voxrec.model import Recording
from voxrec.threads import DeferToThread
from voxrec.web.concurrency import ConcurrencyLimit
from voxrec.web.errors import ClientDisconnected, TooLarge
from voxrec.web.response import BodyStream
from voxrec.web.uploads import PREFIX, UploadUnavailable

_EVERYONE: Final = "everyone"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionBudget:
    """What conversions may use.

    - ``total``, ``per_token``: conversions in progress, until the client has received the result;
    - ``file_size``: bytes of the temporary file of one conversion.
    """

    total: int = 16
    per_token: int = 4
    file_size: int = 268_435_456


class AudioConverter:
    """Converts archived audio in threads. ``directory`` holds the temporary files until they are opened.

    ``is_stopping`` returns whether conversions are to be abandoned. It is called in a thread.
    """

    def __init__(
        self,
        archive: Archive,
        directory: Path,
        defer_to_thread: DeferToThread,
        budget: ConversionBudget,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._is_stopping = is_stopping
        self._archive = archive
        self._directory = directory
        self._defer_to_thread = defer_to_thread
        self._budget = budget
        self._total = ConcurrencyLimit(budget.total, "conversions")
        self._per_token = ConcurrencyLimit(budget.per_token, "conversions of this token")

    async def check_source(self, recording: Recording) -> None:
        """Raise AudioDamaged if the archived file cannot be opened or is truncated."""
        remote = await self._archive.remote_audio(recording)
        if remote is None:
            async with await obtain_audio(self._archive, recording) as source:
                await self._check_file(recording, source)
            return
        try:
            await remote.check()
        except NotFound as error:
            raise missing_audio(recording) from error

    async def _check_file(self, recording: Recording, source: Path) -> None:
        os.close(await self._defer_to_thread(open_audio_file, recording, source))

    async def convert(
        self,
        recording: Recording,
        target: AudioFormat,
        channel: AudioChannel | None,
        *,
        client: Hashable,
        disconnected: Callable[[], bool],
    ) -> tuple[BodyStream, int | None]:
        """Return the converted audio, and its size in bytes if it is known.

        ``disconnected`` returns whether the ``client`` has left; it is called in a thread. Raises TooManyRequests,
        AudioDamaged if the archived file cannot be read, TooLarge if the temporary file exceeds the budget, and
        UploadUnavailable if it cannot be written.
        """
        async with AsyncExitStack() as operation:
            operation.enter_context(self._per_token.operation(client))
            operation.enter_context(self._total.operation(_EVERYONE))
            check = partial(self._require_client, disconnected)
            source = await operation.enter_async_context(await obtain_audio(self._archive, recording))
            if stream.is_streamable(target):
                await self._check_file(recording, source)
                parts = stream.convert_in_parts(source, target, channel, FORMATS.get(recording.format), check)
                body = _ConvertedParts(recording, parts, self._defer_to_thread)
                return _ReleasingBody(body, operation.pop_all()), None
            descriptor: int = await self._defer_to_thread(
                self._convert_to_file, recording, source, target, channel, check
            )
            size = os.fstat(descriptor).st_size
            section = FileSection(descriptor, 0, size, self._defer_to_thread)
            return _ReleasingBody(section, operation.pop_all()), size

    def _require_client(self, disconnected: Callable[[], bool]) -> None:
        if disconnected() or self._is_stopping():
            raise ClientDisconnected("The client has disconnected, or voxrec is stopping.")

    def _convert_to_file(
        self,
        recording: Recording,
        source: Path,
        target: AudioFormat,
        channel: AudioChannel | None,
        require_client: Callable[[], None],
    ) -> int:
        """Convert into a file without a name, which disappears when its descriptor is closed."""
        require_client()  # it may have left while this waited for a thread
        os.close(open_audio_file(recording, source))
        try:
            self._directory.mkdir(mode=0o750, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=PREFIX, dir=self._directory)
            os.close(descriptor)
            output = Path(name)
            check = partial(_check_progress, output, self._budget.file_size, require_client)
            try:
                convert(source, output, target, channel, FORMATS.get(recording.format), check)
                return os.open(output, os.O_RDONLY | os.O_CLOEXEC)
            finally:
                output.unlink(missing_ok=True)
        except AudioError as error:
            raise _damaged(recording, error) from error
        except OSError as error:
            raise UploadUnavailable(f"cannot write converted audio in {self._directory}: {error}") from error


def _check_progress(output: Path, limit: int, require_client: Callable[[], None]) -> None:
    """Raise ClientDisconnected or TooLarge if a conversion is to be abandoned."""
    require_client()
    if output.stat().st_size > limit:
        raise TooLarge(f"The converted audio exceeds {limit} bytes. Request another format, such as wav, ogg or opus.")


def _damaged(recording: Recording, error: AudioError) -> AudioDamaged:
    return AudioDamaged(f"The archived audio of recording {recording.id} cannot be decoded: {error.detail}.")


class _ConvertedParts:
    """A response body whose parts are converted in threads, each when the client has received the one before."""

    def __init__(
        self, recording: Recording, parts: Generator[bytes, None, None], defer_to_thread: DeferToThread
    ) -> None:
        self._recording = recording
        self._parts = parts
        self._defer_to_thread = defer_to_thread

    def __aiter__(self) -> "_ConvertedParts":
        return self

    async def __anext__(self) -> bytes:
        """Return the next part. Raises AudioDamaged."""
        part: bytes | None = await self._defer_to_thread(self._next_part)
        if part is None:
            raise StopAsyncIteration
        return part

    async def aclose(self) -> None:
        """End the conversion."""
        await self._defer_to_thread(self._parts.close)

    def _next_part(self) -> bytes | None:
        try:
            return next((part for part in self._parts if part), None)
        except AudioError as error:
            raise _damaged(self._recording, error) from error


class _ReleasingBody:
    """A response body that gives its part of the budget back when it is closed."""

    def __init__(self, body: BodyStream, operation: AsyncExitStack) -> None:
        self._body = body
        self._operation = operation

    def __aiter__(self) -> "_ReleasingBody":
        return self

    async def __anext__(self) -> bytes:
        """Return the next part of the body."""
        return await anext(self._body)

    async def aclose(self) -> None:
        """Close the body."""
        try:
            await self._body.aclose()
        finally:
            await self._operation.aclose()
