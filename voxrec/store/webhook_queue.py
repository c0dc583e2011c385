"""The queue of deliveries to webhooks, shared by several daemons: claims that are fair to all webhooks, and outcomes.

Deliveries are inserted by triggers, in the transaction of the event (migration 0020). A lease works as in
`voxrec.store.jobs`.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from voxrec.postgres.database import Database
from voxrec.postgres.statement import PreparedStatement, Row
from voxrec.store.webhooks import Endpoint

# ``target`` finds the webhooks with pending deliveries by one index probe each. Each of them has a limited number of
# requests in progress, or one while it fails, and they take turns. A delivery waits while an earlier one of its call
# has not been attempted, so that first attempts are in order; it does not wait for retries.
_CLAIM: Final = PreparedStatement("""
    WITH RECURSIVE target AS (
        (SELECT webhook_id FROM webhook_deliveries WHERE state = 'pending' ORDER BY webhook_id LIMIT 1)
        UNION ALL
        SELECT (SELECT webhook_id FROM webhook_deliveries WHERE state = 'pending' AND webhook_id > target.webhook_id
                ORDER BY webhook_id LIMIT 1)
        FROM target WHERE target.webhook_id IS NOT NULL
    ), candidate AS MATERIALIZED (
        SELECT due.id, due.due_at,
               row_number() OVER (PARTITION BY target.webhook_id ORDER BY due.due_at, due.position) AS turn
        FROM target JOIN webhooks ON webhooks.id = target.webhook_id CROSS JOIN LATERAL (
            SELECT id, due_at, position FROM webhook_deliveries AS delivery
            WHERE webhook_id = target.webhook_id AND state = 'pending' AND due_at <= now()
              AND (leased_until IS NULL OR leased_until <= now())
              AND (last_error IS NOT NULL OR NOT EXISTS (
                  SELECT FROM webhook_deliveries AS earlier
                  WHERE earlier.webhook_id = delivery.webhook_id AND earlier.subject = delivery.subject
                    AND earlier.position < delivery.position AND earlier.state = 'pending'
                    AND earlier.last_error IS NULL))
            ORDER BY due_at, position
            LIMIT greatest(0, CASE WHEN webhooks.failing_since IS NULL THEN %s::integer ELSE 1 END - (
                SELECT count(*) FROM webhook_deliveries
                WHERE webhook_id = target.webhook_id AND state = 'pending' AND leased_until > now()))
        ) AS due
    ), locked AS MATERIALIZED (
        SELECT id FROM webhook_deliveries
        WHERE id = ANY (ARRAY(SELECT id FROM candidate ORDER BY turn, due_at LIMIT %s::integer))
          AND state = 'pending' AND (leased_until IS NULL OR leased_until <= now())
        FOR UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE webhook_deliveries
        SET attempts = attempts + 1, claims = claims + 1, leased_until = now() + %s::interval, leased_by = %s
        FROM locked WHERE webhook_deliveries.id = locked.id RETURNING webhook_deliveries.*
    ), others AS (
        (SELECT due_at AS next_due FROM webhook_deliveries
         WHERE state = 'pending' AND (leased_until IS NULL OR leased_until <= now())
           AND id <> ALL (ARRAY(SELECT id FROM locked))
         ORDER BY due_at LIMIT 1)
        UNION ALL
        SELECT min(leased_until) FROM webhook_deliveries WHERE state = 'pending' AND leased_until > now()
    )
    SELECT (SELECT min(next_due) FROM others), claimed.id, claimed.attempts, claimed.claims, claimed.last_error,
           message.id, message.type, message.at, message.sequence, message.recording_id, message.data,
           CASE WHEN recordings.id IS NOT NULL THEN jsonb_build_object(
               'format', recordings.format, 'channels', recordings.channels, 'from', recordings."from",
               'fromName', recordings.from_name, 'to', recordings."to", 'remoteSipUri', recordings.remote_sip_uri,
               'verdict', recordings.verdict, 'metadata', recordings.metadata, 'legalHold', recordings.legal_hold,
               'expiresAt', recordings.expires_at, 'hasAudio', recordings.path IS NOT NULL) END,
           webhooks.id, webhooks.url, webhooks.headers, webhooks.secret,
           CASE WHEN webhooks.previous_secret_expires_at > now() THEN webhooks.previous_secret END
    FROM (SELECT) AS always
    LEFT JOIN (
        claimed JOIN webhook_messages AS message ON message.id = claimed.message_id
        JOIN webhooks ON webhooks.id = claimed.webhook_id
        LEFT JOIN recordings ON recordings.id = message.recording_id AND message.type LIKE 'recording.%%'
    ) ON TRUE
    ORDER BY claimed.position
