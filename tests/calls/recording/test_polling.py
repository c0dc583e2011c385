"""Tests of voxrec.calls.recording.polling."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from voxrec.calls.recording.polling import Polling


class PollingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.polling = Polling(self.clock)
        self.results: list[bool] = []
        self.checked: list[float] = []
        self.succeeded: list[str] = []

    async def check(self) -> bool:
        self.checked.append(round(self.clock.seconds(), 2))
        return self.results.pop(0)

    def start(self, *results: bool, name: str = "first") -> None:
        self.results = list(results)
        self.polling.start(self.check, lambda: self.succeeded.append(name))

    def test_delays_double_up_to_a_second(self) -> None:
        delays = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0]
        self.start(*[False] * len(delays), True)
        for number, delay in enumerate(delays, 2):
            self.clock.advance(delay)
            self.assertEqual(len(self.checked), number)
        self.assertEqual((self.succeeded, self.clock.getDelayedCalls()), (["first"], []))

    def test_success_at_once(self) -> None:
        self.start(True)
        self.assertEqual((self.succeeded, self.clock.getDelayedCalls()), (["first"], []))

    def test_a_later_start_replaces_the_earlier_one(self) -> None:
        self.start(False)
        self.start(False, True, name="second")
        self.clock.advance(5)
        self.assertEqual(self.succeeded, ["second"])

    def test_what_succeeded_may_start_another_check(self) -> None:
        self.results = [True, False, True]
        self.polling.start(
            self.check, lambda: self.polling.start(self.check, lambda: self.succeeded.append("following"))
        )
        self.clock.advance(1)
        self.assertEqual(self.succeeded, ["following"])

    def test_cancelled_while_the_check_runs(self) -> None:
        result: Deferred[bool] = Deferred()

        async def check() -> bool:
            return await result

        self.polling.start(check, lambda: self.succeeded.append("first"))
        self.polling.cancel()
        if not result.called:
            result.callback(True)
        self.assertEqual((self.succeeded, self.clock.getDelayedCalls()), ([], []))

    def test_check_that_fails_is_logged(self) -> None:
        self.results = []
        self.polling.start(self.check, lambda: self.succeeded.append("first"))
        self.assertEqual(len(self.flushLoggedErrors(IndexError)), 1)
