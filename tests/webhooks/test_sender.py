"""Tests of the queue of webhooks: voxrec.webhooks.sender, voxrec.store.webhook_queue and the triggers that fill it.

Events are produced by the repositories, sent by a real worker over real HTTP, and verified by the reference
implementation of Standard Webhooks.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

from tests.database import DatabaseTestCase, reactor, until
from tests.store.samples import NOON, later, profile, recording
from tests.test_clock import ClockWithWall
from tests.webhooks.receivers import Receiver, ReceiverTestCase
from voxrec.deferreds import Backoff
from voxrec.jobs.worker import Worker
from voxrec.model import (
    AuditEntry,
    Call,
    CallState,
    EventType,
    JobKind,
    LinkOrigin,
    Recording,
    RecordingState,
    Webhook,
    WebhookEvent,
)
from voxrec.postgres.listener import WEBHOOKS_CHANNEL, Listener
from voxrec.postgres.pool import Pool
from voxrec.store.delivery_history import DeliveryHistory
from voxrec.store.events import CallEvent, Events
from voxrec.store.jobs import Jobs
from voxrec.store.links import Links
from voxrec.store.profiles import Profiles
from voxrec.store.recordings import Recordings
from voxrec.store.webhook_queue import PendingDelivery, WebhookQueue
from voxrec.store.webhooks import Endpoint, Webhooks
from voxrec.webhooks.http import Reply
from voxrec.webhooks.sender import LinkUrl, SenderSettings, WebhookSender

URL = "https://rec.example"
PARTIES: Any = {"from_": "+4930111", "from_name": "Jörg", "to": "+4930222", "remote_sip_uri": "sip:desk@pbx.example"}


def webhook(url: str, **fields: Any) -> Webhook:
    return Webhook(**{"id": uuid4(), "url": url, "created_at": NOON, "updated_at": NOON, **fields})


class SenderTestCase(DatabaseTestCase, ReceiverTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.webhooks = Webhooks(self.pool)
        self.recordings = Recordings(self.pool)
        self.profiles = Profiles(self.pool)
        self.history = DeliveryHistory(self.pool)
        self.outcomes: list[str] = []
        self.workers: list[Worker[PendingDelivery]] = []
        self.listeners: list[Listener] = []

    async def tearDown(self) -> None:  # type: ignore[override]
        await gatherResults([listener.stopService() for listener in self.listeners])
        await gatherResults([worker.stopService() for worker in self.workers])
        await super().tearDown()

    def start_worker(
        self,
        *,
        pool: Pool | None = None,
        per_target: int = 4,
        timeout: float = 50.0,
        give_up_after: timedelta = timedelta(days=5),
        lease: timedelta = timedelta(minutes=1),
        retry: float = 0.05,
        link_url: LinkUrl | None = None,
        **settings: Any,
    ) -> Worker[PendingDelivery]:
        """Start a worker as the daemon does, with short delays between attempts."""
        used_pool = pool or self.pool
        sender = WebhookSender(
            reactor,
            WebhookQueue(used_pool, per_target=per_target),
            self.client(timeout=timeout).post,
            SenderSettings(public_url=URL, user_agent="voxrec/test", give_up_after=give_up_after),
            link_url=link_url,
            on_attempt=self.outcomes.append,
        )
        worker = Worker(
            reactor,
            sender,
            {"webhook": sender.deliver},
            **{
                "concurrency": 20,
                "lease": lease,
                "backoff": Backoff(first=retry, limit=retry, jitter=0.0),
                "max_attempts": 4,
                **settings,
            },
        )
        worker.startService()
        listener = Listener(reactor, self.dsn, {WEBHOOKS_CHANNEL: lambda _: worker.wake()}, worker.wake)
        listener.startService()
        self.workers.append(worker)
        self.listeners.append(listener)
        return worker

    async def add_receiver(self, **fields: Any) -> tuple[Receiver, Webhook]:
        receiver, url = await self.start_receiver()
        return receiver, await self.webhooks.create(webhook(url, **fields))

    async def messages(self, receiver: Receiver, hook: Webhook, count: int) -> list[Any]:
        """Return the first messages, all of which have valid signatures."""
        await until(lambda: len(receiver.requests) >= count)
        secret = await self.webhooks.secret(hook.id)
        return [request.verify(secret.secret) for request in receiver.requests]

    async def states(self) -> list[str]:
        rows = await self.pool.query("SELECT state FROM webhook_deliveries ORDER BY position, created_at")
        return [state for (state,) in rows]

    async def until_states(self, *states: str) -> None:
        deadline = reactor.seconds() + 30
        while (current := await self.states()) != list(states):
            if reactor.seconds() > deadline:
                self.assertEqual(current, list(states))
            await deferLater(reactor, 0.01)

    async def complete(self, stored: Recording, **fields: Any) -> Recording:
        """Complete a Recording as the finisher does."""
        done = msgspec.structs.replace(
            stored,
            state=RecordingState.COMPLETED,
            path="2026/05/04/x.wav",
            size=44,
            sha256="0" * 64,
            updated_at=later(60),
            **fields,
        )
        await self.recordings.complete(done, [JobKind.MAIL])
        return done


class EventTests(SenderTestCase):
    async def test_the_events_of_a_recorded_call_in_order(self) -> None:
        receiver, hook = await self.add_receiver(headers={"Authorization": "Bearer 1"})
        self.start_worker()
        call_id, snapshot = uuid4(), recording(**PARTIES, metadata={"customer": "42"})
        snapshot = msgspec.structs.replace(snapshot, call_id=call_id, started_at=NOON)
        call = Call(
            id=call_id,
            profile_id=snapshot.profile_id,
            state=CallState.NEW,
            age=0.0,
            started_at=NOON,
            recording_id=snapshot.id,
            **PARTIES,
        )
        events = Events(self.pool)
        for happened in (EventType.CALL_STARTED, EventType.CALL_RINGING, EventType.CALL_ANSWERED):
            await events.append([CallEvent(happened, NOON, snapshot.profile_id, call)])
        for number, state in enumerate(("recording", "paused", "recording", "processing")):
            await self.recordings.record(
                msgspec.structs.replace(snapshot, state=RecordingState(state), updated_at=later(number))
            )
        await events.append([CallEvent(EventType.CALL_ENDED, later(9), snapshot.profile_id, call)])
        await self.complete(snapshot)
        messages = await self.messages(receiver, hook, 7)
        self.assertEqual(
            [(message["type"], message["sequence"]) for message in messages],
            [
                ("call.started", 1),
                ("call.answered", 2),
                ("recording.started", 1),
                ("recording.paused", 2),
                ("recording.resumed", 3),
                ("call.ended", 3),
                ("recording.completed", 4),
            ],
        )
        started, completed = messages[2], messages[-1]
        self.assertEqual(datetime.fromisoformat(started["timestamp"]), NOON)
        self.assertIsNone(started["data"]["audioUrl"])
        expected = {
            "id": str(snapshot.id),
            "callId": str(call_id),
            "state": "completed",
            "from": "+4930111",
            "fromName": "Jörg",
            "metadata": {"customer": "42"},
            "sha256": "0" * 64,
            "url": f"{URL}/recordings/{snapshot.id}",
            "audioUrl": f"{URL}/recordings/{snapshot.id}/audio",
        }
        self.assertEqual({key: completed["data"][key] for key in expected}, expected)
        request = receiver.requests[0]
        self.assertEqual(request.headers["authorization"], "Bearer 1")
        self.assertEqual(request.headers["user-agent"], "voxrec/test")
        self.assertEqual(len({request.id for request in receiver.requests}), 7)

    async def test_completed_has_an_expiring_link_if_the_settings_say_so(self) -> None:
        links = Links(self.pool, URL, timedelta(days=30))
        asked: list[UUID] = []

        async def link_url(recording_id: UUID) -> str | None:
            asked.append(recording_id)
            lifetime = timedelta(days=30)
            return (await links.for_delivery(recording_id, LinkOrigin.WEBHOOK, lifetime, datetime.now(UTC))).url

        receiver, hook = await self.add_receiver()
        self.start_worker(link_url=link_url)
        await self.complete(await self.recordings.create(recording()))
        started, completed = await self.messages(receiver, hook, 2)
        self.assertIsNone(started["data"]["linkUrl"])
        resolved = await links.resolve(completed["data"]["linkUrl"].removeprefix(f"{URL}/l/"))
        assert resolved is not None
        assert resolved.link is not None
        self.assertEqual([resolved.link.recording_id], asked)

    async def test_webhooks_receive_what_they_want_of_their_profile(self) -> None:
        ours, theirs = await self.profiles.create(profile()), await self.profiles.create(profile())
        everything, all_hook = await self.add_receiver()
        of_ours, our_hook = await self.add_receiver(profile_id=ours.id, events=(WebhookEvent.RECORDING_ABSENT,))
        disabled, _ = await self.add_receiver(enabled=False)
        self.start_worker()
        for owner in (ours, theirs):
            for state in (RecordingState.ABSENT, RecordingState.FAILED):
                await self.recordings.create(recording(profile_id=owner.id, state=state))
        messages = await self.messages(everything, all_hook, 4)
        received = [(message["data"]["profileId"], message["type"]) for message in messages]
        types = ("recording.absent", "recording.failed")
        # messages about different Recordings are sent at the same time: their order is that of the network
        self.assertEqual(sorted(received), sorted((str(owner.id), each) for owner in (ours, theirs) for each in types))
        (message,) = await self.messages(of_ours, our_hook, 1)
        self.assertEqual((message["type"], message["data"]["profileId"]), ("recording.absent", str(ours.id)))
        self.assertEqual(disabled.requests, [])

    async def test_the_webhook_url_of_a_profile_is_a_webhook(self) -> None:
        receiver, url = await self.start_receiver()
        stored = await self.profiles.create(profile(webhook_url=url))
        (hook,) = await self.webhooks.page()
        self.assertEqual((hook.profile_id, hook.url, hook.of_profile), (stored.id, url, True))
        self.start_worker()
        await self.recordings.create(recording(profile_id=stored.id, state=RecordingState.FAILED))
        await self.messages(receiver, hook, 1)
        other, other_url = await self.start_receiver()
        await self.profiles.update(stored.id, lambda old: msgspec.structs.replace(old, webhook_url=other_url))
        self.assertEqual([(hook.id, hook.url) for hook in await self.webhooks.page()], [(hook.id, other_url)])
        await self.recordings.create(recording(profile_id=stored.id, state=RecordingState.FAILED))
        await self.messages(other, hook, 1)
        await self.profiles.update(stored.id, lambda old: msgspec.structs.replace(old, webhook_url=None))
        self.assertEqual(await self.webhooks.page(), [])

    async def test_deletion_and_expiry(self) -> None:
        receiver, hook = await self.add_receiver(
            events=(WebhookEvent.RECORDING_DELETED, WebhookEvent.RECORDING_EXPIRED)
        )
        self.start_worker()
        deleted, expired = [await self.recordings.create(recording(**PARTIES)) for _ in range(2)]
        await self.recordings.delete(deleted.id)
        await self.recordings.expire(expired.id, lambda _: None, _audit_entry)
        messages = await self.messages(receiver, hook, 2)
        self.assertEqual(
            {message["data"]["id"]: message["type"] for message in messages},
            {str(deleted.id): "recording.deleted", str(expired.id): "recording.expired"},
        )
        for message in messages:
            self.assertEqual(message["sequence"], 2)
            self.assertEqual([message["data"][key] for key in ("from", "to", "metadata", "url")], [None] * 4)

    async def test_an_event_is_stored_with_its_cause_or_not_at_all(self) -> None:
        await self.webhooks.create(webhook("https://crm.example"))
        with self.assertRaises(ZeroDivisionError):
            await self.recordings.update_async((await self.recordings.create(recording())).id, _fail)
        (row,) = await self.pool.query("SELECT count(*) FROM webhook_messages")
        self.assertEqual(row, (1,))

    async def test_a_dead_mail_is_reported(self) -> None:
        receiver, hook = await self.add_receiver(events=(WebhookEvent.DELIVERY_FAILED,))
        self.start_worker()
        stored = await self.recordings.create(recording(state=RecordingState.COMPLETED))
        await self.enqueue((JobKind.MAIL, stored.id))
        jobs = Jobs(self.pool)
        ((job,), _) = await jobs.claim([JobKind.MAIL], timedelta(minutes=1))
        await jobs.dead_letter(job, "550 desk@example.org is unknown")
        (message,) = await self.messages(receiver, hook, 1)
        self.assertEqual(message["sequence"], 2)
        self.assertEqual(
            {key: message["data"][key] for key in ("channel", "recordingId", "event", "attempts")},
            {
                "channel": "mail",
                "recordingId": str(stored.id),
                "event": "recording.completed",
                "attempts": 1,
            },
        )
        self.assertNotIn(b"desk@example.org", receiver.requests[0].body)


class ClockTests(SynchronousTestCase):
    def test_the_timestamp_is_that_of_the_wall_clock(self) -> None:
        """The reactor of the daemon counts the seconds since the start of the machine."""
        clock, sent = ClockWithWall(), []

        async def post(_url: str, headers: dict[str, str], _body: bytes) -> Reply:
            sent.append(headers)
            clock.advance(2.5)
            return Reply(200, "", 0.0)

        settings = SenderSettings(public_url=URL, user_agent="test", give_up_after=timedelta(days=5))
        queue: Any = None
        sender = WebhookSender(clock, queue, post, settings)
        endpoint = Endpoint(uuid4(), "https://crm.example", {}, ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",))
        attempt = self.successResultOf(Deferred.fromCoroutine(sender.send_test(endpoint, None)))
        self.assertEqual(sent[0]["webhook-timestamp"], "1700000000")
        self.assertEqual((attempt.started_at.timestamp(), attempt.seconds), (1_700_000_000.0, 2.5))


class RetryTests(SenderTestCase):
    async def add_event(self, **fields: Any) -> Recording:
        return await self.recordings.create(recording(**{"state": RecordingState.FAILED, **fields}))

    async def test_a_retry_has_the_same_id_and_body_and_its_own_timestamp(self) -> None:
        receiver, hook = await self.add_receiver()
        receiver.statuses = lambda _: 500 if len(receiver.requests) < 3 else 204
        self.start_worker(retry=0.6)
        stored = await self.add_event()
        await self.until_states("delivered")
        first, second, third = receiver.requests
        self.assertEqual(len({(request.id, request.body) for request in (first, second, third)}), 1)
        self.assertGreater(int(third.headers["webhook-timestamp"]), int(first.headers["webhook-timestamp"]))
        (delivery,) = await self.history.of_recording(stored.id)
        self.assertEqual([attempt.status for attempt in delivery.attempts], [500, 500, 204])
        self.assertEqual((delivery.status, delivery.next_attempt_at), ("delivered", None))
        self.assertIsNone((await self.webhooks.get(hook.id)).failing_since)

    async def test_a_response_that_is_lost(self) -> None:
        """The receiver has the message, and knows its repetition by the id."""
        receiver, _ = await self.add_receiver()
        receiver.drops = True
        self.start_worker(retry=0.2)
        stored = await self.add_event()
        await until(lambda: len(receiver.requests) == 2)
        receiver.drops = False
        await self.until_states("delivered")
        self.assertEqual(len({(request.id, request.body) for request in receiver.requests}), 1)
        (delivery,) = await self.history.of_recording(stored.id)
        statuses = [attempt.status for attempt in delivery.attempts]
        self.assertEqual((statuses[:2], statuses[-1]), ([None, None], 200))

    async def test_the_last_failed_attempt_is_reported_to_the_other_webhooks(self) -> None:
        receiver, hook = await self.add_receiver(events=(WebhookEvent.RECORDING_FAILED,))
        receiver.status = 500
        observer, observing = await self.add_receiver(events=(WebhookEvent.DELIVERY_FAILED,))
        self.start_worker(max_attempts=2)
        stored = await self.add_event()
        (message,) = await self.messages(observer, observing, 1)
        self.assertEqual(
            {key: message["data"][key] for key in ("channel", "webhookId", "event", "recordingId", "attempts")},
            {
                "channel": "webhook",
                "webhookId": str(hook.id),
                "event": "recording.failed",
                "recordingId": str(stored.id),
                "attempts": 2,
            },
        )
        self.assertEqual((message["type"], message["sequence"]), ("delivery.failed", 2))
        failed = (await self.history.of_recording(stored.id))[0]
        self.assertEqual((failed.status, len(failed.attempts), failed.next_attempt_at), ("failed", 2, None))

    async def test_a_failure_to_report_a_failure_is_not_reported(self) -> None:
        receiver, _ = await self.add_receiver()
        receiver.status = 500
        other, _ = await self.add_receiver(events=(WebhookEvent.DELIVERY_FAILED,))
        other.status = 500
        self.start_worker(max_attempts=1)
        await self.add_event()
        await self.until_states("failed", "failed")

    async def test_retry_after(self) -> None:
        receiver, _ = await self.add_receiver()
        receiver.status, receiver.headers = 429, {"Retry-After": "3600"}
        self.start_worker()
        stored = await self.add_event()
        await until(lambda: self.outcomes)
        delivery = (await self.history.of_recording(stored.id))[0]
        while not delivery.attempts:
            delivery = (await self.history.of_recording(stored.id))[0]
        assert delivery.next_attempt_at is not None
        self.assertGreater(delivery.next_attempt_at - datetime.now(UTC), timedelta(seconds=3500))

    async def test_gone_disables_the_webhook_and_suspends_what_is_pending(self) -> None:
        receiver, hook = await self.add_receiver()
        receiver.status = 410
        receiver.hold = True
        self.start_worker(per_target=1)
        for _ in range(3):
            await self.add_event()
        await until(lambda: receiver.held)  # a message that is added after the response is not stored
        receiver.hold = False
        receiver.release()
        await self.until_states("failed", "suspended", "suspended")
        disabled = await self.webhooks.get(hook.id)
        self.assertEqual(
            (disabled.enabled, disabled.disabled_reason),
            (False, "HTTP status 410: the receiver wants no further requests"),
        )
        self.assertEqual(len(self.flushLoggedErrors()), 0)
        await self.add_event()  # not stored: the webhook is disabled
        receiver.status = 200
        await self.webhooks.update(hook.id, lambda old: msgspec.structs.replace(old, enabled=True))
        await self.until_states("failed", "delivered", "delivered")

    async def test_a_webhook_that_fails_for_days_is_disabled(self) -> None:
        receiver, hook = await self.add_receiver()
        receiver.status = 500
        await self.pool.execute("UPDATE webhooks SET failing_since = now() - interval '4 days 23 hours'")
        self.start_worker(retry=0.3, max_attempts=1000)
        await self.add_event()
        await until(lambda: self.outcomes)
        self.assertTrue((await self.webhooks.get(hook.id)).enabled)
        await self.pool.execute("UPDATE webhooks SET failing_since = now() - interval '5 days 1 hour'")
        await self.until_states("suspended")
        disabled = await self.webhooks.get(hook.id)
        self.assertEqual(
            (disabled.enabled, disabled.disabled_reason),
            (False, "all requests have failed for 5 days: HTTP status 500"),
        )

    async def test_an_invalid_url_of_an_earlier_version_fails_at_once(self) -> None:
        await self.profiles.create(stored := profile())
        await self.pool.execute(
            "UPDATE profiles SET webhook_url = 'http://user:secret@crm.example/' WHERE id = %s", (stored.id,)
        )
        self.start_worker()
        event = await self.add_event(profile_id=stored.id)
        await self.until_states("failed")
        (delivery,) = await self.history.of_recording(event.id)
        self.assertEqual(delivery.target, "http://crm.example/")
        self.assertIn("must not contain a user", delivery.attempts[0].reply)


class FairnessTests(SenderTestCase):
    async def test_a_slow_receiver_delays_no_other(self) -> None:
        slow, _ = await self.add_receiver()
        slow.hold = True
        for _ in range(30):
            await self.recordings.create(recording(state=RecordingState.FAILED))
        fast, fast_hook = await self.add_receiver()
        self.start_worker(per_target=3, concurrency=6)
        await until(lambda: len(slow.requests) == 3)
        for _ in range(10):
            await self.recordings.create(recording(state=RecordingState.FAILED))
        await self.messages(fast, fast_hook, 10)
        self.assertEqual(len(slow.requests), 3)

    async def test_a_failing_receiver_gets_one_request_at_a_time(self) -> None:
        receiver, _ = await self.add_receiver()
        receiver.hold = True
        await self.pool.execute("UPDATE webhooks SET failing_since = now()")
        for _ in range(5):
            await self.recordings.create(recording(state=RecordingState.FAILED))
        self.start_worker()
        await until(lambda: receiver.held)
        rows = await self.pool.query("SELECT count(*) FROM webhook_deliveries WHERE leased_until IS NOT NULL")
        self.assertEqual(rows, [(1,)])
        receiver.hold = False
        receiver.release()
        await self.until_states(*["delivered"] * 5)

    async def test_events_of_a_recording_do_not_overtake_each_other(self) -> None:
        receiver, _ = await self.add_receiver()
        receiver.hold = True
        stored = await self.recordings.create(recording())
        await self.complete(stored)
        self.start_worker()
        await until(lambda: receiver.held)
        worker = self.workers[0]
        worker.wake()
        await self.pool.query("SELECT 1")
        self.assertEqual(len(receiver.requests), 1)
        receiver.hold = False
        receiver.release()
        await until(lambda: len(receiver.requests) == 2)
        types = [msgspec.json.decode(request.body)["type"] for request in receiver.requests]
        self.assertEqual(types, ["recording.started", "recording.completed"])

    async def test_a_failed_event_does_not_hold_back_the_next(self) -> None:
        receiver, _ = await self.add_receiver()
        receiver.statuses = lambda request: 500 if b"recording.started" in request.body else 200
        stored = await self.recordings.create(recording())
        await self.complete(stored)
        self.start_worker(retry=600)
        await self.until_states("pending", "delivered")

    async def test_two_daemons_send_each_message_once(self) -> None:
        receiver, _ = await self.add_receiver()
        second = Pool(reactor, self.dsn, size=4)
        second.startService()
        self.start_worker()
        self.start_worker(pool=second)
        for _ in range(40):
            await self.recordings.create(recording(state=RecordingState.FAILED))
        await self.until_states(*["delivered"] * 40)
        self.assertEqual(len({request.id for request in receiver.requests}), len(receiver.requests))
        await gatherResults([worker.stopService() for worker in self.workers])
        self.workers = []
        await second.stopService()


class RotationTests(SenderTestCase):
    async def test_both_secrets_sign_during_the_overlap(self) -> None:
        receiver, hook = await self.add_receiver()
        before = await self.webhooks.secret(hook.id)
        after = await self.webhooks.rotate_secret(hook.id, None, timedelta(hours=1))
        self.assertEqual(after.previous_secret, before.secret)
        self.start_worker()
        await self.recordings.create(recording(state=RecordingState.FAILED))
        await until(lambda: receiver.requests)
        for secret in (before.secret, after.secret):
            self.assertEqual(receiver.requests[0].verify(secret)["type"], "recording.failed")
        await self.webhooks.rotate_secret(hook.id, None, timedelta(0))
        self.assertIsNone((await self.webhooks.secret(hook.id)).previous_secret)
        await self.recordings.create(recording(state=RecordingState.FAILED))
        await until(lambda: len(receiver.requests) == 2)
        self.assertEqual(receiver.requests[1].headers["webhook-signature"].count("v1,"), 1)


class ErasureTests(SenderTestCase):
    async def test_nothing_personal_remains_of_a_deleted_recording(self) -> None:
        receiver, _ = await self.add_receiver()
        receiver.reply = b"stored the call of +4930111 to Juergen"
        receiver.statuses = lambda request: 500 if b"recording.completed" in request.body else 200
        self.start_worker(retry=600)
        call_id, stored = uuid4(), recording(**PARTIES)
        stored = msgspec.structs.replace(stored, call_id=call_id)
        call = Call(id=call_id, profile_id=stored.profile_id, state=CallState.NEW, age=0.0, started_at=NOON, **PARTIES)
        events = Events(self.pool)
        await events.append([CallEvent(EventType.CALL_STARTED, NOON, stored.profile_id, call)])
        await self.recordings.create(stored)
        await self.complete(stored)
        await self.until_states("delivered", "delivered", "pending")
        await until(lambda: len(self.outcomes) == 3)
        await self.recordings.delete(stored.id)
        late = msgspec.structs.replace(call, recording_id=stored.id)
        await events.append([CallEvent(EventType.CALL_ENDED, NOON, stored.profile_id, late)])
        await self.until_states("delivered", "delivered", "pending", "delivered", "delivered")
        await self.pool.execute("UPDATE webhook_deliveries SET due_at = now() WHERE state = 'pending'")
        self.workers[0].wake()
        await until(lambda: len(self.outcomes) == 6)
        await until(lambda: len(receiver.requests) == 6)
        for request in receiver.requests[3:]:
            self.assertNotIn(b"4930111", request.body)
            self.assertNotIn("Jörg".encode(), request.body)
        for table in ("webhook_messages", "webhook_deliveries", "webhook_attempts", "events"):
            rows = await self.pool.query(f"SELECT {table}::text FROM {table}")  # noqa: S608 - a constant
            text = repr(rows)
            for personal in ("4930111", "4930222", "Jörg", "Juergen", "desk@pbx"):
                self.assertNotIn(personal, text, table)

    async def test_old_messages_are_deleted_with_deliveries_and_attempts(self) -> None:
        await self.add_receiver()
        self.start_worker()
        await self.recordings.create(recording(state=RecordingState.FAILED))
        await self.until_states("delivered")
        queue = WebhookQueue(self.pool)
        self.assertEqual(await queue.delete_older_than(timedelta(days=30)), 0)
        await self.pool.execute("UPDATE webhook_messages SET created_at = now() - interval '31 days'")
        self.assertEqual(await queue.delete_older_than(timedelta(days=30)), 1)
        rows = await self.pool.query(
            "SELECT (SELECT count(*) FROM webhook_deliveries), (SELECT count(*) FROM webhook_attempts)"
        )
        self.assertEqual(rows, [(0, 0)])


class OutageTests(SenderTestCase):
    async def test_a_lost_connection_between_request_and_outcome(self) -> None:
        """PostgreSQL ends all connections while the receiver answers: the outcome is stored afterwards, once."""
        receiver, _ = await self.add_receiver()
        receiver.hold = True
        self.start_worker()
        await self.recordings.create(recording(state=RecordingState.FAILED))
        await until(lambda: receiver.held)
        await self.pool.query(  # and wait up to 30 s until each of them has ended
            "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid()"
        )
        receiver.hold = False
        receiver.release()
        await self.until_states("delivered")
        self.assertEqual(len(receiver.requests), 1)

    async def test_a_process_that_dies_after_the_request_repeats_it_with_the_same_id(self) -> None:
        receiver, _ = await self.add_receiver()
        await self.recordings.create(recording(state=RecordingState.FAILED))
        queue = WebhookQueue(self.pool)
        claimed, _ = await queue.claim((), timedelta(milliseconds=200), 10)  # by the process that dies
        self.assertEqual(len(claimed), 1)
        self.start_worker()
        await self.until_states("delivered")
        self.assertEqual([UUID(request.id) for request in receiver.requests], [claimed[0].message.id])
        (row,) = await self.pool.query("SELECT attempts, claims FROM webhook_deliveries")
        self.assertEqual(row, (2, 2))

    async def test_the_successor_of_a_process_that_has_ended_does_not_wait_for_its_leases(self) -> None:
        receiver, _ = await self.add_receiver()
        await self.recordings.create(recording(state=RecordingState.FAILED))
        queue = WebhookQueue(self.pool)
        queue.instance = uuid4()
        await queue.claim((), timedelta(hours=1), 10)
        self.start_worker()
        await queue.release_leases(uuid4())
        self.assertEqual((await queue.claim((), timedelta(hours=1), 10))[0], [])
        await queue.release_leases(queue.instance)
        await self.until_states("delivered")
        self.assertEqual(len(receiver.requests), 1)

    async def test_an_outcome_after_the_lease_has_expired_is_discarded(self) -> None:
        await self.add_receiver()
        await self.recordings.create(recording(state=RecordingState.FAILED))
        queue = WebhookQueue(self.pool)
        (old,), _ = await queue.claim((), timedelta(0), 10)
        (new,), _ = await queue.claim((), timedelta(minutes=1), 10)
        self.assertFalse(await queue.extend_lease(old, timedelta(minutes=1)))
        self.assertEqual(await queue.failed(old, None, "x", None, timedelta(days=5)), (False, False))
        self.assertTrue(await queue.extend_lease(new, timedelta(minutes=1)))
        self.assertEqual(await self.states(), ["pending"])


def _audit_entry(stored: Recording) -> AuditEntry:
    return AuditEntry(
        id=uuid4(),
        created_at=NOON,
        who="retention",
        address="local",
        method="RULE",
        path="/",
        kind="recording",
        target_id=stored.id,
    )


async def _fail(_stored: Recording) -> Recording:
    raise ZeroDivisionError
