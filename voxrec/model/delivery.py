"""Deliveries of a Recording: the mails and webhooks about it, with every attempt."""

import enum
from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Struct

from voxrec.model.fields import doc
from voxrec.model.webhook import WebhookEvent


class DeliveryChannel(enum.StrEnum):
    """How something is delivered.

    - ``mail``: by email, to one recipient
    - ``webhook``: by HTTP, to one webhook
    """

    MAIL = "mail"
    WEBHOOK = "webhook"


class DeliveryStatus(enum.StrEnum):
    """Status of a delivery.

    - ``pending``: not delivered yet; it is attempted now or later
    - ``suspended``: waits because the webhook is disabled
    - ``delivered``: accepted by the receiver
    - ``failed``: refused, or given up after too many attempts; it is attempted again only on request
    """

    PENDING = "pending"
    SUSPENDED = "suspended"
    DELIVERED = "delivered"
    FAILED = "failed"


class DeliveryAttempt(Struct, frozen=True, kw_only=True, rename="camel"):
    """An attempt of a delivery."""

    at: Annotated[datetime, doc("Time of the attempt.")]
    status: Annotated[int | None, doc("HTTP status of the response. Null for mail, and if there was no response.")] = (
        None
    )
    reply: Annotated[str, doc("Reply of the mail server, beginning of the HTTP response, or the error.")]
    seconds: Annotated[float | None, doc("Duration of an HTTP request. Null for mail.")] = None


class RecordingDelivery(Struct, frozen=True, kw_only=True, rename="camel"):
    """A mail or a webhook about a Recording."""

    id: Annotated[UUID | None, doc("Id of the delivery. Null for a mail that was not attempted yet.")] = None
    channel: DeliveryChannel
    event: Annotated[WebhookEvent, doc("Type of the event that is delivered.")]
    target: Annotated[str, doc("Email address, or URL of the webhook without its query.")]
    webhook_id: Annotated[UUID | None, doc("Id of the webhook. Null for mail.")] = None
    message_id: Annotated[UUID | None, doc("Id of the message: the header webhook-id. Null for mail.")] = None
    status: DeliveryStatus
    attempts: Annotated[tuple[DeliveryAttempt, ...], doc("All attempts, in chronological order.")] = ()
    next_attempt_at: Annotated[datetime | None, doc("Time of the next attempt. Null: none is planned.")] = None
    created_at: Annotated[datetime, doc("Time at which the delivery was requested.")]
