"""What PostgreSQL tells arrives, also after it was away."""

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.database import DatabaseTestCase, cluster, reactor, until
from voxrec.postgres.listener import Listener


class RetryingServerService(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.told: list[str] = []
        self.recoveries = 0
        self.listener = Listener(reactor, self.dsn, {"news": self.hear}, self.recover)

    def hear(self, payload: str) -> None:
        if payload == "bad":
            raise ValueError(payload)
        self.told.append(payload)

    def recover(self) -> None:
        self.recoveries += 1

    async def tearDown(self) -> None:  # type: ignore[override]
        await self.listener.stopService()
        await super().tearDown()

    async def test_it_is_told(self) -> None:
        self.listener.startService()
        await until(lambda: self.recoveries)
        await self.pool.execute("NOTIFY news, 'one'")
        await self.pool.execute("NOTIFY other, 'two'")
        await self.pool.execute("NOTIFY news, 'three'")
        await until(lambda: len(self.told) == 2)
        self.assertEqual(self.told, ["one", "three"])

    async def test_one_that_cannot_be_taken_does_not_stop_the_others(self) -> None:
        self.listener.startService()
        await until(lambda: self.recoveries)
        await self.pool.execute("NOTIFY news, 'bad'")
        await self.pool.execute("NOTIFY news, 'good'")
        await until(lambda: self.told)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    async def test_it_listens_again_after_a_restart(self) -> None:
        self.listener.startService()
        await until(lambda: self.recoveries == 1)
        cluster().stop()
        await deferLater(reactor, 0.3)
        cluster().launch()
        await until(lambda: self.recoveries == 2)
        await self.pool.when_ready()
        await self.pool.execute("NOTIFY news, 'after'")
        await until(lambda: self.told)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_it_may_start_before_the_server(self) -> None:
        cluster().stop()
        self.listener.startService()
        await deferLater(reactor, 0.1)
        cluster().launch()
        await until(lambda: self.recoveries)

    async def test_it_may_stop_before_the_server_starts(self) -> None:
        cluster().stop()
        self.listener.startService()
        await deferLater(reactor, 0.1)
        await self.listener.stopService()
        cluster().launch()
        cluster().wait_until_ready()
        self.assertEqual(self.recoveries, 0)

    async def test_a_rescan_that_fails_is_tried_again(self) -> None:
        def failing_once() -> None:
            self.recoveries += 1
            if self.recoveries == 1:
                raise KeyError

        self.listener = Listener(reactor, self.dsn, {"news": self.hear}, failing_once)
        self.listener.startService()
        await until(lambda: self.recoveries == 2)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    async def test_stop_can_be_called_from_what_it_calls(self) -> None:
        stopped: list[Deferred[None]] = []
        self.listener = Listener(
            reactor,
            self.dsn,
            {"news": self.hear},
            lambda: stopped.append(self.listener.stopService()),
        )
        self.listener.startService()
        await until(lambda: stopped)
