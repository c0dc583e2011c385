"""The interface of every archive, whatever its storage."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol
from uuid import UUID

from voxrec.errors import Unavailable
from voxrec.model import Recording


class ArchiveUnavailable(Unavailable):
    """The archive cannot be read or written now: a full disk, a missing mount, or a permission error."""

    code = "archive-unavailable"


class StoreError(ArchiveUnavailable):
    """The S3 store did not do what was requested.

    ``reason`` is its error code, or the name of the exception. ``retry_after`` is the number of seconds before which it
    does not want another request. ``refused``: it responded, so that it can be reached.
    """

    def __init__(self, detail: str, reason: str, *, retry_after: float = 0.0, refused: bool = False) -> None:
        super().__init__(detail)
        self.reason = reason
        self.retry_after = retry_after
        self.refused = refused


class FileDamaged(ValueError):
    """The content of a local file is not that of its Recording."""


class UploadCancelled(StoreError):
    """The upload was abandoned, because voxrec stops."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in the archive. ``path`` identifies it within the archive; ``size`` is in bytes, ``sha256`` in hex."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectLock:
    """What protects an object from deletion: a legal hold, and the time until which it is retained."""

    hold: bool = False
    retain_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What a store says about an object: its size in bytes, its SHA-256 in hex as noted by voxrec, and its version."""

    size: int
    sha256: str | None
    version: str | None


class ByteStream(Protocol):
    """The body of a response, which is read from a store as the client receives it."""

    def __aiter__(self) -> "ByteStream":
        """Return the stream itself."""

    async def __anext__(self) -> bytes:
        """Return the next block, or raise StopAsyncIteration. Raises ArchiveUnavailable."""

    async def aclose(self) -> None:
        """Close the connection."""


class RemoteAudio(Protocol):
    """The audio of a Recording that only a store on the network has."""

    async def check(self) -> None:
        """Raise NotFound if the store has no object of this size, and ArchiveUnavailable if it does not respond."""

    async def open(self, start: int, length: int) -> ByteStream:
        """Return ``length`` bytes from the offset ``start``. Raises NotFound and ArchiveUnavailable."""

    async def redirect_url(self, media_type: str, file_name: str) -> str | None:
        """Return the URL from which clients are to download the audio themselves; None: they are not."""


class Archive(Protocol):
    """Storage for finished recordings. Every method is idempotent and raises `ArchiveUnavailable`.

    The methods block, except for those that return awaitables.
    """

    async def obtain(self, recording: Recording) -> AbstractAsyncContextManager[Path]:
        """Return a local file with the audio of a Recording; it can be read until the context ends.

        Raises NotFound if the archive has no such file.
        """

    async def remote_audio(self, recording: Recording) -> RemoteAudio | None:
        """Return the audio that only a store on the network has; None if there is a local file, or no audio."""

    def put(self, source: Path, recording_id: UUID, started_at: datetime, suffix: str) -> StoredFile:
        """Move ``source`` into the archive. When this returns, the file is stored durably and ``source`` is gone."""

    def locate(self, path: str) -> Path:
        """Return a local file with the content. Raises NotFound if the archive has no such file."""

    def delete(self, path: str) -> None:
        """Delete the file, if it exists."""

    def list_before(self, time: datetime) -> dict[str, UUID]:
        """Return the paths of all files stored before ``time``, complete or not, and the Recordings in their names."""

    def quarantine(self, path: str) -> None:
        """Move the file to the quarantine, if it exists."""

    def list_quarantined(self) -> dict[str, UUID]:
        """Return the paths of all files in the quarantine, and the Recordings in their names."""

    def was_quarantined_before(self, path: str, time: datetime) -> bool:
        """Return whether a file in the quarantine was moved there before ``time``."""

    def delete_quarantined(self, path: str) -> None:
        """Delete a file in the quarantine, if it exists."""

    def count_quarantined(self) -> int:
        """Return the number of files in the quarantine."""
