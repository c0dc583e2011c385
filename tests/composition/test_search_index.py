"""Tests of voxrec.composition.search_index."""

from typing import cast

from twisted.internet.task import Clock, deferLater
from twisted.logger import capturedLogs

from tests.database import DatabaseTestCase, reactor
from tests.store.samples import recording
from voxrec.composition.search_index import SearchIndexing
from voxrec.errors import StoreUnavailable
from voxrec.postgres.database import Database
from voxrec.store.recordings import Recordings


class UnavailableDatabase:
    """A database that cannot be reached."""

    queries = 0

    async def query(self, *_: object) -> list[object]:
        self.queries += 1
        raise StoreUnavailable("it is down")


class SearchIndexingTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.recordings = Recordings(self.pool)
        self.clock = Clock()

    async def index(self, count: int) -> None:
        """Let time pass until so many Recordings are indexed."""
        while await self.pool.query("SELECT count(*) FROM recording_search") != [(count,)]:
            self.clock.advance(1)
            await deferLater(reactor, 0.01)

    async def stop(self, service: SearchIndexing) -> None:
        stopped = service.stopService()
        while not stopped.called:
            self.clock.advance(1)
            await deferLater(reactor, 0.01)

    async def test_new_recordings_are_indexed(self) -> None:
        service = SearchIndexing(self.clock, self.pool)
        service.startService()
        for count in (1, 2, 3):
            await self.recordings.create(recording())
            await self.index(count)
        await self.stop(service)

    async def test_an_outage_is_logged_once_and_survived(self) -> None:
        database = UnavailableDatabase()
        service = SearchIndexing(self.clock, cast("Database", database))
        with capturedLogs() as logs:
            service.startService()
            self.clock.advance(1)
            self.clock.advance(1)
        self.assertEqual((database.queries, ["indexed" in each["log_format"] for each in logs].count(True)), (3, 1))
        service._database = self.pool
        await self.recordings.create(recording())
        await self.index(1)
        await self.stop(service)
