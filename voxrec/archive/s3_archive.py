"""An archive whose files are stored in S3: the local archive has what is not uploaded yet, or is kept there, too."""

import os
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

from voxrec.archive.interface import ArchiveUnavailable, RemoteAudio
from voxrec.archive.local import LocalArchive
from voxrec.archive.s3 import S3Store
from voxrec.archive.s3_bodies import ObjectReader
from voxrec.errors import NotFound
from voxrec.model import Recording, StoredObject
from voxrec.threads import DeferToThread, run_in_this_thread

_BLOCK_SIZE: Final = 1 << 17  # bytes


class S3Archive(LocalArchive):
    """The local archive at ``root``, and the objects that ``store`` has.

    ``work_directory`` is for temporary copies. ``defer_to_thread`` runs requests to the store, which must not delay
    other work, and ``defer_local_to_thread`` what looks at the local archive. ``reread`` returns the present row of a
    Recording. ``shared``: all nodes use the same local archive. ``redirect_seconds`` is the lifetime of URLs to which
    clients are redirected; None: they are not.
    """

    def __init__(
        self,
        root: Path,
        store: S3Store,
        work_directory: Path,
        defer_to_thread: DeferToThread,
        reread: Callable[[UUID], Awaitable[Recording]],
        *,
        shared: bool = True,
        redirect_seconds: int | None = None,
        defer_local_to_thread: DeferToThread = run_in_this_thread,
    ) -> None:
        super().__init__(root, defer_local_to_thread)
        self._store = store
        self._work_directory = work_directory
        self._defer_to_thread = defer_to_thread
        self._reread = reread
        self._shared = shared
        self._redirect_seconds = redirect_seconds

    async def remote_audio(self, recording: Recording) -> RemoteAudio | None:
        """Return the audio in S3, unless there is a local file."""
        stored = recording.stored_object
        if recording.path is None or stored is None or not recording.uploaded:
            return None
        if await self._defer_local_to_thread(self._is_local, recording.path):
            return None
        return _S3Audio(self._store, recording, stored, self._defer_to_thread, self._redirect_seconds)

    async def obtain(self, recording: Recording) -> AbstractAsyncContextManager[Path]:
        """Return a local file: a hard link to the one in the archive, which may be removed meanwhile, or a copy."""
        try:
            return await self._obtain(recording)
        except NotFound:  # it may have been uploaded, and removed here, since the row was read
            return await self._obtain(await self._reread(recording.id))

    async def _obtain(self, recording: Recording) -> AbstractAsyncContextManager[Path]:
        if recording.path is None:
            raise NotFound(f"recording {recording.id} has no audio")
        if await self.remote_audio(recording) is None:
            path = await self._defer_local_to_thread(self._link, recording.path)
        else:
            path = await self._defer_to_thread(self._fetch, recording)
        return _Temporary(path, self._defer_local_to_thread)

    def locate(self, path: str) -> Path:
        """Return the location of a local file. Raises NotFound, and ArchiveUnavailable if another node may have it."""
        try:
            return super().locate(path)
        except NotFound as error:
            if self._shared:
                raise
            raise ArchiveUnavailable(f"{path} is on another node, or not uploaded to S3 yet") from error

    def _is_local(self, path: str) -> bool:
        try:
            super().locate(path)
        except (NotFound, ArchiveUnavailable):
            return False
        return True

    def _link(self, path: str) -> Path:
        source = self.locate(path)
        with self._new_file(source.suffix) as target:
            target.unlink()
            try:
                os.link(source, target)
            except FileNotFoundError as error:
                raise NotFound(f"the archive has no file {path!r}") from error
        return target

    def _fetch(self, recording: Recording) -> Path:
        assert recording.stored_object is not None, "the caller has checked it"
        with self._new_file(Path(recording.path or "").suffix) as target:
            self._store.fetch(recording.stored_object, target, recording.size or 0, recording.sha256)
        return target

    @contextmanager
    def _new_file(self, suffix: str) -> Iterator[Path]:
        """Create a file; remove it if the block raises."""
        try:
            self._work_directory.mkdir(mode=0o750, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix="copy-", suffix=suffix, dir=self._work_directory)
            os.close(descriptor)
            try:
                yield Path(name)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise ArchiveUnavailable(f"cannot write to {self._work_directory}: {error}") from error


class _Temporary(AbstractAsyncContextManager[Path]):
    """A file that is removed at the end of the context; in a thread, since that takes long for a large one."""

    def __init__(self, path: Path, defer_to_thread: DeferToThread) -> None:
        self._path = path
        self._defer_to_thread = defer_to_thread

    async def __aenter__(self) -> Path:
        return self._path

    async def __aexit__(self, *_: object) -> None:
        await self._defer_to_thread(self._path.unlink, missing_ok=True)


class _S3Audio:
    """The audio of a Recording in S3."""

    def __init__(
        self,
        store: S3Store,
        recording: Recording,
        stored: StoredObject,
        defer_to_thread: DeferToThread,
        redirect_seconds: int | None,
    ) -> None:
        self._store = store
        self._recording = recording
        self._stored = stored
        self._defer_to_thread = defer_to_thread
        self._redirect_seconds = redirect_seconds

    async def check(self) -> None:
        facts = await self._defer_to_thread(self._store.facts, self._stored)
        if facts.size != self._recording.size:
            raise NotFound(f"s3://{self._stored.bucket}/{self._stored.key} has {facts.size} bytes")

    async def open(self, start: int, length: int) -> "_S3Stream":
        reader: ObjectReader = await self._defer_to_thread(self._store.open, self._stored, start, length)
        return _S3Stream(reader, self._defer_to_thread)

    async def redirect_url(self, media_type: str, file_name: str) -> str | None:
        if self._redirect_seconds is None:
            return None
        url: str = await self._defer_to_thread(
            self._store.presigned_url, self._stored, self._redirect_seconds, media_type, file_name
        )
        return url


class _S3Stream:
    """An object as a response body: a block is read when the client has received the one before."""

    def __init__(self, reader: ObjectReader, defer_to_thread: DeferToThread) -> None:
        self._reader = reader
        self._defer_to_thread = defer_to_thread

    def __aiter__(self) -> "_S3Stream":
        return self

    async def __anext__(self) -> bytes:
        block: bytes = await self._defer_to_thread(self._reader.read, _BLOCK_SIZE)
        if not block:
            raise StopAsyncIteration
        return block

    async def aclose(self) -> None:
        self._reader.close()
