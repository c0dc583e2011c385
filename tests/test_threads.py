"""Tests of voxrec.threads."""

import threading

from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase

from tests.database import reactor
from voxrec.threads import WorkerThreads


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
