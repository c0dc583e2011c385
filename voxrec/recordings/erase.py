"""The jobs ``erase`` and ``erase-legs``: delete the files of a deleted Recording.

They are enqueued in the transaction of the deletion. Any node deletes what is in the archive; what a node has recorded
is deleted by that node.
"""

from contextlib import suppress
from pathlib import Path
from typing import Protocol
from uuid import UUID

from voxrec.archive.interface import Archive
from voxrec.archive.quarantine import delete_quarantined_file, list_quarantined_files
from voxrec.errors import NotFound
from voxrec.model import Job, Recording, Side
from voxrec.recordings.legs import delete_leg, leg_paths, require_spool
from voxrec.threads import DeferToThread


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
    ) -> None:
        self._recordings = recordings
        self._archive = archive
        self._spool = spool
        self._work_directory = work_directory
        self._defer_to_thread = defer_to_thread

    async def __call__(self, job: Job) -> None:
        """Delete the archived file, the leg files, quarantined and temporary files of the Recording, if they exist.

        Raises Unavailable if the archive or the spool is unavailable, and OSError; the job is then retried.
        """
        try:
            recreated = await self._recordings.get(job.recording_id)
        except NotFound:
            path = job.path
        else:  # the id was used for a new Recording, whose audio may be at the same path
            path = job.path if job.path != recreated.path else None
        await self._defer_to_thread(self._erase, job.recording_id, path)

    async def erase_from_spool(self, job: Job) -> None:
        """Delete what this node has of the Recording, if it exists. Raises as ``__call__``."""
        await self._defer_to_thread(erase_legs, self._archive, self._spool, self._work_directory, job.recording_id)

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
