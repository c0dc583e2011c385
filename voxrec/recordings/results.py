"""The results of finishing, on the local disk for some time after PostgreSQL has committed them. Blocking.

With asynchronous replication, a standby that is promoted may lack the last commits. A Recording that was completed is
in progress again then, and its leg files, which were deleted after the commit, cannot be joined a second time: without
its result it would be taken for a call without audio. Results contain no numbers or names.
"""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec

from voxrec.model import Recording, RecordingState, Verdict

_CHECK_INTERVAL: Final = 30.0  # seconds between two searches for files to delete


class _Result(msgspec.Struct, kw_only=True, frozen=True):
    """The fields of a Recording that finishing determines."""

    state: RecordingState
    channels: int
    duration: float | None
    size: int | None
    sha256: str | None
    path: str | None
    verdict: Verdict | None


_FIELDS: Final = _Result.__struct_fields__


class FinishedResults:
    """The results, in ``directory``, each for ``retention`` seconds; 0: none."""

    def __init__(self, directory: Path, retention: float) -> None:
        self._directory = directory
        self._retention = retention
        self._next_check = 0.0

    def remember(self, recording: Recording) -> None:
        """Store the result of a Recording durably. Raises OSError."""
        if not self._retention:
            return
        self._delete_expired()
        self._directory.mkdir(mode=0o700, exist_ok=True)
        result = _Result(**{name: getattr(recording, name) for name in _FIELDS})
        path = self._path(recording.id)
        new = path.with_suffix(".new")
        with os.fdopen(os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(result))
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)

    def recall(self, recording: Recording) -> Recording | None:
        """Return a Recording with the result that it had before, or None if none is remembered. Raises OSError."""
        with suppress(FileNotFoundError, msgspec.DecodeError):
            result = msgspec.json.decode(self._path(recording.id).read_bytes(), type=_Result)
            return msgspec.structs.replace(recording, **{name: getattr(result, name) for name in _FIELDS})
        return None

    def forget(self, recording_id: UUID) -> None:
        """Delete the result of a Recording. Raises OSError."""
        self._path(recording_id).unlink(missing_ok=True)

    def _path(self, recording_id: UUID) -> Path:
        return self._directory / f"{recording_id}.json"

    def _delete_expired(self) -> None:
        if time.monotonic() < self._next_check or not self._directory.exists():
            return
        self._next_check = time.monotonic() + _CHECK_INTERVAL
        for path in self._directory.iterdir():
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > self._retention:
                    path.unlink()
