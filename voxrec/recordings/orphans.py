"""Audio that belongs to no Recording: what a process left that died between a file and its row.

A finish or an upload that is tried again writes over what it left, for a Recording has one place in the archive. What
nobody tries again is found here, a day later, and set aside: moved to ``orphans`` below the directory that it was in,
never deleted, for it may be the only copy.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Final, Protocol, TypeVar
from uuid import UUID

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.archive.interface import Archive
from voxrec.archive.quarantine import count_aside, set_aside, untouched_since
from voxrec.errors import Unavailable
from voxrec.model import Side
from voxrec.threads import DeferToThread

T = TypeVar("T")
AGE: Final = timedelta(days=1)  # of a file that is looked at: longer than anything takes that would still claim it
_EVERY: Final = 86400.0  # seconds between two looks at a whole archive
_AT_ONCE: Final = 1000  # files that PostgreSQL is asked about with one statement
_LEG: Final = re.compile(rf"voxrec-([0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})-(?:{'|'.join(Side)})\..+")


class Recordings(Protocol):
    """What looking for orphans needs of the store."""

    async def unreferenced_paths(self, files: Mapping[str, UUID], /) -> Collection[str]:
        """Which paths in the archive nobody knows, each given with the Recording that it is named after."""

    async def missing_ids(self, recording_ids: Collection[UUID], /) -> Collection[UUID]:
        """Which of these are no Recordings."""


class Orphans:
    """Looks for them once a day. ``spool`` is Asterisk's recording directory as voxrec sees it.

    ``journal_pending`` says how much calls have said that PostgreSQL does not have yet: a Recording may be among it.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        recordings: Recordings,
        archive: Archive,
        spool: Path,
        journal_pending: Callable[[], int],
        defer_to_thread: DeferToThread,
    ) -> None:
        self._clock = clock
        self._recordings = recordings
        self._archive = archive
        self._spool = spool
        self._journal_pending = journal_pending
        self._defer_to_thread = defer_to_thread
        self._next = 0.0
        self.count = 0  # files without a Recording as of the last look, set aside or not

    async def sweep(self) -> None:
        """Look, where that was not done for a day; what cannot be looked at now is looked at the next time."""
        now = self._clock.seconds()
        if now < self._next:
            return
        try:
            await self._look(datetime.fromtimestamp(now, UTC) - AGE)
        except (Unavailable, OSError) as error:
            self._log.warn("could not look for files that belong to no Recording: {error}", error=error)

    async def _look(self, before: datetime) -> None:
        files = await self._defer_to_thread(self._archive.put_before, before)
        legs = await self._defer_to_thread(_legs_before, self._spool, before)
        if self._journal_pending():
            return  # in an hour, perhaps
        orphans = [path for some in _parts(files) for path in await self._unclaimed(files, some)]
        unknown = {one for some in _parts({*legs.values()}) for one in await self._recordings.missing_ids(some)}
        orphaned_legs = [name for name, recording_id in legs.items() if recording_id in unknown]
        self._next = self._clock.seconds() + _EVERY
        if 2 * len(orphans) > len(files):
            self._log.error(
                "{count} of {all} files in the archive belong to no Recording, so this may be another archive's "
                "database: nothing is moved",
                count=len(orphans),
                all=len(files),
            )
            unmoved = len(orphans) + len(orphaned_legs)
        else:
            unmoved = 0
            await self._defer_to_thread(self._set_aside, orphans, orphaned_legs)
        self.count = unmoved + await self._defer_to_thread(self._count_aside)

    async def _unclaimed(self, files: Mapping[str, UUID], some: Collection[str]) -> Collection[str]:
        return await self._recordings.unreferenced_paths({path: files[path] for path in some})

    def _set_aside(self, files: Collection[str], legs: Collection[str]) -> None:
        for path in files:
            self._log.warn("{path} in the archive belongs to no Recording; it is set aside", path=path)
            self._archive.set_aside(path)
        for name in legs:
            self._log.warn("{name} in Asterisk's directory belongs to no Recording; it is set aside", name=name)
            set_aside(self._spool, name)

    def _count_aside(self) -> int:
        return self._archive.count_aside() + count_aside(self._spool)


def _legs_before(spool: Path, moment: datetime) -> dict[str, UUID]:
    if not spool.is_dir():
        raise Unavailable(f"Asterisk's recording directory {spool} is not there")
    return {
        path.name: UUID(named[1])
        for path in spool.iterdir()
        if (named := _LEG.fullmatch(path.name)) and path.is_file() and untouched_since(path, moment)
    }


def _parts(things: Iterable[T]) -> Iterator[list[T]]:
    left = iter(things)
    while some := list(islice(left, _AT_ONCE)):
        yield some
