"""A process that executes bulk actions and kills itself at a step, for tests of voxrec.recordings.bulk_actions."""

import sys
from datetime import timedelta
from typing import Final

from tests.crashing_process import CrashPoint, run_worker
from tests.database import reactor
from tests.recordings.crashing_daemon import after, before
from voxrec.clock import utc_now
from voxrec.deferreds import Backoff
from voxrec.jobs.worker import Worker
from voxrec.postgres.pool import Pool
from voxrec.recordings.bulk_actions import BulkActionHandler
from voxrec.store.bulk_actions import KIND, BulkActionQueue, ClaimedBulkAction
from voxrec.store.delivery_history import DeliveryHistory
from voxrec.store.exports import Exports
from voxrec.store.recordings import Recordings

SHORT_LEASE: Final = timedelta(seconds=1)
"""The lease of the process that dies: the test waits until it expires."""
LONG_LEASE: Final = timedelta(minutes=1)
CRASH_POINTS: Final[dict[str, CrashPoint]] = {
    "deleted, not committed": (BulkActionQueue, "_store", before),
    "committed": (BulkActionQueue, "apply", after),
    "all committed": (BulkActionQueue, "mark_done", before),
}


def make_worker(pool: Pool, lease: timedelta) -> Worker[ClaimedBulkAction]:
    """Return a worker of bulk actions."""
    queue = BulkActionQueue(pool)
    handler = BulkActionHandler(
        queue,
        Recordings(pool),
        DeliveryHistory(pool),
        Exports(pool, "https://rec.example"),
        lambda: utc_now(reactor),
        lambda: None,
        is_stopping=lambda: not worker.running,
    )
    backoff = Backoff(first=0.1, limit=0.5)
    handlers = {KIND: handler.run}
    worker = Worker(reactor, queue, handlers, concurrency=1, lease=lease, backoff=backoff, max_attempts=10)
    return worker


def main(step: str, dsn: str) -> None:
    """Execute bulk actions until the process kills itself."""
    run_worker(CRASH_POINTS[step], dsn, lambda pool: make_worker(pool, SHORT_LEASE))


if __name__ == "__main__":
    main(*sys.argv[1:])
