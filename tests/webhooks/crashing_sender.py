"""A process that sends pending webhooks and kills itself at a step, for tests of voxrec.webhooks.sender."""

import sys
from datetime import timedelta
from typing import Final

from twisted.internet.threads import deferToThread

from tests.crashing_process import CrashPoint, run_worker
from tests.database import reactor
from tests.recordings.crashing_daemon import after, before
from voxrec.deferreds import Backoff
from voxrec.jobs.worker import Worker
from voxrec.postgres.pool import Pool
from voxrec.store.webhook_queue import PendingDelivery, WebhookQueue
from voxrec.webhooks.addresses import AddressPolicy
from voxrec.webhooks.connection import resolver
from voxrec.webhooks.http import HttpClient, HttpSettings
from voxrec.webhooks.sender import SenderSettings, WebhookSender

SHORT_LEASE: Final = timedelta(seconds=2)
"""The lease of the process that dies: the test waits until it expires."""
LONG_LEASE: Final = timedelta(minutes=1)
"""The lease of the worker that survives: however slow the machine is, it sends nothing twice."""
CRASH_POINTS: Final[dict[str, CrashPoint]] = {
    "claimed": (HttpClient, "post", before),
    "sent": (HttpClient, "post", after),
    "outcome not stored": (WebhookQueue, "succeeded", before),
    "outcome stored": (WebhookQueue, "succeeded", after),
}


def make_worker(pool: Pool, lease: timedelta) -> Worker[PendingDelivery]:
    """Return a worker whose receivers may be on loopback."""
    settings = HttpSettings(30.0, AddressPolicy(["127.0.0.0/8"]))
    sender = WebhookSender(
        reactor,
        WebhookQueue(pool),
        HttpClient(reactor, settings, resolver(deferToThread)).post,
        SenderSettings(public_url="https://rec.example", user_agent="test", give_up_after=timedelta(days=5)),
    )
    backoff = Backoff(first=0.1, limit=0.5)
    handlers = {"webhook": sender.deliver}
    return Worker(reactor, sender, handlers, concurrency=4, lease=lease, backoff=backoff, max_attempts=21)


def main(step: str, dsn: str) -> None:
    """Send until the process kills itself."""
    run_worker(CRASH_POINTS[step], dsn, lambda pool: make_worker(pool, SHORT_LEASE))


if __name__ == "__main__":
    main(*sys.argv[1:])
