"""Tests of voxrec.store.call_attempts."""

from twisted.internet.defer import Deferred, gatherResults

from tests.database import DatabaseTestCase, reactor, until
from voxrec.model import Attempt
from voxrec.postgres.listener import Listener
from voxrec.store.call_attempts import CALL_ATTEMPTS_CHANNEL, CallAttempts


class CallAttemptsTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.attempts = CallAttempts(self.pool)

    async def test_an_invite_without_a_recorded_attempt(self) -> None:
        for number in (0, 3):
            self.assertEqual(await self.attempts.latest(Attempt("a", number)), Attempt("a", number))
        self.assertEqual(await self.attempts.latest_of_all([Attempt("a", 0)]), [])

    async def test_the_latest_attempt_counts_in_whatever_order_they_come(self) -> None:
        for number, latest in ((2, 2), (1, 2), (3, 3)):
            self.assertEqual(await self.attempts.record(Attempt("a", number)), Attempt("a", latest))
        self.assertEqual(await self.attempts.latest(Attempt("a", 0)), Attempt("a", 3))
        self.assertEqual(await self.attempts.latest(Attempt("b", 0)), Attempt("b", 0))
        found = await self.attempts.latest_of_all([Attempt("a", 1), Attempt("b", 0)])
        self.assertEqual(found, [Attempt("a", 3)])

    async def test_attempts_at_the_same_time(self) -> None:
        requests = [Deferred.fromCoroutine(self.attempts.record(Attempt("a", number))) for number in range(1, 20)]
        await gatherResults(requests)
        self.assertEqual(await self.attempts.latest(Attempt("a", 0)), Attempt("a", 19))

    async def test_all_nodes_are_notified(self) -> None:
        received: list[str] = []
        listener = Listener(reactor, self.dsn, {CALL_ATTEMPTS_CHANNEL: received.append}, lambda: None)
        listener.startService()
        self.addCleanup(listener.stopService)
        await until(lambda: listener.listening)
        await self.attempts.record(Attempt("a", 2))
        await self.attempts.record(Attempt("a", 1))
        await until(lambda: len(received) == 2)
        self.assertEqual(received, ["a/2", "a/2"])

    async def test_old_attempts_are_deleted(self) -> None:
        for invite, age in (("old", "8 days"), ("recent", "6 days"), ("again", "8 days")):
            await self.attempts.record(Attempt(invite, 1))
            await self.pool.execute(
                "UPDATE call_attempts SET made_at = now() - %s::interval WHERE invite = %s", (age, invite)
            )
        await self.attempts.record(Attempt("again", 2))
        rows = await self.pool.query("SELECT invite, number FROM call_attempts ORDER BY invite")
        self.assertEqual(rows, [("again", 2), ("recent", 1)])
