"""Repository of the deliveries of Recordings by mail and webhook, with all attempts; it also repeats deliveries."""

# ruff: noqa: S608 - only a constant condition is formatted into statements; values are parameters

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import msgspec

from voxrec.error_codes import FieldErrorCode, ProblemReason
from voxrec.errors import Conflict, FieldError, InvalidInput, NotFound
from voxrec.model import DeliveryChannel, DeliveryStatus, RecordingDelivery, mail_addresses
from voxrec.postgres.database import Database
from voxrec.postgres.statement import Row
from voxrec.postgres.transaction import Transaction
from voxrec.store.deliveries import UNCONFIRMED
from voxrec.store.transaction_hook import NO_HOOK, TransactionHook

_MAIL_DELIVERIES: Final = f"""
    SELECT deliveries.id, recipient, state, deliveries.created_at, greatest(due_at, not_before),
           (jobs.id IS NOT NULL AND jobs.done_at IS NULL AND NOT jobs.dead) AS planned, {UNCONFIRMED},
           (SELECT coalesce(jsonb_agg(jsonb_build_object('at', at, 'reply', reply) ORDER BY at), '[]')
            FROM mail_attempts
            WHERE mail_attempts.recording_id = deliveries.recording_id
              AND mail_attempts.recipient = deliveries.recipient),
           (SELECT coalesce(jsonb_agg(jsonb_build_object(
                'at', at, 'attempt', attempt, 'action', action, 'status', status, 'remoteMta', remote_mta,
                'reply', reply) ORDER BY at), '[]')
            FROM delivery_reports WHERE delivery_id = deliveries.id)
    FROM deliveries LEFT JOIN jobs ON jobs.recording_id = deliveries.recording_id AND jobs.kind = 'mail'
    WHERE deliveries.recording_id = %s ORDER BY recipient
"""
_MAIL_JOB: Final = """
    SELECT email, jobs.created_at, due_at, dead FROM jobs
    JOIN recordings ON recordings.id = recording_id JOIN profiles ON profiles.id = profile_id
    WHERE recording_id = %s AND kind = 'mail' AND done_at IS NULL
"""
_WEBHOOK_DELIVERIES: Final = """
    SELECT webhook_deliveries.id, url, webhook_deliveries.webhook_id, message_id, type, state,
           webhook_deliveries.created_at, due_at,
           (SELECT coalesce(jsonb_agg(jsonb_build_object(
                'at', created_at, 'status', status, 'reply', reply, 'seconds', seconds) ORDER BY created_at), '[]')
            FROM webhook_attempts WHERE delivery_id = webhook_deliveries.id)
    FROM webhook_messages
    JOIN webhook_deliveries ON message_id = webhook_messages.id JOIN webhooks ON webhooks.id = webhook_id
    WHERE recording_id = %s ORDER BY webhook_messages.position, webhook_deliveries.created_at
"""
_LOCK_RECORDING: Final = "SELECT state, path IS NOT NULL FROM recordings WHERE id = %s FOR KEY SHARE"
_FIND_MAIL: Final = "SELECT recipient FROM deliveries WHERE id = %s AND recording_id = %s"
_FIND_WEBHOOK: Final = """
    SELECT webhook_deliveries.webhook_id, message_id FROM webhook_deliveries
    JOIN webhook_messages ON webhook_messages.id = message_id
    WHERE webhook_deliveries.id = %s AND recording_id = %s
"""
_FIND_WEBHOOKS: Final = """
    SELECT webhook_deliveries.webhook_id, message_id FROM webhook_deliveries
    JOIN webhook_messages ON webhook_messages.id = message_id
    WHERE recording_id = %s ORDER BY webhook_messages.position
"""
_REOPEN_MAIL: Final = """
    INSERT INTO deliveries AS old (recording_id, recipient, state, attempts, last_reply, requested)
    SELECT %s, recipient, 'deferred', 0, '', TRUE FROM unnest(%s::text[]) AS recipient
    ON CONFLICT (recording_id, recipient) DO UPDATE
    SET state = 'deferred', requested = TRUE, unconfirmed_attempts = '{}', not_before = NULL, updated_at = now()
"""
_LOCK_MAIL_JOB: Final = """
    SELECT leased_until > now() AND done_at IS NULL FROM jobs WHERE recording_id = %s AND kind = 'mail' FOR UPDATE
"""
_ENQUEUE_MAIL: Final = """
    INSERT INTO jobs (kind, recording_id) VALUES ('mail', %s)
    ON CONFLICT (recording_id, kind) DO UPDATE
    SET due_at = now(), leased_until = NULL, dead = FALSE, done_at = NULL, attempts = 0
"""
# ``attempts`` counts from zero again, so that the delivery is retried for days; the history keeps all attempts.
_REOPEN_WEBHOOK: Final = """
    INSERT INTO webhook_deliveries AS old (message_id, webhook_id, subject, position, state)
    SELECT webhook_messages.id, webhooks.id, coalesce(call_id, recording_id), position,
           CASE WHEN enabled THEN 'pending' ELSE 'suspended' END
    FROM webhook_messages CROSS JOIN webhooks WHERE webhook_messages.id = %s AND webhooks.id = %s
    ON CONFLICT (message_id, webhook_id) DO UPDATE
    SET state = excluded.state, attempts = 0, due_at = now(), last_error = NULL
    WHERE old.leased_until IS NULL OR old.leased_until <= now()
    RETURNING id
"""


