"""Fixtures: the job queue of a daemon with real parts, and a process that kills itself at a given step.

``python -m tests.recordings.crashing_daemon STEP ENVIRONMENT`` runs jobs until it reaches the step.
"""

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, NoReturn
from uuid import UUID

import msgspec
from twisted.internet.threads import deferToThread

from tests.crashing_process import CrashPoint, run_worker
from tests.database import reactor
from voxrec.archive.local import LocalArchive
from voxrec.deferreds import Backoff
from voxrec.jobs.worker import JobHandler, Worker
from voxrec.mail.content import ListeningLink
from voxrec.mail.mailer import Mailer
from voxrec.mail.message import MessageDefaults
from voxrec.mail.smtp import Relay
from voxrec.model import Job, JobKind
from voxrec.postgres.listener import JOBS_CHANNEL, Listener
from voxrec.postgres.pool import Pool
from voxrec.recordings.finish import Finisher
from voxrec.store.batched_finishing import BatchedJobs, BatchedResults
from voxrec.store.deliveries import Deliveries
from voxrec.store.jobs import Jobs
from voxrec.store.profiles import Profiles
from voxrec.store.recipient_certificates import RecipientCertificates
from voxrec.store.recordings import Recordings

LEASE: Final = timedelta(seconds=1)


async def listening_link(recording_id: UUID) -> ListeningLink:
    return ListeningLink(f"https://voxrec.example.org/recordings/{recording_id}/audio")


class Environment(msgspec.Struct, frozen=True):
    """What the daemons of one test share."""

    dsn: str
    base: str
    relay_port: int

    @property
    def spool(self) -> Path:
        """Return Asterisk's recording directory."""
        return Path(self.base, "spool")

    @property
    def root(self) -> Path:
        """Return the root of the archive."""
        return Path(self.base, "archive")

    def handlers(self, pool: Pool) -> dict[str, JobHandler[Job]]:
        """Return the handlers of ``finish`` and ``mail`` jobs."""
        recordings, archive = Recordings(pool), LocalArchive(self.root)
        results = BatchedResults(reactor, recordings)
        return {
            JobKind.FINISH: Finisher(reactor, results, archive, self.spool, self.root / ".work", deferToThread),
            JobKind.MAIL: Mailer(
                reactor,
                Relay("127.0.0.1", self.relay_port, timeout=10),
                MessageDefaults("voxrec@example.org", 1_000_000),
                recordings=recordings,
                profiles=Profiles(pool),
                deliveries=Deliveries(pool),
                jobs=Jobs(pool),
                certificates=RecipientCertificates(pool),
                archive=archive,
                listening_link=listening_link,
                defer_to_thread=deferToThread,
            ),
        }

    def worker(self, pool: Pool, **settings: Any) -> Worker[Job]:
        """Return a worker with short delays."""
        backoff = Backoff(first=0.1, limit=0.5)
        return Worker(
            reactor,
            BatchedJobs(reactor, Jobs(pool)),
            self.handlers(pool),
            concurrency=2,
            lease=LEASE,
            backoff=backoff,
            max_attempts=40,
            **settings,
        )

    def listener(self, worker: Worker[Job]) -> Listener:
        """Return a listener that wakes the worker when a job is enqueued, such as the ``mail`` job after ``finish``."""
        return Listener(reactor, self.dsn, {JOBS_CHANNEL: lambda _: worker.wake()}, worker.wake)


def die(*_: object) -> NoReturn:
    """Kill this process without any cleanup."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("the process was not killed")


def before(_step: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that kills the process instead of running the step."""
    return die


def after(step: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that runs the step and then kills the process."""

    def run_and_die(*args: Any, **kwargs: Any) -> Any:
        result = step(*args, **kwargs)
        return _await_and_die(result) if isinstance(result, Awaitable) else die()

    return run_and_die


async def _await_and_die(step: Awaitable[Any]) -> None:
    await step
    die()


def after_leg(unlink: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that deletes a file and then kills the process if it was a leg file."""

    def unlink_and_die(path: Path, *args: Any, **kwargs: Any) -> None:
        unlink(path, *args, **kwargs)
        if path.name.startswith("voxrec-"):
            die()

    return unlink_and_die


CRASH_POINTS: Final[dict[str, CrashPoint]] = {
    "finish claimed": (Finisher, "__call__", before),
    "archived": (LocalArchive, "put", after),
    "row stored": (BatchedResults, "complete", after),
    "first file deleted": (Path, "unlink", after),
    "first leg deleted": (Path, "unlink", after_leg),
    "both legs deleted": (Finisher, "_delete_legs", after),
    "finish done": (BatchedJobs, "mark_done", after),
    "mail claimed": (Mailer, "__call__", before),
    "mail reply recorded": (Deliveries, "record_reply", after),
    "mail done": (Mailer, "__call__", after),
}


def main(step: str, environment: Environment) -> None:
    """Run jobs until the process kills itself."""

    def make_worker(pool: Pool) -> Worker[Job]:
        worker = environment.worker(pool)
        environment.listener(worker).startService()
        return worker

    run_worker(CRASH_POINTS[step], environment.dsn, make_worker)


if __name__ == "__main__":
    main(sys.argv[1], msgspec.json.decode(sys.argv[2], type=Environment))
