"""Mails that are repeated on request, from the request to the relay: a real database, worker and SMTP server."""

from pathlib import Path
from uuid import UUID, uuid4

from twisted.internet.task import deferLater

from tests.database import DatabaseTestCase, reactor
from tests.mail.smtp_servers import Mailbox, RelayTestCase
from tests.recordings.crashing_daemon import Environment
from tests.store.samples import NOON, profile, recording
from voxrec.archive.interface import StoredFile
from voxrec.archive.local import LocalArchive
from voxrec.model import DeliveryStatus, JobKind, RecordingDelivery, RecordingState
from voxrec.store.delivery_history import DeliveryHistory
from voxrec.store.profiles import Profiles
from voxrec.store.recordings import Recordings

ANN, BOB, BOSS = "ann@example.org", "bob@example.org", "boss@example.org"


class RedeliveryTests(DatabaseTestCase, RelayTestCase):
    timeout = 60

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.mailbox = Mailbox()
        relay_port = await self.start_relay(self.mailbox)
        self.environment = self.make_environment(relay_port)
        self.history = DeliveryHistory(self.pool)
        owner = await Profiles(self.pool).create(profile(email=f"{ANN}, {BOB}"))
        self.recording_id = await self.add_completed(owner.id)
        await self.enqueue((JobKind.MAIL, self.recording_id))

    def make_environment(self, relay_port: int) -> Environment:
        environment = Environment(self.dsn, str(Path(self.mktemp()).absolute()), relay_port)
        for directory in (environment.spool, environment.root):
            directory.mkdir(parents=True)
        return environment

    async def add_completed(self, profile_id: UUID) -> UUID:
        recording_id = uuid4()
        stored = self.archive_audio(recording_id)
        await Recordings(self.pool).create(
            recording(
                id=recording_id,
                profile_id=profile_id,
                state=RecordingState.COMPLETED,
                path=stored.path,
                size=stored.size,
                sha256=stored.sha256,
            )
        )
        return recording_id

    def archive_audio(self, recording_id: UUID) -> StoredFile:
        source = Path(self.environment.base, "source")
        source.write_bytes(b"RIFF")
        return LocalArchive(self.environment.root).put(source, recording_id, NOON, "wav")

    async def run_mail_job(self) -> None:
        """Run a worker until the job is done or dead."""
        worker = self.environment.worker(self.pool)
        worker.startService()
        try:
            while await self.pool.query("SELECT id FROM jobs WHERE done_at IS NULL AND NOT dead"):
                await deferLater(reactor, 0.02)
        finally:
            await worker.stopService()

    async def test_refusals_of_unencrypted_mails_are_reported(self) -> None:
        """Also of a mail that is sent again, to another recipient."""
        await self.pool.execute("UPDATE profiles SET mail_encryption = 'required'")
        await self.pool.execute("INSERT INTO webhooks (url) VALUES ('https://crm.example/')")
        await self.run_mail_job()
        await self.history.mail(self.recording_id, BOSS)
        await self.run_mail_job()
        self.assertEqual(self.recipients(), [])
        deliveries = await self.deliveries()
        for recipient in (ANN, BOB, BOSS):
            self.assertIs(deliveries[recipient].status, DeliveryStatus.FAILED)
            self.assertIn("not sent unencrypted", deliveries[recipient].attempts[0].reply)
        events = await self.pool.query(
            "SELECT data->>'channel', data->>'recordingId' FROM webhook_messages WHERE type = 'delivery.failed'"
        )
        self.assertEqual([tuple(row) for row in events], [("mail", str(self.recording_id))] * 2)
        self.flushLoggedErrors()

    async def deliveries(self) -> dict[str, RecordingDelivery]:
        return {mail.target: mail for mail in await self.history.of_recording(self.recording_id)}

    def recipients(self) -> list[str]:
        return sorted(recipient for recipient, _ in self.mailbox.messages)

    async def test_only_the_requested_recipient_gets_the_mail_again(self) -> None:
        await self.run_mail_job()
        self.assertEqual(self.recipients(), [ANN, BOB])
        first = (await self.deliveries())[ANN]
        assert first.id is not None
        await self.history.repeat(self.recording_id, first.id, None)
        await self.run_mail_job()
        self.assertEqual(self.recipients(), [ANN, ANN, BOB])
        repeated = (await self.deliveries())[ANN]
        self.assertEqual((repeated.status, len(repeated.attempts)), (DeliveryStatus.DELIVERED, 2))

    async def test_another_address(self) -> None:
        await self.run_mail_job()
        pending = await self.history.mail(self.recording_id, BOSS)
        self.assertEqual((pending.status, pending.attempts), (DeliveryStatus.PENDING, ()))
        await self.run_mail_job()
        self.assertEqual(self.recipients(), [ANN, BOB, BOSS])
        self.assertEqual({mail.status for mail in (await self.deliveries()).values()}, {DeliveryStatus.DELIVERED})

    async def test_a_refusal_and_its_repetition(self) -> None:
        self.mailbox.refusals[BOB] = (550, "no such user")
        await self.run_mail_job()
        refused = (await self.deliveries())[BOB]
        self.assertEqual(refused.status, DeliveryStatus.FAILED)
        self.assertIn("no such user", refused.attempts[0].reply)
        assert refused.id is not None
        del self.mailbox.refusals[BOB]
        await self.history.repeat(self.recording_id, refused.id, None)
        await self.run_mail_job()
        self.assertEqual(self.recipients(), [ANN, BOB])
        self.assertEqual([len(mail.attempts) for mail in (await self.deliveries()).values()], [1, 2])
