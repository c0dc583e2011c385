"""Webhooks after a crash of the daemon at each step, and over a restart of PostgreSQL: at least once, with one id."""

from uuid import uuid4

from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.crashing_process import run_until_crash
from tests.database import DatabaseTestCase, cluster, reactor, until
from tests.store.samples import NOON, recording
from tests.webhooks.crashing_sender import CRASH_POINTS, LONG_LEASE, make_worker
from tests.webhooks.receivers import Receiver, ReceiverTestCase
from voxrec.errors import StoreUnavailable
from voxrec.model import RecordingState, Webhook
from voxrec.store.recordings import Recordings
from voxrec.store.webhooks import Webhooks


class CrashRecoveryTests(DatabaseTestCase, ReceiverTestCase):
    timeout = 120

    async def add_event(self) -> Receiver:
        """Add a webhook, and one event for it; return the receiver."""
        receiver, url = await self.start_receiver()
        await Webhooks(self.pool).create(Webhook(id=uuid4(), url=url, created_at=NOON, updated_at=NOON))
        await Recordings(self.pool).create(recording(state=RecordingState.FAILED))
        return receiver

    async def state(self) -> tuple[str, int]:
        rows = await self.pool.query(
            "SELECT state, (SELECT count(*) FROM webhook_attempts) FROM webhook_deliveries ORDER BY position DESC"
        )
        state, attempts = rows[0]
        return state, attempts

    async def test_a_daemon_that_is_killed(self) -> None:
        for step, expected_requests in zip(CRASH_POINTS, (1, 2, 2, 1), strict=True):
            receiver = await self.add_event()
            await run_until_crash("tests.webhooks.crashing_sender", step, self.dsn)
            worker = make_worker(self.pool, LONG_LEASE)
            worker.startService()
            try:
                while (await self.state())[0] != "delivered":
                    await deferLater(reactor, 0.05)
                    worker.wake()
            finally:
                await worker.stopService()
            self.assertEqual(len(receiver.requests), expected_requests, step)
            self.assertEqual(len({(request.id, request.body) for request in receiver.requests}), 1, step)
            self.assertEqual(await self.state(), ("delivered", 1), step)
            await self.pool.execute("TRUNCATE webhooks, webhook_messages CASCADE")

    async def test_a_restart_of_postgresql_between_the_request_and_its_outcome(self) -> None:
        receiver = await self.add_event()
        receiver.hold = True
        worker = make_worker(self.pool, LONG_LEASE)
        worker.startService()
        try:
            await until(lambda: receiver.held)
            await deferToThread(cluster().stop)
            receiver.hold = False
            receiver.release()
            with self.assertRaises(StoreUnavailable):
                await self.pool.query("SELECT 1")
            cluster().launch()  # in the main thread: the server ends with the thread that starts it
            await deferToThread(cluster().wait_until_ready)
            await self.pool.when_ready()
            while (await self.state())[0] != "delivered":
                await deferLater(reactor, 0.05)
        finally:
            await worker.stopService()
        self.assertEqual(len(receiver.requests), 1)
        self.assertEqual((await self.state())[1], 1)
