"""Tests of voxrec.store.delivery_reports, with voxrec.store.deliveries and the history."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from twisted.internet.defer import Deferred

from tests.database import DatabaseTestCase
from voxrec.model import AuditEntry, AuditOutcome, DeliveryChannel, DeliveryStatus, RecordingDelivery, ReportAction
from voxrec.postgres.transaction import Transaction
from voxrec.store.audit import Audit
from voxrec.store.deliveries import Deliveries, DeliveryState
from voxrec.store.delivery_history import DeliveryHistory
from voxrec.store.delivery_reports import BounceKeys, DeliveryReports, NewReport, ReportOutcome

ANN = "ann@example.org"
_WAITING = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def audit_entry(recording_id: UUID) -> AuditEntry:
    return AuditEntry(
        id=uuid4(),
        created_at=datetime.now(UTC),
        who="bounce",
        address="local",
        method="LMTP",
        path=f"/recordings/{recording_id}/deliveries",
        kind="delivery",
        target_id=recording_id,
        outcome=AuditOutcome.DONE,
    )


class DeliveryReportsTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.reports = DeliveryReports(self.pool)
        self.deliveries = Deliveries(self.pool)
        self.recording_id = uuid4()
        self.profile_id = uuid4()
        await self.pool.execute(
            """
            INSERT INTO recordings (id, profile_id, state, format, channels, timeline, metadata, legal_hold, path,
                                    created_at, updated_at)
            VALUES (%s, %s, 'completed', 'wav', 1, '[]', '{}', FALSE, 'a.wav', now(), now())
            """,
            (self.recording_id, self.profile_id),
        )
        await self.pool.execute("INSERT INTO webhooks (url) VALUES ('https://receiver.example/')")

    async def begin_attempt(self) -> tuple[UUID, int]:
        attempts = await self.deliveries.next_attempts(self.recording_id, [ANN])
        return attempts[ANN]

    async def accept(self, reply: str = "250 queued") -> tuple[UUID, int]:
        """Let the relay accept a mail, and return the delivery and the number of the attempt."""
        attempt = await self.begin_attempt()
        await self.deliveries.record_reply(self.recording_id, ANN, DeliveryState.ACCEPTED, reply)
        return attempt

    async def report(
        self, attempt: tuple[UUID, int], action: ReportAction = ReportAction.FAILED, reply: str = "550 unknown"
    ) -> ReportOutcome:
        status = "5.1.1" if action is ReportAction.FAILED else ""
        new = NewReport(*attempt, action=action, status=status, remote_mta="mx.example.org", reply=reply)
        return await self.reports.add(new, audit_entry)

    async def delivery(self) -> RecordingDelivery:
        deliveries = await DeliveryHistory(self.pool).of_recording(self.recording_id)
        (mail,) = [delivery for delivery in deliveries if delivery.channel is DeliveryChannel.MAIL]
        return mail

    async def failure_events(self) -> list[dict[str, object]]:
        rows = await self.pool.query(
            "SELECT data FROM webhook_messages WHERE type = 'delivery.failed' ORDER BY position"
        )
        return [data for (data,) in rows]

    async def repeat(self) -> None:
        await DeliveryHistory(self.pool).mail(self.recording_id, ANN)

    async def test_a_bounce_fails_the_delivery(self) -> None:
        attempt = await self.accept()
        self.assertIs(await self.report(attempt), ReportOutcome.FAILED)
        delivery = await self.delivery()
        self.assertIs(delivery.status, DeliveryStatus.FAILED)
        (report,) = delivery.reports
        self.assertEqual(
            (report.attempt, report.action, report.status, report.remote_mta, report.reply),
            (1, ReportAction.FAILED, "5.1.1", "mx.example.org", "550 unknown"),
        )
        self.assertEqual([one.reply for one in delivery.attempts], ["250 queued"])

    async def test_a_bounce_is_reported_to_webhooks_and_audited(self) -> None:
        attempt = await self.accept()
        await self.report(attempt)
        (data,) = await self.failure_events()
        self.assertEqual(
            data,
            {
                "channel": "mail",
                "deliveryId": str(attempt[0]),
                "webhookId": None,
                "event": "recording.completed",
                "recordingId": str(self.recording_id),
                "callId": None,
                "profileId": str(self.profile_id),
                "attempts": 1,
                "status": "5.1.1",
            },
        )
        (entry,) = await Audit(self.pool).page(limit=10)
        self.assertEqual((entry.who, entry.method, entry.target_id), ("bounce", "LMTP", self.recording_id))

    async def test_a_repeated_bounce_changes_nothing(self) -> None:
        attempt = await self.accept()
        await self.report(attempt)
        self.assertIs(await self.report(attempt, reply="550 again"), ReportOutcome.DUPLICATE)
        self.assertEqual(len(await self.failure_events()), 1)
        self.assertEqual([report.reply for report in (await self.delivery()).reports], ["550 unknown"])

    async def test_a_delay_is_not_a_failure(self) -> None:
        attempt = await self.accept()
        for reply in ("451 busy", "451 still busy"):
            self.assertIs(await self.report(attempt, ReportAction.DELAYED, reply), ReportOutcome.NOTED)
        delivery = await self.delivery()
        self.assertIs(delivery.status, DeliveryStatus.DELIVERED)
        self.assertEqual([report.reply for report in delivery.reports], ["451 still busy"])
        self.assertEqual(await self.failure_events(), [])

    async def test_a_failure_after_a_delay(self) -> None:
        attempt = await self.accept()
        await self.report(attempt, ReportAction.DELAYED)
        self.assertIs(await self.report(attempt), ReportOutcome.FAILED)
        actions = [report.action for report in (await self.delivery()).reports]
        self.assertEqual(actions, [ReportAction.DELAYED, ReportAction.FAILED])

    async def test_every_action_can_be_stored(self) -> None:
        attempt = await self.accept()
        for action in ReportAction:
            await self.report(attempt, action)
        self.assertEqual({report.action for report in (await self.delivery()).reports}, set(ReportAction))

    async def test_a_bounce_before_the_acceptance_is_stored(self) -> None:
        """A mail server on the same machine is faster than the commit."""
        attempt = await self.begin_attempt()
        self.assertIs(await self.report(attempt), ReportOutcome.FAILED)
        await self.deliveries.record_reply(self.recording_id, ANN, DeliveryState.ACCEPTED, "250 queued")
        self.assertIs((await self.delivery()).status, DeliveryStatus.FAILED)
        (delivery,) = await self.deliveries.of_recording(self.recording_id)
        self.assertTrue(delivery.returned)
        self.assertEqual(len(await self.failure_events()), 1)

    async def test_a_late_bounce_of_an_earlier_mail_does_not_fail_the_next_one(self) -> None:
        first = await self.accept()
        await self.repeat()
        self.assertIs(await self.report(first), ReportOutcome.NOTED)
        self.assertIs((await self.delivery()).status, DeliveryStatus.PENDING)
        second = await self.accept()
        self.assertEqual(second, (first[0], 2))
        self.assertIs(await self.report(first, ReportAction.UNKNOWN), ReportOutcome.NOTED)
        self.assertIs((await self.delivery()).status, DeliveryStatus.DELIVERED)

    async def test_a_repeated_mail_can_bounce_again(self) -> None:
        await self.report(await self.accept())
        await self.repeat()
        self.assertIs((await self.delivery()).status, DeliveryStatus.PENDING)
        self.assertIs(await self.report(await self.accept()), ReportOutcome.FAILED)
        self.assertIs((await self.delivery()).status, DeliveryStatus.FAILED)
        self.assertEqual([data["attempts"] for data in await self.failure_events()], [1, 2])

    async def test_a_returned_mail_is_not_pending(self) -> None:
        await self.report(await self.accept())
        self.assertEqual(await self.deliveries.pending_recipients(self.recording_id, [ANN]), [])

    async def test_bounces_of_deleted_recordings(self) -> None:
        attempt = await self.accept()
        await self.report(attempt, ReportAction.DELAYED)
        await self.pool.execute("DELETE FROM recordings")
        self.assertIs(await self.report(attempt), ReportOutcome.DELETED)
        self.assertEqual(await self.pool.query("SELECT * FROM delivery_reports"), [])
        self.assertEqual(await self.deliveries.next_attempts(self.recording_id, [ANN]), {})

    async def test_a_bounce_while_its_recording_is_deleted(self) -> None:
        """Both need the rows of the Recording and of the delivery, and lock them in the same order."""
        attempt = await self.accept()
        reported: list[Deferred[ReportOutcome]] = []

        async def delete(transaction: Transaction) -> None:
            await transaction.query("SELECT id FROM recordings WHERE id = %s FOR UPDATE", (self.recording_id,))
            reported.append(Deferred.fromCoroutine(self.report(attempt)))
            while not await self.pool.query(_WAITING):
                pass
            await transaction.execute("DELETE FROM recordings WHERE id = %s", (self.recording_id,))

        await self.pool.transaction(delete)
        self.assertIs(await reported[0], ReportOutcome.DELETED)


class BounceKeysTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.keys = BounceKeys(self.pool)

    async def age(self, age: timedelta) -> None:
        await self.pool.execute("UPDATE bounce_keys SET created_at = created_at - %s::interval", (age,))

    async def test_a_key_signs_for_30_days(self) -> None:
        first = await self.keys.signing_key()
        self.assertEqual(len(first.secret), 32)
        await self.age(timedelta(days=29))
        self.assertEqual(await self.keys.signing_key(), first)
        await self.age(timedelta(days=2))
        second = await self.keys.signing_key()
        self.assertNotEqual(second.secret, first.secret)
        self.assertEqual(await self.keys.find(first.id), first)

    async def test_old_keys_are_deleted(self) -> None:
        first = await self.keys.signing_key()
        await self.age(timedelta(days=59))
        await self.keys.delete_old()
        self.assertEqual(await self.keys.find(first.id), first)
        await self.age(timedelta(days=2))
        await self.keys.delete_old()
        self.assertIsNone(await self.keys.find(first.id))
