"""Tests of voxrec.composition.queue."""

from typing import Any

from twisted.application.service import Service
from twisted.trial.unittest import SynchronousTestCase

from voxrec.composition.queue import Queue
from voxrec.service_tree import OnDemandService


class FakeWorker(Service):
    def __init__(self) -> None:
        self.log: list[str] = []

    def startService(self) -> None:
        super().startService()
        self.log.append("start")

    def wake(self) -> None:
        self.log.append("wake")


class QueueTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.worker = FakeWorker()
        worker: Any = self.worker
        journal: Any = None
        self.queue = Queue(worker, OnDemandService("worker", worker), journal)
        self.queue.worker_service.startService()

    def test_the_worker_starts_once_the_database_is_available(self) -> None:
        self.assertEqual(self.worker.log, [])
        self.queue.database_recovered()
        self.assertEqual(self.worker.log, ["start", "wake"])
        self.queue.database_recovered()
        self.assertEqual(self.worker.log, ["start", "wake", "wake"])

    def test_a_changed_job_wakes_the_worker(self) -> None:
        self.queue.job_changed("mail")
        self.assertEqual(self.worker.log, ["wake"])
