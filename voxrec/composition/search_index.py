"""The service that indexes the text of Recordings which were stored by a version without the index."""

from typing import Final

from twisted.application.internet import TimerService
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from voxrec.errors import StoreUnavailable
from voxrec.postgres.database import Database
from voxrec.store.search_index import index_older_recordings

_INTERVAL: Final = 3600.0  # seconds; another daemon may have been interrupted
_PAUSE: Final = 0.05  # seconds between two batches, so that calls are stored without delay


class SearchIndexing(TimerService):
    """Indexes older Recordings in batches, until all have an index; usually there are none."""

    name = "search indexing"
    _log = Logger()

    def __init__(self, clock: IReactorTime, database: Database) -> None:
        super().__init__(_INTERVAL, self.index)
        self.clock = clock
        self._reactor = clock
        self._database = database

    async def index(self) -> None:
        """Index all Recordings that have no index yet. After an error, the rest follows an hour later."""
        total = 0
        try:
            while self.running and (count := await index_older_recordings(self._database)):
                total += count
                await deferLater(self._reactor, _PAUSE)
        except StoreUnavailable as error:
            self._log.warn(
                "the text of older recordings could not be indexed; retrying in {interval:g} s: {error}",
                interval=_INTERVAL,
                error=error,
            )
        if total:
            self._log.info("the text of {total} older recordings was indexed for searches", total=total)
