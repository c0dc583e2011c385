"""What the mail relay said about each recipient of a Recording, so that nobody is sent the same mail twice."""

import enum
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from voxrec.postgres.pool import Pool
from voxrec.postgres.transaction import Transaction


class DeliveryState(enum.StrEnum):
    """How far a mail got with one recipient."""

    ACCEPTED = "accepted"
    DEFERRED = "deferred"  # not yet: to be asked again
    REFUSED = "refused"  # never, unless somebody puts it right and reopens


class Delivery(Struct, frozen=True, kw_only=True, rename="camel"):
    """One recipient of one Recording's mail; ``attempts`` counts the relay's answers, ``last_reply`` is the last."""

    recipient: str
    state: DeliveryState
    attempts: int
    last_reply: str
    updated_at: datetime


class Deliveries:
    """The table of them. Everything raises StoreUnavailable while PostgreSQL does not answer."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def pending_recipients(self, recording_id: UUID, recipients: Sequence[str]) -> list[str]:
        """Those of ``recipients``, each once, about whom nothing final is known."""
        rows = await self._pool.query(
            "SELECT recipient FROM deliveries WHERE recording_id = %s AND state IN ('accepted', 'refused')",
            (recording_id,),
        )
        settled = {recipient for (recipient,) in rows}
        return [one for one in dict.fromkeys(recipients) if one not in settled]

    async def record_reply(self, recording_id: UUID, recipient: str, state: DeliveryState, reply: str) -> None:
        """Write down one more answer. What was accepted once stays so; a Recording that is gone needs no note."""
        await self._pool.execute(
            """
            INSERT INTO deliveries AS old (recording_id, recipient, state, last_reply)
            SELECT id, %s, %s, %s FROM recordings WHERE id = %s FOR KEY SHARE
            ON CONFLICT (recording_id, recipient) DO UPDATE
            SET state = EXCLUDED.state, attempts = old.attempts + 1, last_reply = EXCLUDED.last_reply,
                updated_at = now()
            WHERE old.state <> 'accepted' OR EXCLUDED.state = 'accepted'
            """,
            (recipient, state.value, reply, recording_id),
        )

    async def of_recording(self, recording_id: UUID) -> list[Delivery]:
        """Every recipient that the relay was asked about, by address."""
        rows = await self._pool.query(
            """
            SELECT recipient, state, attempts, last_reply, updated_at FROM deliveries
            WHERE recording_id = %s ORDER BY recipient
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
            )
            for recipient, state, attempts, last_reply, updated_at in rows
        ]


async def reopen_refused(transaction: Transaction, recording_id: UUID) -> None:
    """Let those who were refused be asked again, as part of what starts the mail's job again."""
    await transaction.execute(
        """
        UPDATE deliveries SET state = 'deferred', updated_at = now()
        WHERE recording_id = %s AND state = 'refused'
        """,
        (recording_id,),
    )
