"""Repository of what mail servers report about mails after they were accepted, and of the keys of bounce addresses."""

# ruff: noqa: S608 - only a constant condition is formatted into statements; values are parameters

import enum
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from voxrec.bounce_address import BounceKey
from voxrec.model import AuditEntry, ReportAction
from voxrec.postgres.database import Database
from voxrec.postgres.transaction import Transaction
from voxrec.store.audit import insert_entry
from voxrec.store.deliveries import UNCONFIRMED

_KEY_LIFETIME: Final = timedelta(days=30)
_BOUNCES_LAST: Final = timedelta(days=30)  # mail servers give up after some days
# The newest key, unless it is too old to sign. Two nodes that need a new key at the same time create two, which is
# harmless.
_SIGNING_KEY: Final = """
    WITH newest AS (
        SELECT id, secret FROM bounce_keys WHERE created_at > now() - %s::interval ORDER BY id DESC LIMIT 1
    ), made AS (
        INSERT INTO bounce_keys (created_at) SELECT now() WHERE NOT EXISTS (SELECT FROM newest) RETURNING id, secret
    )
    SELECT id, secret FROM newest UNION ALL SELECT id, secret FROM made
"""
# The Recording first, as its deletion and all others do; the event about a failure changes it, too.
_LOCK_RECORDING: Final = """
    SELECT id FROM recordings WHERE id = (SELECT recording_id FROM deliveries WHERE id = %s) FOR UPDATE
"""
_LOCK: Final = """
    SELECT recording_id, state, attempts, coalesce(bounced_attempt, 0), %s = ANY (unconfirmed_attempts)
    FROM deliveries WHERE id = %s FOR UPDATE
"""
# Of repeated warnings the last one is kept; a failure is final.
_INSERT: Final = """
    INSERT INTO delivery_reports AS old (delivery_id, attempt, action, status, remote_mta, reply)
    VALUES (%s, %s, %s, nullif(%s, ''), nullif(%s, ''), %s)
    ON CONFLICT (delivery_id, attempt, action) DO UPDATE
    SET at = excluded.at, status = excluded.status, remote_mta = excluded.remote_mta, reply = excluded.reply
    WHERE old.action <> 'failed'
"""
# A mail that is returned before its acceptance is stored fails when that is stored, see `voxrec.store.deliveries`.
_FAIL: Final = """
    UPDATE deliveries
    SET bounced_attempt = %s, updated_at = now(), state = CASE WHEN attempts = %s THEN 'refused' ELSE state END,
        unconfirmed_attempts = array_remove(unconfirmed_attempts, %s)
    WHERE id = %s
"""
_CONFIRM: Final = "UPDATE deliveries SET state = 'accepted', updated_at = now() WHERE id = %s"
# Unless another mail of the job is unconfirmed, nothing of it is left to do: failures make a job dead.
_CLOSE_JOB: Final = f"""
    UPDATE jobs SET dead = FALSE, done_at = now(), last_error = NULL
    WHERE recording_id = %s AND kind = 'mail' AND done_at IS NULL AND dead AND unconfirmed
      AND NOT EXISTS (SELECT FROM deliveries WHERE deliveries.recording_id = jobs.recording_id AND {UNCONFIRMED})
"""


class ReportOutcome(enum.StrEnum):
    """What a report has changed."""

    FAILED = "failed"  # the delivery has failed
    NOTED = "noted"  # only the history
    DUPLICATE = "duplicate"  # nothing: the failure is known
    DELETED = "deleted"  # nothing: the Recording was deleted


@dataclass(frozen=True, slots=True)
class NewReport:
    """A report to store: see `voxrec.model.DeliveryReport`. Empty texts are not known."""

    delivery_id: UUID
    attempt: int
    action: ReportAction
    status: str
    remote_mta: str
    reply: str


class DeliveryReports:
    """The table of reports. Methods raise StoreUnavailable while PostgreSQL cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, report: NewReport, audit_entry: Callable[[UUID], AuditEntry]) -> ReportOutcome:
        """Store a report. If the latest mail to the recipient was returned, the delivery fails.

        A trigger then reports `delivery.failed` to webhooks, and ``audit_entry`` returns the entry about the delivery
        of a Recording. A report about an earlier mail than the latest changes only the history. Any report that can
        be interpreted shows that the relay had accepted the mail, so that an unconfirmed one is not sent again.
        """

        async def work(transaction: Transaction) -> ReportOutcome:
            await transaction.query(_LOCK_RECORDING, (report.delivery_id,))
            rows = await transaction.query(_LOCK, (report.attempt, report.delivery_id))
            if not rows:
                return ReportOutcome.DELETED
            recording_id, state, attempts, bounced_attempt, unconfirmed = rows[0]
            values = (report.action.value, report.status, report.remote_mta, report.reply)
            await transaction.execute(_INSERT, (report.delivery_id, report.attempt, *values))
            if report.action is not ReportAction.FAILED:
                if unconfirmed and report.action is not ReportAction.UNKNOWN:
                    await transaction.execute(_CONFIRM, (report.delivery_id,))
                    await transaction.execute(_CLOSE_JOB, (recording_id,))
                return ReportOutcome.NOTED
            if report.attempt <= bounced_attempt:
                return ReportOutcome.DUPLICATE
            accepted = state == "accepted" or unconfirmed
            is_latest = report.attempt > attempts or (report.attempt == attempts and accepted)
            if not is_latest:
                return ReportOutcome.NOTED
            await transaction.execute(_FAIL, (report.attempt, report.attempt, report.attempt, report.delivery_id))
            await transaction.execute(_CLOSE_JOB, (recording_id,))
            await insert_entry(transaction, audit_entry(recording_id))
            return ReportOutcome.FAILED

        return await self._database.transaction(work)


class BounceKeys:
    """The keys of bounce addresses, shared by all nodes. Methods raise StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def signing_key(self) -> BounceKey:
        """Return the key that signs now; a new one every 30 days."""
        (key_id, secret), *_ = await self._database.returning(_SIGNING_KEY, (_KEY_LIFETIME,))
        return BounceKey(key_id, bytes(secret))

    async def find(self, key_id: int) -> BounceKey | None:
        """Return a key; None if it is not used any more."""
        rows = await self._database.query("SELECT secret FROM bounce_keys WHERE id = %s", (key_id,))
        return BounceKey(key_id, bytes(rows[0][0])) if rows else None

    async def delete_old(self) -> None:
        """Delete the keys whose mails are so old that they are not returned any more."""
        await self._database.execute(
            "DELETE FROM bounce_keys WHERE created_at < now() - %s::interval", (_KEY_LIFETIME + _BOUNCES_LAST,)
        )
