"""Bulk actions: the worker that executes them."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from voxrec.clock import utc_now
from voxrec.composition.database import Database
from voxrec.composition.environment import Environment
from voxrec.composition.exports import ExportServices
from voxrec.deferreds import Backoff
from voxrec.jobs.worker import Worker
from voxrec.recordings.bulk_actions import BulkActionHandler
from voxrec.service_tree import OnDemandService
from voxrec.store.bulk_actions import KIND, BulkActionQueue, ClaimedBulkAction

_LEASE: Final = timedelta(minutes=1)  # after a crash, a bulk action continues when it has passed
_ATTEMPTS: Final = 10


@dataclass(frozen=True)
class BulkActionServices:
    """``worker_service`` starts once PostgreSQL is available."""

    worker: Worker[ClaimedBulkAction]
    worker_service: OnDemandService

    def database_recovered(self) -> None:
        """Begin with what is due: PostgreSQL is available (again)."""
        self.worker_service.ensure_started()
        self.worker.wake()


def build_bulk_actions(env: Environment, database: Database, exports: ExportServices) -> BulkActionServices:
    """Build the worker."""
    queue = BulkActionQueue(database.pool)
    handler = BulkActionHandler(
        queue,
        database.recordings,
        database.delivery_history,
        database.exports,
        lambda: utc_now(env.reactor),
        exports.worker.wake,
        is_stopping=lambda: not worker.running,
    )
    worker = Worker(
        env.reactor,
        queue,
        {KIND: handler.run},
        concurrency=1,
        lease=_LEASE,
        backoff=Backoff(first=env.config.queue.retry_first, limit=env.config.queue.retry_limit),
        max_attempts=_ATTEMPTS,
    )
    return BulkActionServices(worker, OnDemandService("bulk action worker", worker))
