"""Webhooks: the HTTP client, and the worker that sends what is pending."""

from dataclasses import dataclass
from datetime import timedelta
from importlib import metadata
from pathlib import Path
from typing import Final
from uuid import UUID

from voxrec.clock import utc_now
from voxrec.composition.database import Database
from voxrec.composition.environment import Environment
from voxrec.config import Webhooks as WebhookConfig
from voxrec.deferreds import Backoff
from voxrec.errors import NotFound
from voxrec.jobs.worker import Worker
from voxrec.model import LinkOrigin
from voxrec.service_tree import OnDemandService
from voxrec.store.webhook_queue import PendingDelivery
from voxrec.threads import WorkerThreads
from voxrec.webhooks.addresses import AddressPolicy
from voxrec.webhooks.connection import resolver
from voxrec.webhooks.http import HttpClient, HttpSettings
from voxrec.webhooks.sender import LinkUrl, SenderSettings, WebhookSender

_LEASE: Final = timedelta(minutes=2)  # longer than any request; after a crash, what was being sent waits this long
_NAME_THREADS: Final = 16  # slow name servers must not delay the name look-ups of other targets
_RETRY_FACTOR: Final = 3.0


@dataclass(frozen=True)
class WebhookServices:
    """``worker_service`` starts once PostgreSQL is available; ``threads`` look up names."""

    client: HttpClient
    sender: WebhookSender
    worker: Worker[PendingDelivery]
    worker_service: OnDemandService
    threads: WorkerThreads

    def database_recovered(self) -> None:
        """Send what is due: PostgreSQL is available (again), and notifications may have been lost."""
        self.worker_service.ensure_started()
        self.worker.wake()

    def delivery_due(self, _payload: str) -> None:
        """Send what is due: PostgreSQL notified of a delivery."""
        self.worker.wake()

    def reconfigure(self, settings: WebhookConfig) -> None:
        """Apply changed settings to the following requests."""
        self.client.configure(_http_settings(settings))


def build_webhooks(env: Environment, database: Database) -> WebhookServices:
    """Build the sender and its worker."""
    settings = env.config.webhooks
    threads = WorkerThreads(env.reactor, "webhook names", _NAME_THREADS)
    client = HttpClient(env.reactor, _http_settings(settings), resolver(threads.defer))
    sender = WebhookSender(
        env.reactor,
        database.webhook_queue,
        client.post,
        SenderSettings(
            public_url=env.config.rest.public_url.rstrip("/"),
            user_agent=f"voxrec/{metadata.version('voxrec')}",
            give_up_after=timedelta(days=settings.disable_days),
        ),
        link_url=_link_url(env, database) if env.config.links.in_webhooks else None,
        on_attempt=env.metrics.jobs.count_webhook_attempt,
    )
    worker = Worker(
        env.reactor,
        sender,
        {"webhook": sender.deliver},
        concurrency=settings.concurrency,
        lease=_LEASE,
        backoff=Backoff(first=settings.retry_first, limit=settings.retry_limit, factor=_RETRY_FACTOR),
        max_attempts=settings.attempts,
    )
    return WebhookServices(client, sender, worker, OnDemandService("webhook worker", worker), threads)


def _link_url(env: Environment, database: Database) -> LinkUrl:
    lifetime = timedelta(days=env.config.links.delivery_days)

    async def link_url(recording_id: UUID) -> str | None:
        try:
            link = await database.links.for_delivery(recording_id, LinkOrigin.WEBHOOK, lifetime, utc_now(env.reactor))
        except NotFound:  # deleted since the message was read
            return None
        return link.url

    return link_url


def _http_settings(settings: WebhookConfig) -> HttpSettings:
    return HttpSettings(
        timeout=settings.timeout,
        policy=AddressPolicy(settings.allowed_networks),
        ca_file=Path(settings.ca_file) if settings.ca_file else None,
    )
