"""Tests of voxrec.store.deliveries."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

from tests.database import DatabaseTestCase
from voxrec.store.deliveries import Deliveries, DeliveryState, reopen_refused

ANN, BOB, EVE = "ann@example.org", "bob@example.org", "eve@example.org"


class DeliveriesTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.deliveries = Deliveries(self.pool)
        self.recording_id = await self.create_recording()

    async def create_recording(self) -> UUID:
        recording_id = uuid4()
        await self.pool.execute(
            """
            INSERT INTO recordings
                (id, profile_id, state, format, channels, timeline, metadata, legal_hold, created_at, updated_at)
            VALUES (%s, %s, 'completed', 'wav', 1, '[]', '{}', FALSE, now(), now())
            """,
            (recording_id, uuid4()),
        )
        return recording_id

    async def replies(self) -> list[tuple[str, str, int, str]]:
        return [
            (delivery.recipient, delivery.state.value, delivery.attempts, delivery.last_reply)
            for delivery in await self.deliveries.of_recording(self.recording_id)
        ]

    async def pending(self) -> list[str]:
        return await self.deliveries.pending_recipients(self.recording_id, [EVE, ANN, BOB, ANN])

    async def test_all_recipients_are_pending_at_first(self) -> None:
        self.assertEqual(await self.pending(), [EVE, ANN, BOB])
        self.assertEqual(await self.replies(), [])

    async def test_accepted_and_refused_recipients_are_not_pending(self) -> None:
        await self.deliveries.record_reply(self.recording_id, ANN, DeliveryState.ACCEPTED, "250 queued")
        await self.deliveries.record_reply(self.recording_id, BOB, DeliveryState.DEFERRED, "451 later")
        await self.deliveries.record_reply(self.recording_id, EVE, DeliveryState.REFUSED, "550 never")
        self.assertEqual(await self.pending(), [BOB])
        self.assertEqual(
            await self.replies(),
            [
                (ANN, "accepted", 1, "250 queued"),
                (BOB, "deferred", 1, "451 later"),
                (EVE, "refused", 1, "550 never"),
            ],
        )
        (first, *_) = await self.deliveries.of_recording(self.recording_id)
        self.assertLess(abs((datetime.now(UTC) - first.updated_at).total_seconds()), 60)

    async def test_second_reply(self) -> None:
        await self.deliveries.record_reply(self.recording_id, ANN, DeliveryState.DEFERRED, "451 later")
        await self.deliveries.record_reply(self.recording_id, ANN, DeliveryState.ACCEPTED, "250 queued")
        self.assertEqual(await self.replies(), [(ANN, "accepted", 2, "250 queued")])

    async def test_accepted_delivery_stays_accepted(self) -> None:
        await self.deliveries.record_reply(self.recording_id, ANN, DeliveryState.ACCEPTED, "250 queued")
        await self.deliveries.record_reply(self.recording_id, ANN, DeliveryState.REFUSED, "550 never")
        self.assertEqual(await self.replies(), [(ANN, "accepted", 1, "250 queued")])

    async def test_deliveries_of_another_recording(self) -> None:
        other = await self.create_recording()
        await self.deliveries.record_reply(other, ANN, DeliveryState.ACCEPTED, "250 queued")
        self.assertEqual(await self.pending(), [EVE, ANN, BOB])

    async def test_deliveries_are_deleted_with_their_recording(self) -> None:
        await self.deliveries.record_reply(self.recording_id, ANN, DeliveryState.ACCEPTED, "250 queued")
        await self.pool.execute("DELETE FROM recordings WHERE id = %s", (self.recording_id,))
        self.assertEqual(await self.replies(), [])
        await self.deliveries.record_reply(self.recording_id, ANN, DeliveryState.ACCEPTED, "250 queued")
        self.assertEqual(await self.replies(), [])

    async def test_reopening_refused_deliveries(self) -> None:
        await self.deliveries.record_reply(self.recording_id, ANN, DeliveryState.ACCEPTED, "250 queued")
        await self.deliveries.record_reply(self.recording_id, EVE, DeliveryState.REFUSED, "550 never")
        await self.pool.transaction(lambda transaction: reopen_refused(transaction, self.recording_id))
        self.assertEqual(await self.pending(), [EVE, BOB])
        self.assertEqual((await self.replies())[0], (ANN, "accepted", 1, "250 queued"))