""")
_RELEASE_LEASES: Final = """
    WITH released AS (
        UPDATE webhook_deliveries SET leased_until = NULL, leased_by = NULL
        WHERE leased_by = %s AND state = 'pending' AND leased_until > now() RETURNING id
    )
    SELECT pg_notify('voxrec_webhooks', '') FROM released
"""
_HELD: Final = "id = %s AND claims = %s AND leased_until IS NOT NULL"
# The reply of a receiver may contain personal data.
_STORE_ATTEMPT: Final = """
    attempt AS (
        INSERT INTO webhook_attempts (delivery_id, webhook_id, created_at, seconds, status, reply)
        SELECT ended.id, webhook_id, %s::timestamptz, %s::float8, %s::integer,
               CASE WHEN erased THEN '' ELSE %s::text END
        FROM ended JOIN webhook_messages ON webhook_messages.id = message_id
        WHERE %s::boolean
    )
"""
_SUCCEEDED: Final = PreparedStatement(f"""
    WITH ended AS (
        UPDATE webhook_deliveries SET state = 'delivered', leased_until = NULL, last_error = NULL WHERE {_HELD}
        RETURNING id, webhook_id, message_id
    ), {_STORE_ATTEMPT}, recovered AS (
        UPDATE webhooks SET failing_since = NULL FROM ended
        WHERE webhooks.id = ended.webhook_id AND failing_since IS NOT NULL
    )
    SELECT id FROM ended
""")  # noqa: S608 - values are parameters
_FAILED: Final = PreparedStatement(f"""
    WITH ended AS (
        UPDATE webhook_deliveries
        SET state = CASE WHEN %s::boolean THEN 'failed' ELSE state END, leased_until = NULL, last_error = %s::text,
            due_at = coalesce(%s::timestamptz, due_at)
        WHERE {_HELD} RETURNING id, webhook_id, message_id
    ), {_STORE_ATTEMPT}, failing AS (
        SELECT webhooks.id, %s::boolean OR failing_since < now() - %s::interval AS gives_up
        FROM webhooks JOIN ended ON webhooks.id = ended.webhook_id WHERE %s::boolean AND enabled
    ), changed AS (
        UPDATE webhooks
        SET failing_since = coalesce(failing_since, now()), enabled = NOT coalesce(gives_up, FALSE),
            disabled_reason = CASE WHEN gives_up THEN %s::text END
        FROM failing WHERE webhooks.id = failing.id AND (failing_since IS NULL OR gives_up)
        RETURNING webhooks.enabled
    )
    SELECT (SELECT NOT enabled FROM changed) FROM ended
""")  # noqa: S608 - values are parameters
_DELETE_OLD: Final = """
    DELETE FROM webhook_messages WHERE id IN (
        SELECT id FROM webhook_messages WHERE created_at < now() - %s ORDER BY created_at LIMIT %s)
"""
_DELETE_BATCH: Final = 5000
_STATISTICS: Final = """
    SELECT count(*), count(*) FILTER (WHERE due_at <= now()),
           coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8,
           (SELECT count(*) FROM webhooks WHERE NOT enabled AND disabled_reason IS NOT NULL)
    FROM webhook_deliveries WHERE state = 'pending'
"""


@dataclass(frozen=True, slots=True)
class WebhookMessage:
    """A message: its id, the event, and the data of its Recording while that exists (``hasAudio``, parties)."""

    id: UUID
    type: str
    at: datetime
    sequence: int | None
    data: dict[str, Any]
    recording: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class PendingDelivery:
    """A claimed delivery of a message to a webhook. ``claims`` is the fencing token, as in Job."""

    id: UUID
    message: WebhookMessage
    endpoint: Endpoint
    attempts: int
    claims: int
    last_error: str | None
    recording_id: UUID | None
    kind: str = "webhook"

    @property
    def label(self) -> str:
        """The delivery in log messages."""
        return f"the delivery of {self.message.type} {self.message.id} to webhook {self.endpoint.webhook_id}"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What happened in an attempt.

    ``status`` is that of HTTP, None without a response; ``reply`` the beginning of the response, or the error;
    ``gone`` whether the receiver wants no further requests.
    """

    started_at: datetime
    seconds: float
    status: int | None
    reply: str
    gone: bool = False

    @property
    def delivered(self) -> bool:
        """Whether the receiver accepted the message."""
        return self.status is not None and 200 <= self.status < 300


