"""The jobs ``erase`` and ``erase-legs``: delete the files of a deleted Recording.

They are enqueued in the transaction of the deletion. Any node deletes what is in the archive; what a node has recorded
is deleted by that node.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol
from uuid import UUID

from voxrec.archive.interface import Archive, StoreError
from voxrec.archive.quarantine import delete_quarantined_file, list_quarantined_files
from voxrec.errors import DeliveryError, NotFound, Unavailable
from voxrec.model import Job, Recording, Side, StoredObject
from voxrec.recordings.legs import delete_leg, leg_paths, require_spool
from voxrec.threads import DeferToThread

DeleteObject = Callable[[StoredObject], Awaitable[object]]
"""Deletes all versions of an object. Raises StoreError."""
_LOCK_DELAY: Final = 21_600.0  # seconds until an object is tried again whose deletion the store refused


class Recordings(Protocol):
    """The repository methods that erasing needs."""

    async def get(self, recording_id: UUID, /) -> Recording:
        """Return the Recording. Raises NotFound if there is none."""


class Eraser:
    """Handles ``erase`` jobs, and with `erase_from_spool` those of the kind ``erase-legs``.

    ``spool`` is Asterisk's recording directory, at the path at which voxrec sees it; ``work_directory`` has the
    temporary files of attempts to finish Recordings.
    """

    def __init__(
        self,
        recordings: Recordings,
        archive: Archive,
        spool: Path,
        work_directory: Path,
        defer_to_thread: DeferToThread,
        delete_object: DeleteObject | None = None,
    ) -> None:
        self._recordings = recordings
        self._archive = archive
        self._spool = spool
        self._work_directory = work_directory
        self._defer_to_thread = defer_to_thread
        self._delete_object = delete_object

    async def __call__(self, job: Job) -> None:
        """Delete the archived file and object, the leg files, quarantined and temporary files of the Recording.

        Raises Unavailable if the archive, the S3 store or the spool is unavailable, and OSError; the job is then
        retried. Raises DeliveryError if Object Lock prevents the deletion.
        """
        await self._defer_to_thread(self._erase, job.recording_id, await self._path(job))
        if job.stored_object is not None:
            await self._erase_object(job, job.stored_object)

    async def _path(self, job: Job) -> str | None:
        """Return the path of the file, unless the id was used for a new Recording, whose audio is at the same path."""
        try:
            recreated = await self._recordings.get(job.recording_id)
        except NotFound:
            return job.path
        return job.path if job.path != recreated.path else None

    async def _erase_object(self, job: Job, stored: StoredObject) -> None:
        if self._delete_object is None:
            raise Unavailable(f"s3://{stored.bucket}/{stored.key} cannot be deleted: s3.bucket is not set")
        try:
            recreated = await self._recordings.get(job.recording_id)
        except NotFound:
            pass
        else:
            present = recreated.stored_object
            if present is not None and (present.bucket, present.key) == (stored.bucket, stored.key):
                return
        try:
            await self._delete_object(stored)
        except StoreError as error:
            locked = _LOCK_DELAY if error.reason == "AccessDenied" else error.retry_after
            raise DeliveryError(error.detail, permanent=False, retry_after=locked) from error

    async def erase_from_spool(self, job: Job) -> None:
        """Delete what this node has of the Recording, if it exists. Raises as ``__call__``."""
        await self._defer_to_thread(self._erase, job.recording_id, await self._path(job))

    def _erase(self, recording_id: UUID, path: str | None) -> None:
        if path is not None:
            with suppress(NotFound):  # the path is outside the archive, so there is no file to delete
                self._archive.delete(path)
        erase_legs(self._archive, self._spool, self._work_directory, recording_id)


def erase_legs(archive: Archive, spool: Path, work_directory: Path, recording_id: UUID) -> None:
    """Delete the leg files, quarantined and temporary files of a Recording, if they exist.

    Raises Unavailable if the archive or the spool is unavailable, and OSError. Blocks: run it in a thread.
    """
    require_spool(spool)
    for side in Side:
        for leg in leg_paths(spool, recording_id, side):
            delete_leg(leg)
    for file, owner in archive.list_quarantined().items():
        if owner == recording_id:
            archive.delete_quarantined(file)
    for file, owner in list_quarantined_files(spool).items():
        if owner == recording_id:
            delete_quarantined_file(spool, file)
    for temporary in work_directory.glob(f"{recording_id}-*"):
        temporary.unlink(missing_ok=True)
