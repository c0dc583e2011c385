"""A daemon's queue with all that is real about it, and a process of its own that dies at a step that it is told.

``python -m tests.mortal STEP PLACE`` works like any daemon, until it comes to that step and kills itself.
"""

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, NoReturn

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.database import reactor
from voxrec.archive.local import LocalArchive
from voxrec.deferreds import Backoff
from voxrec.jobs.worker import JobHandler, Worker
from voxrec.mail.mailer import Mailer
from voxrec.mail.message import MessageDefaults
from voxrec.mail.smtp import Relay
from voxrec.model import JobKind
from voxrec.postgres.listener import JOBS_CHANNEL, Listener
from voxrec.postgres.pool import Pool
from voxrec.recordings.finish import Finisher
from voxrec.store.deliveries import Deliveries
from voxrec.store.jobs import Jobs
from voxrec.store.profiles import Profiles
from voxrec.store.recordings import Recordings

LEASE: Final = timedelta(seconds=1)


class Place(msgspec.Struct, frozen=True):
    """Where the daemons of one test meet."""

    dsn: str
    base: str
    relay_port: int

    @property
    def spool(self) -> Path:
        """Asterisk's recording directory."""
        return Path(self.base, "spool")

    @property
    def root(self) -> Path:
        """The archive's."""
        return Path(self.base, "archive")

    def handlers(self, pool: Pool) -> dict[JobKind, JobHandler]:
        """What the daemon does for a finish and for a mail."""
        recordings, archive = Recordings(pool), LocalArchive(self.root)
        return {
            JobKind.FINISH: Finisher(reactor, recordings, archive, self.spool, self.root / ".work", deferToThread),
            JobKind.MAIL: Mailer(
                reactor,
                Relay("127.0.0.1", self.relay_port, timeout=10),
                MessageDefaults("voxrec@example.org", 1_000_000),
                recordings=recordings,
                profiles=Profiles(pool),
                deliveries=Deliveries(pool),
                archive=archive,
                audio_url=lambda wanted: f"https://voxrec.example.org/recordings/{wanted}/audio",
                defer_to_thread=deferToThread,
            ),
        }

    def worker(self, pool: Pool, **settings: Any) -> Worker:
        """The daemon's worker, in haste."""
        backoff = Backoff(first=0.1, limit=0.5)
        return Worker(
            reactor,
            Jobs(pool),
            self.handlers(pool),
            concurrency=2,
            lease=LEASE,
            backoff=backoff,
            max_attempts=40,
            **settings,
        )

    def listener(self, worker: Worker) -> Listener:
        """What tells the worker of a job: of the mail, above all, that follows the finish."""
        return Listener(reactor, self.dsn, {JOBS_CHANNEL: lambda _: worker.wake()}, worker.wake)


def die(*_: object) -> NoReturn:
    """As ``kill -9`` has it: nothing is cleaned up."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("nobody survives this")


def before(_step: Callable[..., Any]) -> Callable[..., Any]:
    """Instead of the step, death."""
    return die


def after(step: Callable[..., Any]) -> Callable[..., Any]:
    """The step, and then death."""

    def last(*args: Any, **kwargs: Any) -> Any:
        result = step(*args, **kwargs)
        return _then_die(result) if isinstance(result, Awaitable) else die()

    return last


async def _then_die(work: Awaitable[Any]) -> None:
    await work
    die()


STEPS: Final[dict[str, tuple[Any, str, Callable[..., Callable[..., Any]]]]] = {
    "claimed": (Finisher, "__call__", before),
    "archived": (LocalArchive, "put", after),
    "settled": (Recordings, "complete", after),
    "first leg gone": (Path, "unlink", after),
    "both legs gone": (Finisher, "_clear_legs", after),
    "finish done": (Jobs, "mark_done", after),
    "mail claimed": (Mailer, "__call__", before),
    "mail noted": (Deliveries, "record_reply", after),
    "mail done": (Mailer, "__call__", after),
}


def main(step: str, place: Place) -> None:
    """Work until death."""
    owner, name, how = STEPS[step]
    setattr(owner, name, how(getattr(owner, name)))
    pool = Pool(reactor, place.dsn, size=4)
    pool.startService()
    worker = place.worker(pool)
    place.listener(worker).startService()
    ready = Deferred.fromCoroutine(pool.when_ready())
    ready.addCallback(lambda _: worker.startService())
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1], msgspec.json.decode(sys.argv[2], type=Place))
