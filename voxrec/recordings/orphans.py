"""Finds audio files that belong to no Recording and moves them to a quarantine directory.

Such a file is left if a process dies between storing a file and its row. A repeated finish or upload overwrites it,
because each Recording has one path in the archive. Files that remain for a day are moved to ``orphans``, below the
directory in which they are. They may be the only copy, so they are deleted only after the time in the settings, and not
while their Recording has a legal hold.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Final, Protocol, TypeVar
from uuid import UUID

from twisted.application.internet import TimerService
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.archive.interface import Archive
from voxrec.archive.quarantine import (
    count_quarantined_files,
    delete_quarantined_file,
    list_quarantined_files,
    quarantine_file,
    unchanged_since,
    was_quarantined_before,
)
from voxrec.clock import utc_now
from voxrec.errors import Unavailable
from voxrec.model import Side
from voxrec.recordings.legs import require_spool
from voxrec.threads import DeferToThread

T = TypeVar("T")
MIN_AGE: Final = timedelta(days=1)  # of a file that is checked; every operation that may still use a file is shorter
_CHECK_INTERVAL: Final = 3600.0  # seconds until a sweep that could not be completed is retried
_SWEEP_INTERVAL: Final = 86400.0  # seconds between two completed sweeps
_BATCH_SIZE: Final = 1000  # files per query
LEG_NAME: Final = re.compile(rf"voxrec-([0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})-(?:{'|'.join(Side)})\..+")


class Recordings(Protocol):
    """The repository methods that the sweep needs."""

    async def unreferenced_paths(self, files: Mapping[str, UUID], /) -> Collection[str]:
        """Return the archive paths that no Recording uses. Each path is passed with the Recording in its name."""

    async def missing_ids(self, recording_ids: Collection[UUID], /) -> Collection[UUID]:
        """Return the ids that are not ids of Recordings."""

    async def held_ids(self, recording_ids: Collection[UUID], /) -> Collection[UUID]:
        """Return the ids of Recordings that have a legal hold."""


class OrphanSweeper(TimerService):
    """Sweeps the archive and the spool once a day.

    ``spool`` is Asterisk's recording directory, at the path at which voxrec sees it. ``journal_pending`` returns the
    number of journal lines that are not applied to PostgreSQL yet; while there are any, nothing is decided, because
    they may contain the Recording of a file. Files are deleted ``retention`` after they were moved to the quarantine;
    None: never.
    """

    name = "orphans"
    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        recordings: Recordings,
        archive: Archive,
        spool: Path,
        journal_pending: Callable[[], int],
        defer_to_thread: DeferToThread,
        retention: timedelta | None = None,
    ) -> None:
        super().__init__(_CHECK_INTERVAL, self.sweep)
        self.clock = self._clock = clock
        self._recordings = recordings
        self._archive = archive
        self._spool = spool
        self._journal_pending = journal_pending
        self._defer_to_thread = defer_to_thread
        self._retention = retention
        self._next_sweep = 0.0
        self.count = 0
        """Files without a Recording as of the last sweep, in the quarantine or not."""

    async def sweep(self) -> None:
        """Sweep if the last completed sweep was a day ago or earlier. On failure the next call tries again."""
        now = self._clock.seconds()
        if now < self._next_sweep:
            return
        try:
            await self._sweep(utc_now(self._clock) - MIN_AGE)
        except (Unavailable, OSError) as error:
            self._log.warn(
                "could not check for files without a Recording; retrying in {interval:.0f} s: {error}",
                interval=_CHECK_INTERVAL,
                error=error,
            )

    async def _sweep(self, before: datetime) -> None:
        files = await self._defer_to_thread(self._archive.list_before, before)
        legs = await self._defer_to_thread(_list_legs_before, self._spool, before)
        if self._journal_pending():
            return
        orphans = await self._find_orphaned_files(files)
        orphaned_legs = await self._find_orphaned_legs(legs)
        self._next_sweep = self._clock.seconds() + _SWEEP_INTERVAL
        if 2 * len(orphans) > len(files):
            self._log.error(
                "{count} of {all} files in the archive belong to no Recording, so archive and database may not belong "
                "together; no file is moved, check archive.directory and database.dsn",
                count=len(orphans),
                all=len(files),
            )
            not_moved = len(orphans) + len(orphaned_legs)
        else:
            not_moved = 0
            await self._defer_to_thread(self._quarantine, orphans, orphaned_legs)
            await self._delete_expired()
        self.count = not_moved + await self._defer_to_thread(self._count_quarantined)

    async def _find_orphaned_files(self, files: Mapping[str, UUID]) -> list[str]:
        orphans: list[str] = []
        for batch in _batches(files):
            orphans += await self._recordings.unreferenced_paths({path: files[path] for path in batch})
        return orphans

    async def _find_orphaned_legs(self, legs: Mapping[str, UUID]) -> list[str]:
        missing: set[UUID] = set()
        for batch in _batches({*legs.values()}):
            missing.update(await self._recordings.missing_ids(batch))
        return [name for name, recording_id in legs.items() if recording_id in missing]

    def _quarantine(self, files: Collection[str], legs: Collection[str]) -> None:
        for path in files:
            self._log.warn("{path} in the archive belongs to no Recording; moving it to orphans/", path=path)
            self._archive.quarantine(path)
        for name in legs:
            self._log.warn(
                "{name} in Asterisk's recording directory belongs to no Recording; moving it to orphans/", name=name
            )
            quarantine_file(self._spool, name)

    async def _delete_expired(self) -> None:
        if self._retention is None:
            return
        before = utc_now(self._clock) - self._retention
        files, legs = await self._defer_to_thread(self._list_quarantined_before, before)
        held: set[UUID] = set()
        for batch in _batches({*files.values(), *legs.values()}):
            held.update(await self._recordings.held_ids(batch))
        await self._defer_to_thread(
            self._delete_quarantined,
            [path for path, recording_id in files.items() if recording_id not in held],
            [path for path, recording_id in legs.items() if recording_id not in held],
        )

    def _list_quarantined_before(self, time: datetime) -> tuple[dict[str, UUID], dict[str, UUID]]:
        files, legs = self._archive.list_quarantined(), list_quarantined_files(self._spool)
        return (
            {path: files[path] for path in files if self._archive.was_quarantined_before(path, time)},
            {path: legs[path] for path in legs if was_quarantined_before(self._spool, path, time)},
        )

    def _delete_quarantined(self, files: Collection[str], legs: Collection[str]) -> None:
        for path in files:
            self._archive.delete_quarantined(path)
        for path in legs:
            delete_quarantined_file(self._spool, path)
        if files or legs:
            assert self._retention is not None
            self._log.warn(
                "{count} files without a Recording were deleted: they were in orphans/ for {days} days",
                count=len(files) + len(legs),
                days=self._retention.days,
            )

    def _count_quarantined(self) -> int:
        return self._archive.count_quarantined() + count_quarantined_files(self._spool)


def _list_legs_before(spool: Path, time: datetime) -> dict[str, UUID]:
    """Return the names of the leg files that are unchanged since ``time``, with their Recordings."""
    require_spool(spool)
    return {
        path.name: UUID(match[1])
        for path in spool.iterdir()
        if (match := LEG_NAME.fullmatch(path.name))
        and (path.is_symlink() or not path.is_dir())
        and unchanged_since(path, time)
    }


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, _BATCH_SIZE)):
        yield batch