class DeliveryHistory:
    """The deliveries of Recordings. Methods raise StoreUnavailable while PostgreSQL cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_recording(self, recording_id: UUID) -> list[RecordingDelivery]:
        """Return the deliveries of a Recording: mails by recipient, then webhooks in the order of their events."""
        return await _deliveries(self._database, recording_id)

    async def repeat(
        self,
        recording_id: UUID,
        delivery_id: UUID,
        target: str | None,
        hook: TransactionHook[RecordingDelivery] = NO_HOOK,
    ) -> RecordingDelivery:
        """Repeat a delivery now, or deliver the same to another target: an email address or the id of a webhook.

        Raises NotFound, Conflict if it is in progress, InvalidInput if ``target`` is not a webhook.
        """

        async def work(transaction: Transaction) -> RecordingDelivery:
            key: UUID | str
            if rows := await transaction.query(_FIND_MAIL, (delivery_id, recording_id)):
                channel, key = DeliveryChannel.MAIL, target or rows[0][0]
                await _send_mail(transaction, recording_id, [key])
            elif rows := await transaction.query(_FIND_WEBHOOK, (delivery_id, recording_id)):
                webhook_id, message_id = rows[0]
                channel, key = DeliveryChannel.WEBHOOK, await _send_webhook(transaction, message_id, webhook_id, target)
            else:
                raise NotFound(f"Recording {recording_id} has no delivery {delivery_id}.")
            delivery = await _find(transaction, recording_id, channel, key)
            await hook(transaction, delivery)
            return delivery

        return await self._database.transaction(work)

    async def repeat_all_in(self, recording_id: UUID, transaction: Transaction) -> int:
        """Repeat all deliveries of a Recording in a transaction of the caller, and return their number.

        Raises Conflict if one of them is in progress, or if the Recording has no audio to mail.
        """
        mails = await transaction.query("SELECT recipient FROM deliveries WHERE recording_id = %s", (recording_id,))
        if mails:
            await _send_mail(transaction, recording_id, [recipient for (recipient,) in mails])
        webhooks = await transaction.query(_FIND_WEBHOOKS, (recording_id,))
        for webhook_id, message_id in webhooks:
            await _send_webhook(transaction, message_id, webhook_id, None)
        return len(mails) + len(webhooks)

    async def channel_of(self, recording_id: UUID, delivery_id: UUID) -> DeliveryChannel:
        """Return how a delivery is made. Raises NotFound."""
        if await self._database.query(_FIND_MAIL, (delivery_id, recording_id)):
            return DeliveryChannel.MAIL
        if await self._database.query(_FIND_WEBHOOK, (delivery_id, recording_id)):
            return DeliveryChannel.WEBHOOK
        raise NotFound(f"Recording {recording_id} has no delivery {delivery_id}.")

    async def mail(
        self, recording_id: UUID, recipient: str, hook: TransactionHook[RecordingDelivery] = NO_HOOK
    ) -> RecordingDelivery:
        """Send the mail of a Recording to a recipient now. Raises Conflict if a mail is being sent."""

        async def work(transaction: Transaction) -> RecordingDelivery:
            await _send_mail(transaction, recording_id, [recipient])
            delivery = await _find(transaction, recording_id, DeliveryChannel.MAIL, recipient)
            await hook(transaction, delivery)
            return delivery

        return await self._database.transaction(work)


async def _deliveries(queries: Database | Transaction, recording_id: UUID) -> list[RecordingDelivery]:
    mails = [_mail(row) for row in await queries.query(_MAIL_DELIVERIES, (recording_id,))]
    known = {mail.target for mail in mails}
    rows = await queries.query(_MAIL_JOB, (recording_id,))
    expected = [mail for row in rows for mail in _expected_mails(row) if mail.target not in known]
    webhooks = await queries.query(_WEBHOOK_DELIVERIES, (recording_id,))
    return [*mails, *expected, *map(_webhook, webhooks)]


async def _find(
    transaction: Transaction, recording_id: UUID, channel: DeliveryChannel, key: UUID | str
) -> RecordingDelivery:
    for delivery in await _deliveries(transaction, recording_id):
        if delivery.channel is channel and key in (delivery.id, delivery.target):
            return delivery
    raise NotFound(f"The delivery of recording {recording_id} was deleted.")


async def _send_mail(transaction: Transaction, recording_id: UUID, recipients: Sequence[str]) -> None:
    """Let the MAIL job of a Recording send the mail to these recipients, even to those that have received it."""
    rows = await transaction.query(_LOCK_RECORDING, (recording_id,))
    if not rows:
        raise NotFound(f"There is no recording {recording_id}.")
    state, has_audio = rows[0]
    if state != "completed" or not has_audio:
        detail = f"Recording {recording_id} is {state}: only a completed recording can be mailed."
        raise Conflict(detail, reason=ProblemReason.NO_AUDIO_TO_MAIL)
    if (job := await transaction.query(_LOCK_MAIL_JOB, (recording_id,))) and job[0][0]:
        detail = f"A mail of recording {recording_id} is being sent; repeat the request when that has ended."
        raise Conflict(detail, reason=ProblemReason.DELIVERY_IN_PROGRESS)
    await transaction.execute(_REOPEN_MAIL, (recording_id, list(recipients)))
    await transaction.execute(_ENQUEUE_MAIL, (recording_id,))


async def _send_webhook(transaction: Transaction, message_id: UUID, webhook_id: UUID, target: str | None) -> UUID:
    if target is not None:
        webhook_id = UUID(target)
    rows = await transaction.query(_REOPEN_WEBHOOK, (message_id, webhook_id))
    if not rows:
        known = await transaction.query("SELECT id FROM webhooks WHERE id = %s", (webhook_id,))
        if not known:
            message, params = f"webhook {webhook_id} does not exist", {"value": str(webhook_id)}
            field_error = FieldError("target", message, FieldErrorCode.DOES_NOT_EXIST, params)
            raise InvalidInput("1 field is invalid.", [field_error])
        detail = "The delivery is in progress; repeat the request when the attempt has ended."
        raise Conflict(detail, reason=ProblemReason.DELIVERY_IN_PROGRESS)
    await transaction.query("SELECT pg_notify('voxrec_webhooks', '')")
    return UUID(str(rows[0][0]))


def _mail(row: Row) -> RecordingDelivery:
    id_, recipient, state, created_at, due_at, planned, unconfirmed, attempts, reports = row
    pending = state == "deferred" and planned
    if state == "accepted":
        status = DeliveryStatus.DELIVERED
    elif pending:
        status = DeliveryStatus.PENDING
    else:
        status = DeliveryStatus.UNCONFIRMED if unconfirmed else DeliveryStatus.FAILED
    return _convert(
        id=id_,
        channel=DeliveryChannel.MAIL,
        event="recording.completed",
        target=recipient,
        status=status,
        attempts=attempts,
        reports=reports,
        nextAttemptAt=due_at if pending else None,
        createdAt=created_at,
    )


def _expected_mails(row: Row) -> list[RecordingDelivery]:
    """Return the mails to the addresses of a Profile that the MAIL job has not attempted yet."""
    email, created_at, due_at, dead = row
    return [
        _convert(
            channel=DeliveryChannel.MAIL,
            event="recording.completed",
            target=recipient,
            status=DeliveryStatus.FAILED if dead else DeliveryStatus.PENDING,
            nextAttemptAt=None if dead else due_at,
            createdAt=created_at,
        )
        for recipient in mail_addresses(email)
    ]


def _webhook(row: Row) -> RecordingDelivery:
    id_, url, webhook_id, message_id, event, state, created_at, due_at, attempts = row
    return _convert(
        id=id_,
        channel=DeliveryChannel.WEBHOOK,
        event=event,
        target=_without_query(url),
        webhookId=webhook_id,
        messageId=message_id,
        status=state,
        attempts=attempts,
        nextAttemptAt=due_at if state == "pending" else None,
        createdAt=created_at,
    )


def _convert(**fields: Any) -> RecordingDelivery:
    return msgspec.convert(fields, RecordingDelivery)


def _without_query(url: str) -> str:
    """Return a URL without what may be secret: user, password and query."""
    try:
        parts = urlsplit(url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    except ValueError:
        return ""
