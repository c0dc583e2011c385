"""Tests of voxrec.reconnection."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from voxrec.deferreds import Backoff
from voxrec.reconnection import ReconnectingService


class FakeConnection(ReconnectingService):
    """A connection whose attempts a test decides by firing ``attempt``."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, Backoff(first=1.0, limit=8.0, jitter=0))
        self.attempts: list[Deferred[str]] = []
        self.reported: list[str] = []

    @property
    def attempt(self) -> Deferred[str]:
        return self.attempts[-1]

    async def connect_until_closed(self) -> str:
        self.attempts.append(Deferred())
        return await self.attempt

    def connection_failed(self, reason: str) -> None:
        self.reported.append(f"failed: {reason}")

    def connection_closed(self, reason: str) -> None:
        self.reported.append(f"closed: {reason}")


class ReconnectingServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.service = FakeConnection(self.clock)
        self.service.startService()

    def delay(self) -> float:
        """Return the seconds until the next attempt, and let them pass."""
        (call,) = self.clock.getDelayedCalls()
        seconds = call.getTime() - self.clock.seconds()
        before = len(self.service.attempts)
        self.clock.advance(seconds)
        self.assertEqual(len(self.service.attempts), before + 1)
        return seconds

    def refuse(self, error: Exception | None = None) -> None:
        self.service.attempt.errback(error or OSError("refused"))

    def test_failed_attempts_are_repeated_with_growing_delays(self) -> None:
        delays = []
        for _ in range(4):
            self.refuse()
            delays.append(self.delay())
        self.assertEqual(delays, [2.0, 4.0, 8.0, 8.0])
        self.assertEqual(self.service.reported, ["failed: refused"] * 4)

    def test_a_closed_connection_is_opened_again(self) -> None:
        self.refuse()
        self.delay()
        self.service.connected()
        self.service.attempt.callback("restart")
        self.assertEqual(self.service.reported, ["failed: refused", "closed: restart"])
        self.assertEqual(self.delay(), 1.0)

    def test_an_error_without_a_text(self) -> None:
        self.refuse(ValueError())
        self.assertEqual(self.service.reported, ["failed: ValueError"])

    def test_retry_now(self) -> None:
        for _ in range(3):
            self.refuse()
            self.delay()
        self.refuse()
        self.service.retry_now()
        self.assertEqual(len(self.service.attempts), 5)
        self.refuse()
        self.assertEqual(self.delay(), 2.0)

    def test_stopped_while_connected_and_during_a_delay(self) -> None:
        stopped = self.service.stopService()
        assert stopped is not None
        self.successResultOf(stopped)
        self.assertTrue(self.service.attempt.called)  # it was cancelled
        self.service.startService()
        self.refuse()
        stopped = self.service.stopService()
        assert stopped is not None
        self.successResultOf(stopped)
        self.assertEqual((self.clock.getDelayedCalls(), self.service.reported), ([], ["failed: refused"]))

    def test_the_connection_is_left_to_its_owner(self) -> None:
        stopped = self.service.stop_reconnecting()
        assert stopped is not None
        self.assertNoResult(stopped)
        self.service.attempt.callback("stopped")
        self.successResultOf(stopped)
        self.assertEqual((self.service.reported, self.clock.getDelayedCalls()), ([], []))
