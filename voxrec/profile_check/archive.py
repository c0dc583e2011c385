"""Checks the archive by writing, reading and deleting a file."""

import hashlib
import os
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

from voxrec.archive.interface import Archive
from voxrec.errors import VoxrecError
from voxrec.files import make_directory
from voxrec.model import CheckName, CheckState, Profile, ProfileCheck
from voxrec.threads import DeferToThread

_SIZE: Final = 65_536  # bytes
_SUFFIX: Final = "check"
_DIRECTORY_MODE: Final = 0o750


CheckStore = Callable[[Profile], Awaitable[str]]
"""Writes, reads and deletes an object where Recordings of a Profile are stored. Returns where. Raises VoxrecError."""


class ArchiveCheck:
    """Writes a file as a Recording would be, compares what is read, and deletes it."""

    def __init__(
        self,
        archive: Archive,
        work_directory: Path,
        now: Callable[[], datetime],
        defer_to_thread: DeferToThread,
        check_store: CheckStore | None = None,
    ) -> None:
        self._archive = archive
        self._work_directory = work_directory
        self._now = now
        self._defer_to_thread = defer_to_thread
        self._check_store = check_store

    async def __call__(self, profile: Profile) -> Sequence[ProfileCheck]:
        """Return a row for the local archive and, if there is one, for the bucket of the Profile."""
        rows = [await self._check_local()]
        if self._check_store is not None:
            rows.append(await self._check_bucket(profile, self._check_store))
        return rows

    async def _check_bucket(self, profile: Profile, check_store: CheckStore) -> ProfileCheck:
        try:
            place = await check_store(profile)
        except VoxrecError as error:
            advice = "correct archiveBucket, the section s3 of the settings, or the permissions; see voxrec doctor"
            return ProfileCheck(name=CheckName.ARCHIVE, state=CheckState.FAILED, detail=error.detail, advice=advice)
        detail = f"an object was written to {place}, read and deleted"
        return ProfileCheck(name=CheckName.ARCHIVE, state=CheckState.OK, detail=detail)

    async def _check_local(self) -> ProfileCheck:
        try:
            await self._defer_to_thread(self._write_read_delete, self._now())
        except (VoxrecError, OSError) as error:
            detail = f"a file could not be written, read and deleted: {error}"
            advice = "check the mount, the permissions and the free space of the archive; voxrec doctor examines them"
            return ProfileCheck(name=CheckName.ARCHIVE, state=CheckState.FAILED, detail=detail, advice=advice)
        return ProfileCheck(name=CheckName.ARCHIVE, state=CheckState.OK, detail="a file was written, read and deleted")

    def _write_read_delete(self, now: datetime) -> None:
        content = os.urandom(_SIZE)
        make_directory(self._work_directory, _DIRECTORY_MODE)
        handle, name = tempfile.mkstemp(prefix="check-", dir=self._work_directory)
        source = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            stored = self._archive.put(source, uuid4(), now, _SUFFIX)
        finally:
            source.unlink(missing_ok=True)
        try:
            if self._archive.locate(stored.path).read_bytes() != content:
                raise OSError("the file that was read differs from what was written")
            if stored.sha256 != hashlib.sha256(content).hexdigest():
                raise OSError("the digest of the stored file is wrong")
        finally:
            self._archive.delete(stored.path)
