"""Tests of voxrec.deferreds."""

from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from voxrec.deferreds import (
    AsyncEvent,
    Backoff,
    KeyedLock,
    MinimumInterval,
    SingleFlight,
    gather,
    gather_failures,
    retry,
    shielded,
)


class ShieldedTests(SynchronousTestCase):
    def test_the_result_is_passed_on(self) -> None:
        inner: Deferred[int] = Deferred()
        outer = shielded(inner)
        inner.callback(3)
        self.assertEqual(self.successResultOf(outer), 3)

    def test_a_failure_is_passed_on(self) -> None:
        self.failureResultOf(shielded(fail(ValueError("x"))), ValueError)

    def test_cancelling_it_leaves_the_operation_running(self) -> None:
        inner: Deferred[int] = Deferred()
        outer = shielded(inner)
        outer.cancel()
        self.failureResultOf(outer, CancelledError)
        self.assertNoResult(inner)
        inner.callback(3)

    def test_a_failure_after_the_cancellation_is_not_reported_as_unhandled(self) -> None:
        inner: Deferred[int] = Deferred()
        self.failureResultOf(_cancelled(shielded(inner)), CancelledError)
        inner.errback(ValueError("x"))
        self.assertEqual(self.flushLoggedErrors(), [])


def _cancelled(deferred: "Deferred[Any]") -> "Deferred[Any]":
    deferred.cancel()
    return deferred


class GatherTests(SynchronousTestCase):
    def test_results_are_in_order(self) -> None:
        first: Deferred[int] = Deferred()
        gathered = Deferred.fromCoroutine(gather(first, succeed(2)))
        self.assertNoResult(gathered)
        first.callback(1)
        self.assertEqual(self.successResultOf(gathered), [1, 2])

    def test_the_first_failure_in_order_is_raised_and_the_others_are_discarded(self) -> None:
        second: Deferred[int] = Deferred()
        gathered = Deferred.fromCoroutine(gather(fail(ValueError("a")), second))
        self.failureResultOf(gathered, ValueError)
        second.errback(KeyError("b"))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_failures_are_collected_after_all_have_ended(self) -> None:
        slow: Deferred[int] = Deferred()
        gathered = Deferred.fromCoroutine(gather_failures(fail(ValueError("a")), succeed(1), slow))
        self.assertNoResult(gathered)
        slow.errback(KeyError("b"))
        self.assertEqual([type(error) for error in self.successResultOf(gathered)], [ValueError, KeyError])


class BackoffTests(SynchronousTestCase):
    def test_delays_double_up_to_the_limit(self) -> None:
        backoff = Backoff(first=1.0, limit=10.0, jitter=0.0)
        self.assertEqual([backoff.delay(n) for n in range(1, 7)], [1.0, 2.0, 4.0, 8.0, 10.0, 10.0])

    def test_many_failures_do_not_overflow(self) -> None:
        self.assertEqual(Backoff(first=1.0, limit=10.0, jitter=0.0).delay(100_000), 10.0)

    def test_jitter_stays_within_its_fraction(self) -> None:
        backoff = Backoff(first=100.0, limit=100.0, jitter=0.2, random=Random(1))  # noqa: S311 - a seed
        delays = [backoff.delay(1) for _ in range(1000)]
        self.assertTrue(80 <= min(delays) < 85 < 115 < max(delays) <= 120)


class RetryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.errors: list[Exception] = []
        self.reports: list[tuple[str, float]] = []

    async def attempt(self) -> str:
        if self.errors:
            raise self.errors.pop(0)
        return "done"

    def start(self) -> "Deferred[str]":
        return Deferred.fromCoroutine(
            retry(
                self.clock,
                self.attempt,
                on=ValueError,
                backoff=Backoff(first=1.0, limit=4.0, jitter=0.0),
                report=lambda error, delay: self.reports.append((str(error), delay)),
            )
        )

    def test_it_waits_longer_after_each_failure_and_reports_each_message_once(self) -> None:
        self.errors = [ValueError("down"), ValueError("down"), ValueError("full")]
        result = self.start()
        self.clock.pump([1.0, 2.0])
        self.assertNoResult(result)
        self.clock.advance(4.0)
        self.assertEqual(self.successResultOf(result), "done")
        self.assertEqual(self.reports, [("down", 1.0), ("full", 4.0)])

    def test_other_exceptions_are_raised(self) -> None:
        self.errors = [KeyError("x")]
        self.failureResultOf(self.start(), KeyError)

    def test_it_can_be_cancelled_while_it_waits(self) -> None:
        self.errors = [ValueError("down")]
        result = self.start()
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class SingleFlightTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.started: list[Deferred[None]] = []
        self.failures: list[Failure] = []
        self.flight = SingleFlight(self.work, self.failures.append)

    async def work(self) -> None:
        self.started.append(Deferred())
        await self.started[-1]

    def test_requests_during_a_run_lead_to_one_more_run(self) -> None:
        for _ in range(3):
            self.flight.request()
        self.assertEqual(len(self.started), 1)
        self.started[0].callback(None)
        self.assertEqual(len(self.started), 2)
        self.started[1].callback(None)
        self.assertEqual(len(self.started), 2)
        self.assertFalse(self.flight.running)

    def test_work_that_completes_at_once_can_be_requested_again(self) -> None:
        runs: list[int] = []

        async def work() -> None:
            runs.append(1)

        flight = SingleFlight(work, self.failures.append)
        flight.request()
        self.assertFalse(flight.running)
        flight.request()
        self.assertEqual(len(runs), 2)

    def test_after_an_error_the_next_request_starts_again(self) -> None:
        self.flight.request()
        self.started[0].errback(ValueError("x"))
        self.assertEqual([failure.type for failure in self.failures], [ValueError])
        self.flight.request()
        self.assertEqual(len(self.started), 2)

    def test_cancelling_ends_the_run_and_forgets_requests_without_an_error(self) -> None:
        self.flight.request()
        self.flight.request()
        self.flight.cancel()
        self.assertEqual((self.flight.running, len(self.started), self.failures), (False, 1, []))

    def test_waiting_ends_with_the_last_run(self) -> None:
        waited = Deferred.fromCoroutine(self.flight.wait())
        self.successResultOf(waited)  # nothing runs
        self.flight.request()
        self.flight.request()
        waited = Deferred.fromCoroutine(self.flight.wait())
        self.started[0].callback(None)
        self.assertNoResult(waited)
        self.started[1].callback(None)
        self.successResultOf(waited)

    def test_cancelling_a_wait_leaves_the_run_alone(self) -> None:
        self.flight.request()
        waited = Deferred.fromCoroutine(self.flight.wait())
        waited.cancel()
        self.failureResultOf(waited, CancelledError)
        self.assertTrue(self.flight.running)
        self.started[0].callback(None)
        self.assertEqual(self.failures, [])


class AsyncEventTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.event = AsyncEvent(self.clock)

    def wait(self, timeout: float) -> "Deferred[None]":
        return Deferred.fromCoroutine(self.event.wait(timeout))

    def test_setting_it_wakes_the_waiter_and_stops_the_timer(self) -> None:
        waited = self.wait(5.0)
        self.event.set()
        self.successResultOf(waited)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_wait_ends_with_its_timeout(self) -> None:
        waited = self.wait(5.0)
        self.clock.advance(4.9)
        self.assertNoResult(waited)
        self.clock.advance(0.1)
        self.successResultOf(waited)
        self.assertNoResult(self.wait(5.0))

    def test_set_before_the_wait_counts_once(self) -> None:
        self.event.set()
        self.event.set()
        self.successResultOf(self.wait(5.0))
        self.assertNoResult(self.wait(5.0))

    def test_a_cancelled_wait_leaves_no_timer(self) -> None:
        waited = self.wait(5.0)
        waited.cancel()
        self.failureResultOf(waited, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class KeyedLockTests(SynchronousTestCase):
    def test_one_at_a_time_for_each_key(self) -> None:
        locks: KeyedLock[str] = KeyedLock()
        events: list[str] = []
        ends: dict[str, Deferred[None]] = {name: Deferred() for name in ("a1", "a2", "a3", "b1")}

        async def hold(name: str) -> None:
            async with locks.hold(name[0]):
                events.append(name)
                await ends[name]

        running = [Deferred.fromCoroutine(hold(name)) for name in ends]
        self.assertEqual(events, ["a1", "b1"])
        for name, expected in (("a1", "a2"), ("a2", "a3")):
            ends[name].callback(None)
            self.assertEqual(events[-1], expected)
        ends["a3"].callback(None)
        ends["b1"].callback(None)
        for each in running:
            self.successResultOf(each)
        again = Deferred.fromCoroutine(hold("a1"))
        self.successResultOf(again)

    def test_a_failure_releases_the_lock(self) -> None:
        locks: KeyedLock[str] = KeyedLock()

        async def fail() -> None:
            async with locks.hold("a"):
                raise ValueError

        for _ in range(2):
            self.failureResultOf(Deferred.fromCoroutine(fail()), ValueError)


class MinimumIntervalTests(SynchronousTestCase):
    def test_starts_are_an_interval_apart_and_the_first_one_after_a_pause_is_immediate(self) -> None:
        clock = Clock()
        clock.advance(1000)
        interval = MinimumInterval(clock, 3.0)
        self.successResultOf(Deferred.fromCoroutine(interval.wait()))
        clock.advance(1)
        second = Deferred.fromCoroutine(interval.wait())
        clock.advance(1.5)
        self.assertNoResult(second)
        clock.advance(0.5)
        self.successResultOf(second)
        third = Deferred.fromCoroutine(interval.wait())
        clock.advance(2.9)
        self.assertNoResult(third)
        clock.advance(10)
        self.successResultOf(third)
        clock.advance(3)
        self.successResultOf(Deferred.fromCoroutine(interval.wait()))
