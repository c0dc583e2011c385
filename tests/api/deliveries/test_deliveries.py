"""Tests of voxrec.api.deliveries.deliveries and voxrec.store.delivery_history."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from tests.api.rest_test_case import RestTestCase
from voxrec.model import JobKind, Recording, RecordingState, Webhook
from voxrec.store.deliveries import Deliveries, DeliveryState
from voxrec.store.webhook_queue import Attempt, WebhookQueue

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


class DeliveryTestCase(RestTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.profile = await self.add_profile(email="desk@example.org, archive@example.org")
        self.deliveries = Deliveries(self.pool)
        self.queue = WebhookQueue(self.pool)

    async def add_webhook(self, **fields: Any) -> Webhook:
        return await self.webhooks.create(
            Webhook(
                **{
                    "id": uuid4(),
                    "url": "https://user.example/hook?key=1",
                    "created_at": NOW,
                    "updated_at": NOW,
                    **fields,
                }
            )
        )

    async def add_completed(self) -> Recording:
        recording = await self.add_audio(b"RIFF", profile_id=self.profile.id)
        await self.enqueue((JobKind.MAIL, recording.id))
        return recording

    async def listed(self, recording: Recording, **options: Any) -> list[Any]:
        response = await self.request("GET", f"/recordings/{recording.id}/deliveries", **options)
        self.assertEqual(response.status, 200, response.body)
        deliveries: list[Any] = response.json
        return deliveries

    async def repeat(self, recording: Recording, **body: Any) -> Any:
        return await self.request("POST", f"/recordings/{recording.id}/deliveries", json=body, token="provision")

    async def finish_mail_job(self) -> None:
        ((job,), _) = await self.jobs.claim([JobKind.MAIL], timedelta(minutes=1))
        await self.jobs.mark_done(job)


class ListTests(DeliveryTestCase):
    async def test_mails_before_the_first_attempt(self) -> None:
        recording = await self.add_completed()
        deliveries = await self.listed(recording, token="read")
        self.assertEqual(
            [(mail["channel"], mail["target"], mail["status"], mail["attempts"]) for mail in deliveries],
            [
                ("mail", "desk@example.org", "pending", []),
                ("mail", "archive@example.org", "pending", []),
            ],
        )
        self.assertIsNotNone(deliveries[0]["nextAttemptAt"])

    async def test_every_reply_of_the_relay(self) -> None:
        recording = await self.add_completed()
        for state, reply in ((DeliveryState.DEFERRED, "451 later"), (DeliveryState.ACCEPTED, "250 queued as 1")):
            await self.deliveries.record_reply(recording.id, "desk@example.org", state, reply)
        await self.deliveries.record_reply(recording.id, "archive@example.org", DeliveryState.REFUSED, "550 unknown")
        archive, desk = await self.listed(recording)
        self.assertEqual([attempt["reply"] for attempt in desk["attempts"]], ["451 later", "250 queued as 1"])
        self.assertEqual((desk["status"], desk["nextAttemptAt"]), ("delivered", None))
        self.assertEqual((archive["status"], archive["attempts"][0]["reply"]), ("failed", "550 unknown"))
        self.assertLessEqual(datetime.fromisoformat(desk["attempts"][0]["at"]), datetime.now(UTC))

    async def test_webhooks_with_their_replies(self) -> None:
        webhook = await self.add_webhook()
        recording = await self.add_recording(profile_id=self.profile.id, state=RecordingState.FAILED)
        ((claimed,), _) = await self.queue.claim((), timedelta(minutes=1), 10)
        due_at = datetime.now(UTC) + timedelta(hours=1)
        await self.queue.failed(claimed, Attempt(NOW, 0.5, 503, "busy"), "HTTP status 503", due_at, timedelta(days=5))
        (delivery,) = await self.listed(recording)
        self.assertEqual(
            {key: delivery[key] for key in ("channel", "event", "target", "webhookId", "messageId", "status")},
            {
                "channel": "webhook",
                "event": "recording.failed",
                "target": "https://user.example/hook",
                "webhookId": str(webhook.id),
                "messageId": str(claimed.message.id),
                "status": "pending",
            },
        )
        self.assertEqual(
            delivery["attempts"], [{"at": "2026-05-04T12:00:00Z", "status": 503, "reply": "busy", "seconds": 0.5}]
        )
        self.assertEqual(datetime.fromisoformat(delivery["nextAttemptAt"]), due_at)

    async def test_a_deleted_recording_has_none(self) -> None:
        recording = await self.add_completed()
        await self.deliveries.record_reply(recording.id, "desk@example.org", DeliveryState.DEFERRED, "451 later")
        await self.recordings.delete(recording.id)
        self.assertEqual((await self.request("GET", f"/recordings/{recording.id}/deliveries")).status, 404)
        rows = await self.pool.query("SELECT count(*) FROM mail_attempts")
        self.assertEqual(rows, [(0,)])

    async def test_a_token_of_other_profiles(self) -> None:
        recording = await self.add_completed()
        secret = await self.scoped_token((await self.add_profile()).id)
        for method in ("GET", "POST"):
            response = await self.request(
                method, f"/recordings/{recording.id}/deliveries", token=secret, json={"target": "x@example.org"}
            )
            self.assertEqual(response.status, 404)


class RepeatTests(DeliveryTestCase):
    async def test_a_mail_that_was_accepted(self) -> None:
        recording = await self.add_completed()
        await self.deliveries.record_reply(recording.id, "desk@example.org", DeliveryState.ACCEPTED, "250 queued")
        await self.finish_mail_job()
        (mail,) = await self.listed(recording)
        response = await self.repeat(recording, deliveryId=mail["id"])
        self.assertEqual((response.status, response.json["status"]), (200, "pending"), response.body)
        self.assertEqual([attempt["reply"] for attempt in response.json["attempts"]], ["250 queued"])
        pending = await self.deliveries.pending_recipients(recording.id, ["desk@example.org"])
        self.assertEqual(pending, ["desk@example.org"])
        ((job,), _) = await self.jobs.claim([JobKind.MAIL], timedelta(minutes=1))
        self.assertEqual((job.recording_id, job.attempts), (recording.id, 1))

    async def test_a_mail_to_another_address(self) -> None:
        recording = await self.add_completed()
        await self.finish_mail_job()
        response = await self.repeat(recording, target="boss@example.org")
        self.assertEqual((response.json["target"], response.json["status"]), ("boss@example.org", "pending"))
        self.assertEqual(await self.deliveries.requested_recipients(recording.id), ["boss@example.org"])
        entry = (await self.audit.page())[0]
        self.assertEqual((entry.method, entry.kind, entry.target_id), ("POST", "recording deliveries", recording.id))

    async def test_a_repeated_request_sends_no_second_mail(self) -> None:
        recording = await self.add_completed()
        await self.finish_mail_job()
        path, key = f"/recordings/{recording.id}/deliveries", {"Idempotency-Key": "k1"}
        options: Any = {"json": {"target": "boss@example.org"}, "headers": key, "token": "provision"}
        first = await self.request("POST", path, **options)
        self.assertEqual((first.status, first.json["target"]), (200, "boss@example.org"))
        await self.deliveries.record_reply(recording.id, "boss@example.org", DeliveryState.ACCEPTED, "250 queued")
        await self.finish_mail_job()
        second = await self.request("POST", path, **options)
        self.assertEqual((second.status, second.body), (200, first.body))
        self.assertEqual((await self.jobs.claim([JobKind.MAIL], timedelta(minutes=1)))[0], [])
        other = await self.request("POST", path, **{**options, "json": {"target": "ceo@example.org"}})
        self.assertEqual((other.status, other.json["code"]), (422, "idempotency-key-reused"))

    async def test_the_stored_response_is_erased_with_the_recording(self) -> None:
        recording = await self.add_completed()
        await self.finish_mail_job()
        path = f"/recordings/{recording.id}/deliveries"
        options: Any = {"json": {"target": "boss@example.org"}, "headers": {"Idempotency-Key": "k1"}}
        self.assertEqual((await self.request("POST", path, **options)).status, 200)
        stored = "SELECT count(*) FROM idempotency WHERE convert_from(body, 'UTF8') LIKE '%%boss@example.org%%'"
        self.assertEqual(await self.pool.query(stored), [(1,)])
        self.assertEqual((await self.request("DELETE", f"/recordings/{recording.id}")).status, 204)
        self.assertEqual(await self.pool.query(stored), [(0,)])

    async def test_a_mail_that_is_being_sent(self) -> None:
        recording = await self.add_completed()
        await self.jobs.claim([JobKind.MAIL], timedelta(minutes=1))
        self.assertEqual((await self.repeat(recording, target="boss@example.org")).status, 409)

    async def test_a_recording_without_audio_is_not_mailed(self) -> None:
        recording = await self.add_recording(profile_id=self.profile.id, state=RecordingState.FAILED)
        self.assertEqual((await self.repeat(recording, target="boss@example.org")).status, 409)

    async def test_a_webhook(self) -> None:
        await self.add_webhook()
        recording = await self.add_recording(profile_id=self.profile.id, state=RecordingState.FAILED)
        ((claimed,), _) = await self.queue.claim((), timedelta(minutes=1), 10)
        await self.queue.failed(claimed, Attempt(NOW, 0.5, 500, ""), "HTTP status 500", None, timedelta(days=5))
        (delivery,) = await self.listed(recording)
        self.assertEqual(delivery["status"], "failed")
        response = await self.repeat(recording, deliveryId=delivery["id"])
        self.assertEqual((response.status, response.json["status"]), (200, "pending"))
        ((again,), _) = await self.queue.claim((), timedelta(minutes=1), 10)
        self.assertEqual((again.id, again.message.id, again.attempts), (claimed.id, claimed.message.id, 1))
        in_progress = await self.repeat(recording, deliveryId=delivery["id"])
        self.assertEqual(in_progress.status, 409)

    async def test_another_webhook(self) -> None:
        await self.add_webhook()
        recording = await self.add_recording(profile_id=self.profile.id, state=RecordingState.FAILED)
        (delivery,) = await self.listed(recording)
        later_webhook = await self.add_webhook(profile_id=self.profile.id)
        response = await self.repeat(recording, deliveryId=delivery["id"], target=str(later_webhook.id))
        self.assertEqual(
            (response.json["webhookId"], response.json["messageId"]),
            (str(later_webhook.id), delivery["messageId"]),
        )
        foreign = await self.add_webhook(profile_id=(await self.add_profile()).id)
        for target in (str(foreign.id), str(uuid4()), "desk@example.org"):
            refused = await self.repeat(recording, deliveryId=delivery["id"], target=target)
            self.assertEqual((refused.status, refused.error_fields), (422, ["target"]), target)

    async def test_invalid_requests(self) -> None:
        recording = await self.add_completed()
        for body in ({}, {"target": "no address"}, {"target": str(uuid4())}):
            refused = await self.repeat(recording, **body)
            self.assertEqual((refused.status, refused.error_fields), (422, ["target"]), body)
        self.assertEqual((await self.repeat(recording, deliveryId=str(uuid4()))).status, 404)
        other = await self.add_completed()
        await self.deliveries.record_reply(other.id, "desk@example.org", DeliveryState.ACCEPTED, "250")
        delivery_id = UUID((await self.listed(other))[0]["id"])
        self.assertEqual((await self.repeat(recording, deliveryId=str(delivery_id))).status, 404)
