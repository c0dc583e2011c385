"""Mails that are repeated on request, from the request to the relay: a real database, worker and SMTP server."""

import email
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

from twisted.internet.task import deferLater

from tests.database import DatabaseTestCase, reactor
from tests.mail.smtp_servers import Mailbox, RelayTestCase
from tests.recordings.crashing_daemon import Environment
from tests.store.samples import NOON, profile, recording
from tests.store.test_delivery_reports import audit_entry
from tests.subtest import subtest
from voxrec.archive.interface import StoredFile
from voxrec.archive.local import LocalArchive
from voxrec.errors import Conflict
from voxrec.model import (
    DeliveryStatus,
    Job,
    JobKind,
    JobState,
    RecordingDelivery,
    RecordingState,
    ReportAction,
)
from voxrec.store.delivery_history import DeliveryHistory
from voxrec.store.delivery_reports import DeliveryReports, NewReport, ReportOutcome
from voxrec.store.jobs import Jobs
from voxrec.store.profiles import Profiles
from voxrec.store.recordings import Recordings
from voxrec.store.statistics import read_statistics

ANN, BOB, BOSS = "ann@example.org", "bob@example.org", "boss@example.org"


class RedeliveryTestCase(DatabaseTestCase, RelayTestCase):
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

    async def deliveries(self) -> dict[str, RecordingDelivery]:
        return {mail.target: mail for mail in await self.history.of_recording(self.recording_id)}

    def recipients(self) -> list[str]:
        return sorted(recipient for recipient, _ in self.mailbox.messages)


class RedeliveryTests(RedeliveryTestCase):
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


class UnconfirmedTests(RedeliveryTestCase):
    """A relay that receives mails, but closes the connection instead of saying whether it accepts them."""

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.mailbox.closes_at_data_end = True
        await self.pool.execute("UPDATE profiles SET email = %s", (ANN,))
        await self.pool.execute("INSERT INTO webhooks (url) VALUES ('https://crm.example/')")
        self.jobs = Jobs(self.pool)

    async def job(self) -> Job:
        ((job_id,),) = await self.pool.query("SELECT id FROM jobs WHERE kind = 'mail'")
        return await self.jobs.get(job_id)

    async def until_waiting(self, attempts: int) -> None:
        """Run a worker until the mail waits for its next attempt."""
        worker = self.environment.worker(self.pool)
        worker.startService()
        try:
            while (job := await self.job()).attempts < attempts or job.state is JobState.RUNNING:
                await deferLater(reactor, 0.02)
        finally:
            await worker.stopService()

    async def become_unconfirmed(self) -> None:
        await self.until_waiting(1)
        for attempts in (2, 3):
            delivery = (await self.deliveries())[ANN]
            self.assertIs(delivery.status, DeliveryStatus.PENDING)
            assert delivery.next_attempt_at is not None
            self.assertGreater(delivery.next_attempt_at, datetime.now(UTC) + timedelta(minutes=25))
            await self.pool.execute("UPDATE deliveries SET not_before = now()")
            await self.pool.execute("UPDATE jobs SET due_at = now()")
            await self.until_waiting(attempts)

    async def test_the_mail_is_sent_three_times_with_the_same_id_and_then_unconfirmed(self) -> None:
        await self.become_unconfirmed()
        self.assertEqual(self.recipients(), [ANN] * 3)
        self.assertEqual(len({email.message_from_bytes(data)["Message-ID"] for _, data in self.mailbox.messages}), 1)
        delivery, job = (await self.deliveries())[ANN], await self.job()
        self.assertEqual((delivery.status, delivery.next_attempt_at), (DeliveryStatus.UNCONFIRMED, None))
        self.assertEqual(
            [one.reply.endswith("after it had received the mail") for one in delivery.attempts], [True] * 3
        )
        self.assertIs(job.state, JobState.UNCONFIRMED)
        self.assertIn("did not confirm that it has accepted the mail for ann@example.org", job.last_error or "")
        statistics = await read_statistics(self.pool)
        self.assertEqual((statistics.unconfirmed, statistics.dead), ({"mail": 1}, {}))
        events = await self.pool.query(
            "SELECT data->'unconfirmed' FROM webhook_messages WHERE type = 'delivery.failed'"
        )
        self.assertEqual([tuple(row) for row in events], [(True,)])
        self.flushLoggedErrors()

    async def test_it_is_sent_again_on_request(self) -> None:
        await self.become_unconfirmed()
        self.mailbox.closes_at_data_end = False
        await self.jobs.restart((await self.job()).id)
        await self.run_mail_job()
        self.assertEqual(self.recipients(), [ANN] * 4)
        self.assertIs((await self.deliveries())[ANN].status, DeliveryStatus.DELIVERED)
        self.assertIs((await self.job()).state, JobState.DONE)

    async def test_it_is_confirmed(self) -> None:
        await self.become_unconfirmed()
        job = await self.jobs.confirm((await self.job()).id)
        self.assertIs(job.state, JobState.DONE)
        self.assertIs((await self.deliveries())[ANN].status, DeliveryStatus.DELIVERED)
        with self.assertRaises(Conflict):
            await self.jobs.confirm(job.id)

    async def test_a_report_of_a_mail_server_settles_it(self) -> None:
        """Also one that says that the mail is delayed: the relay has accepted it."""
        for action, status, outcome in (
            (ReportAction.DELAYED, DeliveryStatus.DELIVERED, ReportOutcome.NOTED),
            (ReportAction.FAILED, DeliveryStatus.FAILED, ReportOutcome.FAILED),
            (ReportAction.UNKNOWN, DeliveryStatus.UNCONFIRMED, ReportOutcome.NOTED),
        ):
            with subtest(action):
                await self.become_unconfirmed()
                delivery = (await self.deliveries())[ANN]
                assert delivery.id is not None
                report = NewReport(delivery.id, 3, action, "", "", "text")
                self.assertIs(await DeliveryReports(self.pool).add(report, audit_entry), outcome)
                self.assertIs((await self.deliveries())[ANN].status, status)
                state = JobState.UNCONFIRMED if action is ReportAction.UNKNOWN else JobState.DONE
                self.assertIs((await self.job()).state, state)
                await self.history.repeat(self.recording_id, delivery.id, None)
                await self.pool.execute("UPDATE deliveries SET attempts = 0, bounced_attempt = NULL")
                await self.pool.execute("DELETE FROM delivery_reports")

    async def test_a_report_of_an_earlier_attempt_settles_it_too(self) -> None:
        await self.until_waiting(1)
        delivery = (await self.deliveries())[ANN]
        assert delivery.id is not None
        report = NewReport(delivery.id, 1, ReportAction.RELAYED, "", "", "text")
        await DeliveryReports(self.pool).add(report, audit_entry)
        await self.pool.execute("UPDATE jobs SET due_at = now()")
        await self.run_mail_job()
        self.assertEqual(self.recipients(), [ANN])
        self.assertIs((await self.deliveries())[ANN].status, DeliveryStatus.DELIVERED)
