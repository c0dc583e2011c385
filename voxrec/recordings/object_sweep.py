"""Finds objects in S3 that belong to no Recording.

Such an object is left if a process dies while it uploads a Recording that is deleted meanwhile. It is deleted if it is
known that its Recording was deleted. Others are only reported: the bucket and the database may not belong together.
"""

import re
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, Protocol
from uuid import UUID

from twisted.application.internet import TimerService
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.clock import utc_now
from voxrec.errors import Unavailable
from voxrec.model import StoredObject
from voxrec.threads import DeferToThread

_MIN_AGE: Final = timedelta(days=1)  # of an object that is checked; every upload is shorter
_CHECK_INTERVAL: Final = 3600.0  # seconds until a sweep that could not be completed is retried
_SWEEP_INTERVAL: Final = 86400.0  # seconds between two completed sweeps
_MAX_LOGGED: Final = 100  # unknown objects in one bucket: it may be that of another database
_BATCH_SIZE: Final = 1000  # objects per query
_KEY: Final = re.compile(r"\d{4}/\d\d/\d\d/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.[A-Za-z0-9-]{1,12}")


class Store(Protocol):
    """The S3 store."""

    def objects(self, bucket: str, prefix: str) -> Iterator[tuple[str, datetime]]:
        """Yield keys and the times at which the objects were stored. Raises StoreError."""

    def delete(self, stored: StoredObject) -> None:
        """Delete all versions of an object. Raises StoreError."""


class Objects(Protocol):
    """The repository methods that the sweep needs."""

    async def places(self) -> Collection[tuple[str, str]]:
        """Return the buckets of Recordings, each with a prefix of their keys."""

    async def unknown_objects(self, bucket: str, objects: Mapping[str, UUID], /) -> Collection[str]:
        """Return the keys that no Recording has. Each key is passed with the id in it."""


class ObjectSweeper(TimerService):
    """Sweeps the buckets of the settings and of all Profiles once a day.

    ``deleted_recordings`` returns those of the ids whose Recording was deleted.
    """

    name = "object sweep"
    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        objects: Objects,
        deleted_recordings: Callable[[Collection[UUID]], Awaitable[Collection[UUID]]],
        store: Store,
        defer_to_thread: DeferToThread,
    ) -> None:
        super().__init__(_CHECK_INTERVAL, self.sweep)
        self.clock = self._clock = clock
        self._objects = objects
        self._deleted_recordings = deleted_recordings
        self._store = store
        self._defer_to_thread = defer_to_thread
        self._next_sweep = 0.0
        self.count = 0
        """Objects that belong to no Recording as of the last sweep, and were not deleted."""

    async def sweep(self) -> None:
        """Sweep if the last completed sweep was a day ago or earlier. On failure the next call tries again."""
        if self._clock.seconds() < self._next_sweep:
            return
        count = 0
        try:
            for bucket, prefix in await self._objects.places():
                count += await self._sweep(bucket, prefix)
        except Unavailable as error:
            self._log.warn(
                "could not check for objects without a Recording; retrying in {interval:.0f} s: {error}",
                interval=_CHECK_INTERVAL,
                error=error.detail,
            )
            return
        self.count = count
        self._next_sweep = self._clock.seconds() + _SWEEP_INTERVAL

    async def _sweep(self, bucket: str, prefix: str) -> int:
        before = utc_now(self._clock) - _MIN_AGE
        pages = self._store.objects(bucket, prefix)
        count = 0
        while page := await self._defer_to_thread(_next_page, pages):
            objects = {
                key: UUID(match[1])
                for key, stored_at in page
                if stored_at < before and (match := _KEY.fullmatch(key.removeprefix(prefix)))
            }
            unknown = await self._objects.unknown_objects(bucket, objects)
            deleted = await self._deleted_recordings({objects[key] for key in unknown})
            for key in unknown:
                if objects[key] in deleted:
                    await self._defer_to_thread(self._store.delete, StoredObject(bucket=bucket, key=key))
                    self._log.info("s3://{bucket}/{key} of a deleted Recording was deleted", bucket=bucket, key=key)
                else:
                    count += 1
                    if count <= _MAX_LOGGED:
                        self._log.warn(
                            "s3://{bucket}/{key} belongs to no Recording; it is left there", bucket=bucket, key=key
                        )
        if count > _MAX_LOGGED:
            self._log.warn(
                "{count} objects in s3://{bucket}/{prefix} belong to no Recording; {limit} of them were logged",
                count=count,
                bucket=bucket,
                prefix=prefix,
                limit=_MAX_LOGGED,
            )
        return count


def _next_page(pages: Iterator[tuple[str, datetime]]) -> list[tuple[str, datetime]]:
    return list(islice(pages, _BATCH_SIZE))
