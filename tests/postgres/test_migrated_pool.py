"""Tests of voxrec.postgres.migrated_pool."""

from twisted.application.service import Service
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from voxrec.deferreds import Backoff
from voxrec.errors import StoreUnavailable
from voxrec.postgres.migrated_pool import MigratedPool


class MigratedPoolTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.pool = Service()
        self.errors: list[Exception] = []
        self.migrations = 0
        self.service = MigratedPool(self.clock, self.pool, self.migrate, Backoff(first=5, limit=5, jitter=0))

    async def migrate(self) -> None:
        self.migrations += 1
        if self.errors:
            raise self.errors.pop(0)

    def test_the_pool_starts_after_the_migrations(self) -> None:
        self.service.startService()
        self.assertEqual((self.migrations, bool(self.pool.running)), (1, True))
        self.successResultOf(self.service.stopService())
        self.assertFalse(self.pool.running)

    def test_an_unavailable_database_is_retried_and_logged_once(self) -> None:
        self.errors = [StoreUnavailable("no connection")] * 2
        with capturedLogs() as logs:
            self.service.startService()
            self.assertFalse(self.pool.running)
            self.clock.pump([5, 5])
        self.assertEqual(len(logs), 1)
        self.assertEqual((self.migrations, bool(self.pool.running)), (3, True))

    def test_a_stop_ends_the_retries(self) -> None:
        self.errors = [StoreUnavailable("no connection")]
        self.service.startService()
        self.successResultOf(self.service.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_any_other_error_is_logged_and_not_retried(self) -> None:
        self.errors = [ZeroDivisionError()]
        self.service.startService()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((bool(self.pool.running), self.clock.getDelayedCalls()), (False, []))
