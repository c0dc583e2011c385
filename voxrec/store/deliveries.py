"""Repository of mail deliveries: the relay's reply for each recipient, so that none gets the same mail twice."""

# ruff: noqa: S608 - only a constant condition is formatted into statements; values are parameters

import enum
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from msgspec import Struct

from voxrec.postgres.pool import Pool
from voxrec.postgres.transaction import Transaction

UNCONFIRMED: Final = """
    (deliveries.state <> 'accepted' AND deliveries.attempts = ANY (deliveries.unconfirmed_attempts))
"""
"""Whether it is not known if the relay accepted the last mail of a delivery."""


class DeliveryState(enum.StrEnum):
    """State of the delivery to one recipient."""

    ACCEPTED = "accepted"
    DEFERRED = "deferred"  # the relay refused temporarily; the delivery is retried
    REFUSED = "refused"  # refused permanently, or returned; the delivery is retried only after `reopen_refused`


class Delivery(Struct, frozen=True, kw_only=True, rename="camel"):
    """Delivery of a Recording's mail to one recipient: the number of replies of the relay, and the last one."""

    recipient: str
    state: DeliveryState
    attempts: int
    last_reply: str
    updated_at: datetime
    returned: bool = False
    """Whether the relay had accepted the last mail, which was then returned to the bounce address."""
    unconfirmed: bool = False
    """Whether it is not known if the relay accepted the last mail."""
    retry_after: float = 0.0
    """Seconds before which it must not be sent again."""


class NextAttempt(NamedTuple):
    """The number of the next attempt of a delivery."""

    delivery_id: UUID
    number: int


