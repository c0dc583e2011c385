"""Tests of voxrec.postgres.listener."""

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.database import DatabaseTestCase, cluster, reactor, until
from voxrec.postgres.listener import Listener


class ListenerTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.received: list[str] = []
        self.recoveries = 0
        self.listener = Listener(reactor, self.dsn, {"news": self.receive}, self.recover)

    def receive(self, payload: str) -> None:
        if payload == "bad":
            raise ValueError(payload)
        self.received.append(payload)

    def recover(self) -> None:
        self.recoveries += 1

    async def tearDown(self) -> None:  # type: ignore[override]
        await self.listener.stopService()
        await super().tearDown()

    async def test_notifications_of_its_channels(self) -> None:
        self.listener.startService()
        await until(lambda: self.recoveries)
        await self.pool.execute("NOTIFY news, 'one'")
        await self.pool.execute("NOTIFY other, 'two'")
        await self.pool.execute("NOTIFY news, 'three'")
        await until(lambda: len(self.received) == 2)
        self.assertEqual(self.received, ["one", "three"])

    async def test_handler_that_fails_does_not_stop_the_others(self) -> None:
        self.listener.startService()
        await until(lambda: self.recoveries)
        await self.pool.execute("NOTIFY news, 'bad'")
        await self.pool.execute("NOTIFY news, 'good'")
        await until(lambda: self.received)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    async def test_listens_again_after_a_restart_of_the_server(self) -> None:
        self.listener.startService()
        await until(lambda: self.recoveries == 1)
        cluster().stop()
        await deferLater(reactor, 0.3)
        cluster().launch()
        await until(lambda: self.recoveries == 2)
        await self.pool.when_ready()
        await self.pool.execute("NOTIFY news, 'after'")
        await until(lambda: self.received)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_start_before_the_server(self) -> None:
        cluster().stop()
        self.listener.startService()
        await deferLater(reactor, 0.1)
        cluster().launch()
        await until(lambda: self.recoveries)

    async def test_stop_before_the_server_starts(self) -> None:
        cluster().stop()
        self.listener.startService()
        await deferLater(reactor, 0.1)
        await self.listener.stopService()
        cluster().launch()
        cluster().wait_until_ready()
        self.assertEqual(self.recoveries, 0)

    async def test_on_recovered_that_fails_is_called_again(self) -> None:
        def fail_once() -> None:
            self.recoveries += 1
            if self.recoveries == 1:
                raise KeyError

        self.listener = Listener(reactor, self.dsn, {"news": self.receive}, fail_once)
        self.listener.startService()
        await until(lambda: self.recoveries == 2)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    async def test_stop_from_a_callback(self) -> None:
        stopped: list[Deferred[None]] = []
        self.listener = Listener(
            reactor,
            self.dsn,
            {"news": self.receive},
            lambda: stopped.append(self.listener.stopService()),
        )
        self.listener.startService()
        await until(lambda: stopped)
