"""The service that indexes the text of Recordings, so that no call has to wait for that."""

from typing import Final

from twisted.application.internet import TimerService
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from voxrec.errors import StoreUnavailable
from voxrec.postgres.database import Database
from voxrec.store.search_index import BATCH, index_new_recordings, index_older_recordings

_INTERVAL: Final = 1.0  # seconds until a new Recording is found
_OLDER_INTERVAL: Final = 3600.0  # seconds; another daemon may have been interrupted
_PAUSE: Final = 0.05  # seconds between two batches, so that calls are stored without delay


class SearchIndexing(TimerService):
    """Indexes new Recordings within a second, and older ones in batches, until all have an index."""

    name = "search indexing"
    _log = Logger()

    def __init__(self, clock: IReactorTime, database: Database) -> None:
        super().__init__(_INTERVAL, self.index)
        self.clock = clock
        self._reactor = clock
        self._database = database
        self._older_due = 0.0
        self._is_failing = False

    async def index(self) -> None:
        """Index the Recordings that have no index yet. After an error, the rest follows a second later."""
        try:
            await self._index_new()
            if self._reactor.seconds() >= self._older_due:
                await self._index_older()
                self._older_due = self._reactor.seconds() + _OLDER_INTERVAL
        except StoreUnavailable as error:
            if not self._is_failing:
                self._log.warn("the text of recordings cannot be indexed for searches: {error}", error=error)
            self._is_failing = True
        else:
            self._is_failing = False

    async def _index_new(self) -> None:
        while self.running and await index_new_recordings(self._database) == BATCH:
            await deferLater(self._reactor, _PAUSE)

    async def _index_older(self) -> None:
        total = 0
        while self.running and (count := await index_older_recordings(self._database)):
            total += count
            await deferLater(self._reactor, _PAUSE)
            await self._index_new()
        if total:
            self._log.info("the text of {total} older recordings was indexed for searches", total=total)
