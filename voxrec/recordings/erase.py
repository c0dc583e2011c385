"""The files of a Recording that was deleted: one job, owed in the transaction that deletes the row."""

from contextlib import suppress
from pathlib import Path
from typing import Protocol
from uuid import UUID

from voxrec.archive.interface import Archive
from voxrec.errors import NotFound, Unavailable
from voxrec.model import LEG_SUFFIXES, Job, Recording, Side, leg_name
from voxrec.threads import DeferToThread


class Recordings(Protocol):
    """What erasing needs of the store."""

    async def get(self, recording_id: UUID, /) -> Recording:
        """Return the Recording; NotFound where there is none."""


class Eraser:
    """Does the ``erase`` job. ``spool`` is Asterisk's recording directory as voxrec sees it."""

    def __init__(self, recordings: Recordings, archive: Archive, spool: Path, defer_to_thread: DeferToThread) -> None:
        self._recordings = recordings
        self._archive = archive
        self._spool = spool
        self._defer_to_thread = defer_to_thread

    async def __call__(self, job: Job) -> None:
        """Delete the archived file and the leg files, as far as they are there.

        Raises what another attempt may cure: Unavailable without the archive or the spool, OSError.
        """
        try:
            again = await self._recordings.get(job.recording_id)
        except NotFound:
            path = job.path
        else:  # a client gave the id to a new Recording, whose audio may have the old one's name
            path = job.path if job.path != again.path else None
        await self._defer_to_thread(self._erase, job.recording_id, path)

    def _erase(self, recording_id: UUID, path: str | None) -> None:
        if path is not None:
            with suppress(NotFound):  # a path that leads out of the archive is none of a file in it
                self._archive.delete(path)
        if not self._spool.is_dir():
            raise Unavailable(f"Asterisk's recording directory {self._spool} is not there")
        for side in Side:
            for suffix in LEG_SUFFIXES:
                (self._spool / f"{leg_name(recording_id, side)}.{suffix}").unlink(missing_ok=True)
