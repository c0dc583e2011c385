"""Tests of voxrec.threads."""

import threading
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.database import reactor, until
from voxrec.threads import SharedThreads, WorkerThreads, limit_concurrency


class WorkerThreadsTests(TestCase):
    def setUp(self) -> None:
        self.threads = WorkerThreads(reactor, "test", 2)
        self.running = 0
        self.most = 0
        self.lock = threading.Lock()
        self.both_run = threading.Barrier(2, timeout=10)

    def work(self) -> str:
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.both_run.wait()
        with self.lock:
            self.running -= 1
        return threading.current_thread().name

    async def test_size(self) -> None:
        before_start = self.threads.defer(self.work)
        self.threads.startService()
        names = await gatherResults([before_start, *(self.threads.defer(self.work) for _ in range(5))])
        self.assertEqual(self.most, 2)
        self.assertTrue(all("test" in name for name in names), names)
        await self.threads.stopService()
        self.assertFalse([thread for thread in threading.enumerate() if thread.name in names])


class SharedThreadsTests(TestCase):
    def setUp(self) -> None:
        self.threads = SharedThreads(reactor, "shared", 3, per_user=2)
        self.threads.startService()
        self.addCleanup(self.threads.stopService)
        self.running: list[str] = []
        self.ends = {name: threading.Event() for name in ("a1", "a2", "a3", "a4", "b1", "c1")}
        for end in self.ends.values():
            self.addCleanup(end.set)

    def work(self, name: str) -> str:
        self.running.append(name)
        assert self.ends[name].wait(30)
        self.running.remove(name)
        return f"result of {name}"

    def start(self, *names: str) -> list["Deferred[str]"]:
        return [self.threads.defer_for(name[0], self.work, name) for name in names]

    async def until_running(self, *names: str) -> None:
        await until(lambda: sorted(self.running) == sorted(names))

    async def test_a_user_leaves_threads_to_others(self) -> None:
        self.start("a1", "a2", "a3", "b1")
        await self.until_running("a1", "a2", "b1")

    async def test_what_waits_follows_in_order(self) -> None:
        results = self.start("a1", "a2", "a3", "a4")
        await self.until_running("a1", "a2")
        self.ends["a2"].set()
        self.assertEqual(await results[1], "result of a2")
        await self.until_running("a1", "a3")
        self.ends["a1"].set()
        await self.until_running("a3", "a4")

    async def test_others_that_have_waited_for_longer_come_first(self) -> None:
        self.start("a1", "a2", "b1", "c1", "a3")
        await self.until_running("a1", "a2", "b1")
        self.ends["a1"].set()
        await self.until_running("a2", "b1", "c1")

    async def test_a_failure_makes_room_for_the_next(self) -> None:
        def fail() -> None:
            raise ValueError("failed")

        failing = [self.threads.defer_for("a", fail) for _ in range(5)]
        following = self.start("a1")
        for each in failing:
            with self.assertRaises(ValueError):
                await each
        self.ends["a1"].set()
        self.assertEqual(await following[0], "result of a1")

    async def test_nothing_remains_of_users_that_have_ended(self) -> None:
        for end in self.ends.values():
            end.set()
        await gatherResults(self.start(*self.ends))
        await until(lambda: not self.threads._running and not self.threads._waiting)


class LimitConcurrencyTests(SynchronousTestCase):
    def test_functions_wait_for_a_slot(self) -> None:
        running: list[Deferred[str]] = []

        def defer_to_thread(function: Callable[[str], str], argument: str) -> "Deferred[str]":
            running.append(Deferred())
            return running[-1].addCallback(lambda _: function(argument))

        limited = limit_concurrency(defer_to_thread, 2)
        results = [Deferred.fromCoroutine(_result(limited(str.upper, each))) for each in "abc"]
        self.assertEqual(len(running), 2)
        running[0].errback(ValueError())
        self.failureResultOf(results[0], ValueError)
        self.assertEqual(len(running), 3)
        for each in running[1:]:
            each.callback("")
        self.assertEqual([self.successResultOf(result) for result in results[1:]], ["B", "C"])


async def _result(operation: Awaitable[Any]) -> Any:
    return await operation
