"""Tests of voxrec.composition.queue."""

from typing import Any
from unittest.mock import Mock

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.jobs.fake_jobs import FakeJobs
from voxrec.composition.environment import Environment
from voxrec.composition.queue import Queue, build_queue
from voxrec.config import Config
from voxrec.model import Job, JobKind
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

    def test_jobs_that_use_the_files_at_the_same_time_are_limited(self) -> None:
        clock: Any = Clock()
        jobs = FakeJobs(clock)
        for _ in range(5):
            jobs.add(JobKind.ERASE)
        running: list[Deferred[None]] = []

        def erase(_job: Job) -> "Deferred[None]":
            running.append(Deferred())
            return running[-1]

        unused: Any = Mock()
        env = Environment(clock, Config(data_directory=self.mktemp()), unused, unused)
        database: Any = Mock(jobs=jobs, replay=0.0)
        queue = build_queue(env, database, Mock(eraser=Mock(side_effect=erase)), unused)
        queue.worker.startService()
        self.assertEqual((len(running), len(jobs.leases)), (2, 5))
        running[0].callback(None)
        self.assertEqual(len(running), 3)
