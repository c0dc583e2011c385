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
    - ``unconfirmed``: a mail that may have been delivered: the mail server received it each time, but did not say
      whether it accepts it; it is sent again only on request
    - ``failed``: refused, given up after too many attempts, or accepted and returned later (see `reports`); it is
      attempted again only on request
    """

    PENDING = "pending"
    SUSPENDED = "suspended"
    DELIVERED = "delivered"
    UNCONFIRMED = "unconfirmed"
    FAILED = "failed"


class ReportAction(enum.StrEnum):
    """What a mail server reports about a mail that was accepted (RFC 3464 section 2.3.3).

    - ``failed``: the mail could not be delivered; the delivery has failed
    - ``delayed``: the mail could not be delivered yet, and the server continues to try
    - ``delivered``: the mail is in the mailbox
    - ``relayed``: the mail was passed to a server that does not report
    - ``expanded``: the mail was passed to several addresses
    - ``unknown``: something was returned that voxrec cannot interpret; `reply` has its beginning
    """

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"
    UNKNOWN = "unknown"


class DeliveryReport(Struct, frozen=True, kw_only=True, rename="camel"):
    """A report of a mail server about a mail that was accepted: a bounce."""

    at: Annotated[datetime, doc("Time at which voxrec received the report.")]
    attempt: Annotated[int, doc("Number of the attempt whose mail it is about; 1 for the first.")]
    action: ReportAction
    status: Annotated[str | None, doc("Enhanced status code (RFC 3463), such as 5.1.1. Null: there is none.")] = None
    remote_mta: Annotated[str | None, doc("Name of the mail server that gave the reply. Null: it is not known.")] = None
    reply: Annotated[str, doc("Reply of that mail server, and in brackets the address that it is about.")]


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
    reports: Annotated[
        tuple[DeliveryReport, ...],
        doc("Reports of mail servers after the mail was accepted, in chronological order. Needs `bounces.address`."),
    ] = ()
    next_attempt_at: Annotated[datetime | None, doc("Time of the next attempt. Null: none is planned.")] = None
    created_at: Annotated[datetime, doc("Time at which the delivery was requested.")]
