"""Tests of voxrec.batching."""

from collections.abc import Sequence

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from voxrec.batching import Batcher


class BatcherTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.batches: list[Sequence[int]] = []
        self.running: list[Deferred[Sequence[str]]] = []

    def batcher(self, limit: int = 100, interval: float = 0.0) -> Batcher[int, str]:
        def run(items: Sequence[int]) -> Deferred[Sequence[str]]:
            self.batches.append(items)
            self.running.append(Deferred())
            return self.running[-1]

        return Batcher(self.clock, run, limit, interval)

    def end_batch(self) -> None:
        self.running[-1].callback([f"result of {item}" for item in self.batches[-1]])

    def test_requests_of_one_iteration_of_the_reactor_are_one_batch(self) -> None:
        batcher = self.batcher()
        requests = [batcher.request(item) for item in (1, 2, 3)]
        self.assertEqual(self.batches, [])
        self.clock.advance(0)
        self.assertEqual(self.batches, [[1, 2, 3]])
        self.end_batch()
        self.assertEqual([self.successResultOf(each) for each in requests], [f"result of {n}" for n in (1, 2, 3)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_requests_during_a_batch_are_the_next_one(self) -> None:
        batcher = self.batcher()
        batcher.request(1)
        self.clock.advance(0)
        later = [batcher.request(item) for item in (2, 3)]
        self.assertEqual(self.batches, [[1]])
        self.end_batch()
        self.assertEqual(self.batches, [[1], [2, 3]])
        self.end_batch()
        self.assertEqual([self.successResultOf(each) for each in later], ["result of 2", "result of 3"])

    def test_requests_in_the_interval_after_the_start_of_a_batch_are_the_next_one(self) -> None:
        batcher = self.batcher(interval=4.0)
        batcher.request(1)
        self.clock.advance(0)
        self.end_batch()
        for item in (2, 3):
            self.clock.advance(1)
            batcher.request(item)
        self.clock.advance(1.5)
        self.assertEqual(self.batches, [[1]])
        self.clock.advance(0.5)
        self.assertEqual(self.batches, [[1], [2, 3]])
        self.end_batch()
        self.clock.advance(4)
        batcher.request(4)
        self.clock.advance(0)
        self.assertEqual(self.batches, [[1], [2, 3], [4]])

    def test_a_full_batch_does_not_wait_for_the_interval(self) -> None:
        batcher = self.batcher(limit=2, interval=4.0)
        batcher.request(1)
        self.clock.advance(0)
        for item in (2, 3, 4, 5):
            batcher.request(item)
        self.end_batch()
        self.end_batch()
        self.assertEqual(self.batches, [[1], [2, 3], [4, 5]])

    def test_size_of_a_batch_is_limited(self) -> None:
        batcher = self.batcher(limit=2)
        for item in (1, 2, 3):
            batcher.request(item)
        self.clock.advance(0)
        self.end_batch()
        self.assertEqual(self.batches, [[1, 2], [3]])

    def test_a_failure_is_that_of_its_batch_only(self) -> None:
        batcher = self.batcher()
        failing = [batcher.request(item) for item in (1, 2)]
        self.clock.advance(0)
        following = batcher.request(3)
        self.running[-1].errback(ValueError("lost"))
        for each in failing:
            self.failureResultOf(each, ValueError)
        self.end_batch()
        self.assertEqual(self.successResultOf(following), "result of 3")

    def test_a_cancelled_request_does_not_affect_the_others(self) -> None:
        batcher = self.batcher()
        first, second = (batcher.request(item) for item in (1, 2))
        first.addErrback(lambda _: None)
        self.clock.advance(0)
        first.cancel()
        self.end_batch()
        self.assertEqual(self.successResultOf(second), "result of 2")

    def test_a_request_that_follows_from_a_result_is_in_the_next_batch(self) -> None:
        batcher = Batcher[int, int](self.clock, lambda items: succeed([item + 1 for item in items]))
        chained = batcher.request(1).addCallback(batcher.request)
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(chained), 3)
