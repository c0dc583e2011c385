"""Tests of voxrec.composition.queue."""

from typing import Any
from unittest.mock import Mock

from twisted.application.service import Service
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from voxrec.composition.environment import Environment
from voxrec.composition.queue import Queue, build_queue
from voxrec.config import Config
from voxrec.model import JobKind
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
        self.mail_worker = FakeWorker()
        mail_worker: Any = self.mail_worker
        journal: Any = None
        self.queue = Queue(
            worker,
            OnDemandService("worker", worker),
            mail_worker,
            OnDemandService("mail worker", mail_worker),
            journal,
        )
        self.queue.worker_service.startService()
        self.queue.mail_worker_service.startService()

    def test_the_workers_start_once_the_database_is_available(self) -> None:
        self.assertEqual(self.worker.log, [])
        self.queue.database_recovered()
        self.queue.database_recovered()
        for worker in (self.worker, self.mail_worker):
            self.assertEqual(worker.log, ["start", "wake", "wake"])

    def test_a_changed_job_wakes_its_worker(self) -> None:
        self.queue.job_changed("mail")
        self.assertEqual((self.worker.log, self.mail_worker.log), ([], ["wake"]))
        for kind in ("finish", "erase", "erase-legs"):
            self.queue.job_changed(kind)
        self.assertEqual((self.worker.log, self.mail_worker.log), (["wake"] * 3, ["wake"]))


class BuildQueueTests(SynchronousTestCase):
    def test_mails_do_not_share_a_worker_with_other_jobs(self) -> None:
        """A relay that does not respond occupies each slot of its worker, for minutes."""
        reactor: Any = Clock()
        unused: Any = Mock()
        env = Environment(reactor, Config(data_directory=self.mktemp()), unused, unused)
        queue = build_queue(env, unused, unused, unused)
        self.assertEqual([*queue.mail_worker.kinds], [JobKind.MAIL])
        self.assertEqual({*queue.worker.kinds}, {JobKind.FINISH, JobKind.ERASE, JobKind.ERASE_LEGS})
