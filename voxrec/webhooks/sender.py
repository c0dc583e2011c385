"""Sends pending deliveries to webhooks, and records what happened in each attempt."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol
from uuid import UUID, uuid4

import msgspec
from twisted.logger import Logger

from voxrec.clock import utc_now
from voxrec.errors import DeliveryError
from voxrec.model import WebhookEvent
from voxrec.model.fields import url_errors
from voxrec.sanitize import sanitize_line
from voxrec.store.webhook_queue import Attempt, PendingDelivery, WebhookMessage
from voxrec.store.webhooks import Endpoint
from voxrec.webhooks.http import Reply
from voxrec.webhooks.message import encode_message
from voxrec.webhooks.signature import signature_headers

GONE: Final = 410  # RFC 9110 section 15.5.11; Standard Webhooks: the receiver wants no further requests
TEST_EVENT: Final = "webhook.test"

Post = Callable[[str, dict[str, str], bytes], Awaitable[Reply]]
"""`voxrec.webhooks.http.HttpClient.post`."""


LinkUrl = Callable[[UUID], Awaitable[str | None]]
"""Returns an expiring link to a Recording; None if it was deleted."""


class Queue(Protocol):
    """The stored queue, see `voxrec.store.webhook_queue.WebhookQueue`."""

    async def claim(
        self, kinds: Collection[str], lease: timedelta, limit: int, /
    ) -> tuple[list[PendingDelivery], datetime | None]:
        """Claim due deliveries, and return when another one is due."""

    async def extend_lease(self, delivery: PendingDelivery, lease: timedelta, /) -> bool:
        """Extend a claim."""

    async def succeeded(self, delivery: PendingDelivery, attempt: Attempt, /) -> bool:
        """Mark a delivery as delivered."""

    async def failed(
        self,
        delivery: PendingDelivery,
        attempt: Attempt | None,
        error: str,
        due_at: datetime | None,
        give_up_after: timedelta,
        /,
    ) -> tuple[bool, bool]:
        """Let a delivery be retried at ``due_at``, or never."""


@dataclass(frozen=True, slots=True)
class SenderSettings:
    """``give_up_after``: how long all requests to a webhook may fail until it is disabled."""

    public_url: str
    user_agent: str
    give_up_after: timedelta


class WebhookSender:
    """The handler of deliveries, and the queue of the job worker that calls it.

    The worker stores an outcome after the handler has ended; the attempt is stored in the same statement, and is kept
    here until then. A process that dies in between repeats the request, with the same id.
    """

    _log = Logger()

    def __init__(
        self,
        clock: Any,
        queue: Queue,
        post: Post,
        settings: SenderSettings,
        *,
        link_url: LinkUrl | None = None,
        on_attempt: Callable[[str], None] = lambda _outcome: None,
    ) -> None:
        """Create a sender. ``link_url`` None: messages have no expiring links.

        ``on_attempt`` is called with the outcome of each request: delivered, refused (an HTTP status) or failed.
        """
        self._clock = clock
        self._queue = queue
        self._post = post
        self._settings = settings
        self._link_url = link_url
        self._on_attempt = on_attempt
        self._attempts: dict[tuple[UUID, int], Attempt] = {}

    async def deliver(self, delivery: PendingDelivery) -> None:
        """Send a delivery. Raises DeliveryError unless the receiver accepts it with a status of 2xx."""
        body = encode_message(delivery.message, self._settings.public_url, await self._link_to(delivery.message))
        attempt, error = await self._send(delivery.endpoint, delivery.message.id, body)
        self._attempts[delivery.id, delivery.claims] = attempt
        if error is not None:
            raise error

    async def _link_to(self, message: WebhookMessage) -> str | None:
        if self._link_url is None or message.recording is None or message.type != WebhookEvent.RECORDING_COMPLETED:
            return None
        return await self._link_url(UUID(str(message.data["id"])))

    async def send_test(self, endpoint: Endpoint, profile_id: UUID | None) -> Attempt:
        """Send a message of the type webhook.test, which is not retried, and return what happened."""
        document = {
            "type": TEST_EVENT,
            "timestamp": self._now(),
            "data": {"webhookId": endpoint.webhook_id, "profileId": profile_id},
        }
        attempt, _ = await self._send(endpoint, uuid4(), msgspec.json.encode(document))
        return attempt

    # The queue of the worker

    async def claim(
        self, kinds: Collection[str], lease: timedelta, limit: int
    ) -> tuple[list[PendingDelivery], datetime | None]:
        """See `voxrec.jobs.worker.Jobs`."""
        return await self._queue.claim(kinds, lease, limit)

    async def extend_lease(self, job: PendingDelivery, lease: timedelta) -> bool:
        """See `voxrec.jobs.worker.Jobs`."""
        return await self._queue.extend_lease(job, lease)

    async def mark_done(self, job: PendingDelivery) -> bool:
        """See `voxrec.jobs.worker.Jobs`."""
        held = await self._queue.succeeded(job, self._attempts[job.id, job.claims])
        del self._attempts[job.id, job.claims]
        return held

    async def retry(self, job: PendingDelivery, error: str, due_at: datetime) -> bool:
        """See `voxrec.jobs.worker.Jobs`."""
        return await self._failed(job, error, due_at)

    async def dead_letter(self, job: PendingDelivery, error: str) -> bool:
        """See `voxrec.jobs.worker.Jobs`."""
        return await self._failed(job, error, None)

    async def _failed(self, job: PendingDelivery, error: str, due_at: datetime | None) -> bool:
        attempt = self._attempts.get((job.id, job.claims))
        give_up_after = self._settings.give_up_after
        held, disabled = await self._queue.failed(job, attempt, error, due_at, give_up_after)
        self._attempts.pop((job.id, job.claims), None)
        if disabled:
            self._log.error(
                "webhook {id} was disabled: {reason}; enable it by POST /webhooks/{id} when its receiver works",
                id=job.endpoint.webhook_id,
                reason=error,
            )
        return held

    # Requests

    async def _send(self, endpoint: Endpoint, message_id: UUID, body: bytes) -> tuple[Attempt, DeliveryError | None]:
        """Send a request; return the attempt, and the error unless it was accepted."""
        started, timestamp = self._clock.seconds(), int(self._now().timestamp())
        headers = {
            **endpoint.headers,
            "Content-Type": "application/json",
            "User-Agent": self._settings.user_agent,
            **signature_headers(endpoint.secrets, message_id, timestamp, body),
        }
        try:
            for error in url_errors("url", endpoint.url):
                raise DeliveryError(sanitize_line(f"the URL {error.message}"), permanent=True)
            reply = await self._post(endpoint.url, headers, body)
        except DeliveryError as error:
            self._on_attempt("failed")
            return self._attempt(started, None, error.detail), error
        refusal = _refusal(reply)
        self._on_attempt("delivered" if refusal is None else "refused")
        return self._attempt(started, reply.status, reply.text), refusal

    def _attempt(self, started: float, status: int | None, reply: str) -> Attempt:
        seconds = self._clock.seconds() - started
        return Attempt(self._now() - timedelta(seconds=seconds), seconds, status, reply, gone=status == GONE)

    def _now(self) -> datetime:
        return utc_now(self._clock)


def _refusal(reply: Reply) -> DeliveryError | None:
    """Return the error for a reply, or None if the message was accepted."""
    if 200 <= reply.status < 300:
        return None
    if 300 <= reply.status < 400:
        return DeliveryError(f"HTTP status {reply.status}: redirects are not followed", permanent=False)
    if reply.status == GONE:
        return DeliveryError("HTTP status 410: the receiver wants no further requests", permanent=True)
    return DeliveryError(f"HTTP status {reply.status}", permanent=False, retry_after=reply.retry_after)
