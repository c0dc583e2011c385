"""Tests of voxrec.store.deliveries."""

from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID, uuid4

from tests.database import DatabaseTestCase
from tests.subtest import subtest
from voxrec.store.deliveries import Deliveries, Delivery, DeliveryState, confirm, reopen

HALF_AN_HOUR = timedelta(minutes=30)
ANN, BOB, EVE = "ann@example.org", "bob@example.org", "eve@example.org"


class DeliveriesTestCase(DatabaseTestCase):
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


class RepliesTests(DeliveriesTestCase):
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
        await self.pool.transaction(lambda transaction: reopen(transaction, self.recording_id, unconfirmed=False))
        self.assertEqual(await self.pending(), [EVE, BOB])
        self.assertEqual((await self.replies())[0], (ANN, "accepted", 1, "250 queued"))


class UnconfirmedTests(DeliveriesTestCase):
    """Mails of which it is not known whether the relay has accepted them."""

    async def record(self, limit: int = 3) -> None:
        await self.deliveries.record_unconfirmed(self.recording_id, ANN, "closed", limit, HALF_AN_HOUR)

    async def delivery(self) -> Delivery:
        (delivery,) = await self.deliveries.of_recording(self.recording_id)
        return delivery

    async def test_it_is_due_after_the_interval_and_then_after_four_times_as_long(self) -> None:
        for attempts, interval in ((1, 1800), (2, 7200)):
            await self.record()
            delivery = await self.delivery()
            self.assertEqual((delivery.state, delivery.attempts), (DeliveryState.DEFERRED, attempts))
            self.assertTrue(delivery.unconfirmed)
            self.assertTrue(interval - 60 < delivery.retry_after <= interval, delivery)
            self.assertNotIn(ANN, await self.pending())
        await self.pool.execute("UPDATE deliveries SET not_before = now()")
        self.assertIn(ANN, await self.pending())

    async def test_it_is_not_sent_again_after_the_last_attempt(self) -> None:
        for limit in (1, 2):
            with subtest(limit):
                await self.pool.execute("DELETE FROM deliveries")
                for _ in range(limit):
                    await self.record(limit)
                delivery = await self.delivery()
                self.assertEqual((delivery.state, delivery.unconfirmed), (DeliveryState.REFUSED, True))

    async def test_a_reply_to_a_later_attempt_is_certain(self) -> None:
        for state in (DeliveryState.DEFERRED, DeliveryState.REFUSED, DeliveryState.ACCEPTED):
            with subtest(state):
                await self.pool.execute("DELETE FROM deliveries")
                await self.record()
                await self.deliveries.record_reply(self.recording_id, ANN, state, "reply")
                delivery = await self.delivery()
                self.assertEqual((delivery.state, delivery.unconfirmed, delivery.retry_after), (state, False, 0))

    async def test_attempts_with_another_outcome_do_not_count(self) -> None:
        await self.record(2)
        await self.deliveries.record_reply(self.recording_id, ANN, DeliveryState.DEFERRED, "451 later")
        await self.record(2)
        self.assertIs((await self.delivery()).state, DeliveryState.REFUSED)

    async def test_an_accepted_delivery_stays_accepted(self) -> None:
        await self.deliveries.record_reply(self.recording_id, ANN, DeliveryState.ACCEPTED, "250 queued")
        await self.record(1)
        self.assertEqual(await self.replies(), [(ANN, "accepted", 1, "250 queued")])

    async def test_a_mail_that_was_returned_before_is_certain(self) -> None:
        await self.deliveries.record_reply(self.recording_id, ANN, DeliveryState.DEFERRED, "451 later")
        await self.pool.execute("UPDATE deliveries SET bounced_attempt = 2")
        await self.record()
        delivery = await self.delivery()
        self.assertEqual((delivery.state, delivery.unconfirmed), (DeliveryState.REFUSED, False))

    async def test_reopening_includes_those_that_have_ended_only_if_that_is_wanted(self) -> None:
        await self.record(1)
        for unconfirmed, states in ((False, []), (True, [ANN])):
            work = partial(reopen, recording_id=self.recording_id, unconfirmed=unconfirmed)
            await self.pool.transaction(work)
            self.assertEqual([one for one in await self.pending() if one == ANN], states)
        await self.record(2)
        self.assertIs((await self.delivery()).state, DeliveryState.DEFERRED, "they are counted again from zero")

    async def test_reopening_ends_the_interval_of_those_that_are_retried(self) -> None:
        await self.record(2)
        await self.pool.transaction(lambda transaction: reopen(transaction, self.recording_id, unconfirmed=False))
        self.assertIn(ANN, await self.pending())
        await self.record(2)
        self.assertIs((await self.delivery()).state, DeliveryState.REFUSED, "earlier attempts still count")

    async def test_confirmation(self) -> None:
        await self.record(1)
        await self.deliveries.record_reply(self.recording_id, BOB, DeliveryState.REFUSED, "550 never")
        await self.pool.transaction(lambda transaction: confirm(transaction, self.recording_id))
        self.assertEqual(await self.replies(), [(ANN, "accepted", 1, "closed"), (BOB, "refused", 1, "550 never")])
