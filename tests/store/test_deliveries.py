"""Tests of voxrec.store.deliveries."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

from tests.database import DatabaseTestCase
from voxrec.store.deliveries import Deliveries, DeliveryState, reopen_refused

ANN, BOB, EVE = "ann@example.org", "bob@example.org", "eve@example.org"


class Noting(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.deliveries = Deliveries(self.pool)
        self.recording_id = await self.recording()

    async def recording(self) -> UUID:
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

    async def told(self) -> list[tuple[str, str, int, str]]:
        return [
            (one.recipient, one.state.value, one.attempts, one.last_reply)
            for one in await self.deliveries.of_recording(self.recording_id)
        ]

    async def owed(self) -> list[str]:
        return await self.deliveries.pending_recipients(self.recording_id, [EVE, ANN, BOB, ANN])

    async def test_everyone_is_owed_at_first(self) -> None:
        self.assertEqual(await self.owed(), [EVE, ANN, BOB])
        self.assertEqual(await self.told(), [])

    async def test_what_is_final_is_not_owed(self) -> None:
        await self.deliveries.record_reply(self.recording_id, ANN, DeliveryState.ACCEPTED, "250 queued")
        await self.deliveries.record_reply(self.recording_id, BOB, DeliveryState.DEFERRED, "451 later")
        await self.deliveries.record_reply(self.recording_id, EVE, DeliveryState.REFUSED, "550 never")
        self.assertEqual(await self.owed(), [BOB])
        self.assertEqual(
            await self.told(),
            [
                (ANN, "accepted", 1, "250 queued"),
                (BOB, "deferred", 1, "451 later"),
                (EVE, "refused", 1, "550 never"),
            ],
        )
        (first, *_) = await self.deliveries.of_recording(self.recording_id)
        self.assertLess(abs((datetime.now(UTC) - first.updated_at).total_seconds()), 60)

    async def test_one_more_answer(self) -> None:
        await self.deliveries.record_reply(self.recording_id, ANN, DeliveryState.DEFERRED, "451 later")
        await self.deliveries.record_reply(self.recording_id, ANN, DeliveryState.ACCEPTED, "250 queued")
        self.assertEqual(await self.told(), [(ANN, "accepted", 2, "250 queued")])

    async def test_what_was_accepted_stays_accepted(self) -> None:
        await self.deliveries.record_reply(self.recording_id, ANN, DeliveryState.ACCEPTED, "250 queued")
        await self.deliveries.record_reply(self.recording_id, ANN, DeliveryState.REFUSED, "550 never")
        self.assertEqual(await self.told(), [(ANN, "accepted", 1, "250 queued")])

    async def test_each_recording_has_its_own(self) -> None:
        other = await self.recording()
        await self.deliveries.record_reply(other, ANN, DeliveryState.ACCEPTED, "250 queued")
        self.assertEqual(await self.owed(), [EVE, ANN, BOB])

    async def test_they_go_with_their_recording(self) -> None:
        await self.deliveries.record_reply(self.recording_id, ANN, DeliveryState.ACCEPTED, "250 queued")
        await self.pool.execute("DELETE FROM recordings WHERE id = %s", (self.recording_id,))
        self.assertEqual(await self.told(), [])
        await self.deliveries.record_reply(self.recording_id, ANN, DeliveryState.ACCEPTED, "250 queued")
        self.assertEqual(await self.told(), [])

    async def test_reopened(self) -> None:
        await self.deliveries.record_reply(self.recording_id, ANN, DeliveryState.ACCEPTED, "250 queued")
        await self.deliveries.record_reply(self.recording_id, EVE, DeliveryState.REFUSED, "550 never")
        await self.pool.transaction(lambda transaction: reopen_refused(transaction, self.recording_id))
        self.assertEqual(await self.owed(), [EVE, BOB])
        self.assertEqual((await self.told())[0], (ANN, "accepted", 1, "250 queued"))