class Deliveries:
    """The table of deliveries. Methods raise StoreUnavailable while PostgreSQL cannot be reached."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def pending_recipients(self, recording_id: UUID, recipients: Sequence[str]) -> list[str]:
        """Return those of ``recipients``, without duplicates, to whom the mail is to be sent now.

        The relay has neither accepted nor refused them, and no unconfirmed mail to them is too recent.
        """
        rows = await self._pool.query(
            """
            SELECT recipient FROM deliveries
            WHERE recording_id = %s AND (state IN ('accepted', 'refused') OR not_before > now())
            """,
            (recording_id,),
        )
        others = {recipient for (recipient,) in rows}
        return [recipient for recipient in dict.fromkeys(recipients) if recipient not in others]

    async def requested_recipients(self, recording_id: UUID) -> list[str]:
        """Return the recipients that a client has requested, in addition to those of the Profile."""
        rows = await self._pool.query(
            "SELECT recipient FROM deliveries WHERE recording_id = %s AND requested ORDER BY recipient", (recording_id,)
        )
        return [recipient for (recipient,) in rows]

    async def next_attempts(self, recording_id: UUID, recipients: Sequence[str]) -> dict[str, NextAttempt]:
        """Return the next attempt for each recipient, whose delivery is inserted if it is the first.

        The result is empty for a deleted Recording.
        """
        rows = await self._pool.returning(
            """
            INSERT INTO deliveries AS old (recording_id, recipient, state, attempts, last_reply)
            SELECT id, recipient, 'deferred', 0, '' FROM recordings, unnest(%s::text[]) AS recipient
            WHERE id = %s FOR KEY SHARE OF recordings
            ON CONFLICT (recording_id, recipient) DO UPDATE SET recipient = old.recipient
            RETURNING recipient, id, attempts + 1
            """,
            (list(recipients), recording_id),
        )
        return {recipient: NextAttempt(delivery_id, number) for recipient, delivery_id, number in rows}

    async def record_reply(self, recording_id: UUID, recipient: str, state: DeliveryState, reply: str) -> None:
        """Store a reply of the relay. Accepted deliveries stay accepted; for a deleted Recording nothing is stored.

        If the mail of this attempt was returned before its acceptance is stored, the delivery has failed.
        """
        await self._pool.execute(
            """
            INSERT INTO deliveries AS old (recording_id, recipient, state, last_reply)
            SELECT id, %s, %s, %s FROM recordings WHERE id = %s FOR KEY SHARE
            ON CONFLICT (recording_id, recipient) DO UPDATE
            SET state = CASE WHEN EXCLUDED.state = 'accepted' AND old.bounced_attempt = old.attempts + 1 THEN 'refused'
                             ELSE EXCLUDED.state END,
                attempts = old.attempts + 1, last_reply = EXCLUDED.last_reply, not_before = NULL, updated_at = now()
            WHERE old.state <> 'accepted' OR EXCLUDED.state = 'accepted'
            """,
            (recipient, state.value, reply, recording_id),
        )

    async def record_unconfirmed(
        self, recording_id: UUID, recipient: str, reason: str, limit: int, interval: timedelta
    ) -> None:
        """Store that it is not known whether the relay has accepted a mail.

        It is sent again after ``interval``, and after four times as long after each further mail of this kind, until
        there are ``limit`` of them. If the mail was returned meanwhile, the delivery has failed.
        """
        await self._pool.execute(
            """
            INSERT INTO deliveries AS old
                (recording_id, recipient, state, last_reply, unconfirmed_attempts, not_before)
            SELECT id, %s, CASE WHEN %s > 1 THEN 'deferred' ELSE 'refused' END, %s, '{1}', now() + %s::interval
            FROM recordings WHERE id = %s FOR KEY SHARE
            ON CONFLICT (recording_id, recipient) DO UPDATE
            SET state = CASE WHEN cardinality(old.unconfirmed_attempts) + 1 < %s
                             AND old.bounced_attempt IS DISTINCT FROM old.attempts + 1 THEN 'deferred'
                             ELSE 'refused' END,
                unconfirmed_attempts =
                    old.unconfirmed_attempts || array_remove(ARRAY[old.attempts + 1], old.bounced_attempt),
                not_before = now() + %s::interval * 4 ^ cardinality(old.unconfirmed_attempts),
                attempts = old.attempts + 1, last_reply = EXCLUDED.last_reply, updated_at = now()
            WHERE old.state <> 'accepted'
            """,
            (recipient, limit, reason, interval, recording_id, limit, interval),
        )

    async def of_recording(self, recording_id: UUID) -> list[Delivery]:
        """Return the deliveries of a Recording, by recipient."""
        rows = await self._pool.query(
            f"""
            SELECT recipient, state, attempts, last_reply, updated_at, coalesce(bounced_attempt = attempts, FALSE),
                   {UNCONFIRMED}, coalesce(greatest(0, extract(epoch FROM not_before - now())), 0)::float8
            FROM deliveries WHERE recording_id = %s ORDER BY recipient
            """,
            (recording_id,),
        )
        return [
            Delivery(
                recipient=recipient,
                state=DeliveryState(state),
                attempts=attempts,
                last_reply=last_reply,
                updated_at=updated_at,
                returned=returned,
                unconfirmed=unconfirmed,
                retry_after=retry_after,
            )
            for recipient, state, attempts, last_reply, updated_at, returned, unconfirmed, retry_after in rows
        ]


async def reopen(transaction: Transaction, recording_id: UUID, *, unconfirmed: bool) -> None:
    """Let the mail be sent again, as part of the transaction that restarts the MAIL job.

    Deliveries that are retried anyway, or were refused, are retried at once. Those that have ended unconfirmed are
    retried only if ``unconfirmed``: they may have succeeded.
    """
    await transaction.execute(
        f"""
        UPDATE deliveries
        SET state = 'deferred', not_before = NULL, updated_at = now(),
            unconfirmed_attempts = CASE state WHEN 'deferred' THEN unconfirmed_attempts ELSE '{{}}' END
        WHERE recording_id = %s AND (state = 'deferred' OR state = 'refused' AND (%s OR NOT {UNCONFIRMED}))
        """,
        (recording_id, unconfirmed),
    )


async def confirm(transaction: Transaction, recording_id: UUID) -> None:
    """Take unconfirmed mails for delivered, as part of the transaction that closes the MAIL job."""
    await transaction.execute(
        f"UPDATE deliveries SET state = 'accepted', updated_at = now() WHERE recording_id = %s AND {UNCONFIRMED}",
        (recording_id,),
    )