class WebhookStatistics(NamedTuple):
    """Numbers of pending deliveries and of disabled webhooks; ``oldest_age`` is in seconds."""

    pending: int
    due: int
    oldest_age: float
    disabled: int


_NO_ATTEMPT: Final = Attempt(datetime(1970, 1, 1, tzinfo=UTC), 0.0, None, "")


class WebhookQueue:
    """The queue. A webhook has at most ``per_target`` requests in progress.

    Each method that ends a claim returns whether the claim was still held, and stores the attempt, unless it is None:
    then there was no request.
    """

    def __init__(self, database: Database, *, per_target: int = 4) -> None:
        self._database = database
        self._per_target = per_target
        self.instance: UUID | None = None
        """This process, as `release_leases` of its successor names it."""

    async def claim(
        self, _kinds: Collection[str], lease: timedelta, limit: int
    ) -> tuple[list[PendingDelivery], datetime | None]:
        """Claim at most ``limit`` due deliveries, and return when another one is due."""
        rows = await self._database.returning(_CLAIM, (self._per_target, limit, lease, self.instance))
        deliveries = [_delivery(row[1:]) for row in rows if row[1] is not None]
        return deliveries, rows[0][0]

    async def extend_lease(self, delivery: PendingDelivery, lease: timedelta) -> bool:
        """Let the lease end ``lease`` from now."""
        sql = f"UPDATE webhook_deliveries SET leased_until = now() + %s WHERE {_HELD}"  # noqa: S608 - a constant
        return bool(await self._database.execute(sql, (lease, delivery.id, delivery.claims)))

    async def release_leases(self, instance: UUID) -> None:
        """Make the deliveries due that a process had claimed, which has certainly ended."""
        await self._database.returning(_RELEASE_LEASES, (instance,))

    async def succeeded(self, delivery: PendingDelivery, attempt: Attempt) -> bool:
        """Mark a delivery as delivered."""
        params = (delivery.id, delivery.claims, *_attempt_params(attempt))
        return bool(await self._database.returning(_SUCCEEDED, params))

    async def failed(
        self,
        delivery: PendingDelivery,
        attempt: Attempt | None,
        error: str,
        due_at: datetime | None,
        give_up_after: timedelta,
    ) -> tuple[bool, bool]:
        """Let a delivery be retried at ``due_at``, or never if it is None.

        The webhook is disabled if it is gone, or has failed for ``give_up_after``. Return whether the claim was held,
        and whether the webhook was disabled.
        """
        gone = attempt is not None and attempt.gone
        reason = error if gone else f"all requests have failed for {give_up_after.days} days: {error}"
        params = (
            *(due_at is None, error, due_at, delivery.id, delivery.claims, *_attempt_params(attempt)),
            *(gone, give_up_after, attempt is not None, reason),
        )
        rows = await self._database.returning(_FAILED, params)
        return bool(rows), bool(rows and rows[0][0])

    async def delete_older_than(self, age: timedelta) -> int:
        """Delete the messages older than ``age`` with their deliveries and attempts, and return their number."""
        deleted = 0
        while count := await self._database.execute(_DELETE_OLD, (age, _DELETE_BATCH)):
            deleted += count
        return deleted

    async def statistics(self) -> WebhookStatistics:
        """Return the statistics for the metrics."""
        (row,) = await self._database.query(_STATISTICS)
        return WebhookStatistics(*row)


def _attempt_params(attempt: Attempt | None) -> tuple[object, ...]:
    stored = attempt or _NO_ATTEMPT
    return stored.started_at, stored.seconds, stored.status, stored.reply, attempt is not None


def _delivery(row: Row) -> PendingDelivery:
    id_, attempts, claims, last_error, message_id, type_, at, sequence, recording_id, data, recording, *target = row
    webhook_id, url, headers, *secrets = target
    return PendingDelivery(
        id=id_,
        message=WebhookMessage(message_id, type_, at, sequence, data, recording),
        endpoint=Endpoint(webhook_id, url, headers, tuple(filter(None, secrets))),
        attempts=attempts,
        claims=claims,
        last_error=last_error,
        recording_id=recording_id,
    )
