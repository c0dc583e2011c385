"""Tests of voxrec.mail.mailer, with a real SMTP server."""

import dataclasses
import email
import email.policy
import io
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast
from uuid import UUID

import numpy as np
import soundfile
from msgspec.structs import replace
from twisted.internet.interfaces import ITransport
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.threads import deferToThread

from tests.mail.size_limited_relay import SizeLimitedRelay
from tests.mail.smtp_servers import Mailbox, RelayTestCase, reactor
from tests.mail.test_message import AUDIO, PROFILE, RECORDING, STARTED_AT
from voxrec.deferreds import Backoff, gather
from voxrec.errors import DeliveryError, NotFound, StoreUnavailable
from voxrec.mail import reply_store
from voxrec.mail.content import ListeningLink
from voxrec.mail.envelope import UnconfirmedRetries
from voxrec.mail.mailer import BounceAddresses, Mailer
from voxrec.mail.message import MessageDefaults
from voxrec.mail.smtp import Relay
from voxrec.model import (
    Job,
    JobKind,
    JobState,
    MailContent,
    Profile,
    RecipientCertificate,
    Recording,
    RecordingState,
)
from voxrec.store.deliveries import Delivery, DeliveryState

ANN, BOB = "ann@example.org", "bob@example.org"
JOB = Job(
    id=UUID(int=1),
    kind=JobKind.MAIL,
    recording_id=RECORDING.id,
    state=JobState.RUNNING,
    attempts=1,
    due_at=STARTED_AT,
    created_at=STARTED_AT,
)
P = ParamSpec("P")
T = TypeVar("T")


class FakeRepository:
    """Resources by id."""

    def __init__(self, *resources: Any) -> None:
        self.resources = {resource.id: resource for resource in resources}

    async def get(self, resource_id: UUID, /) -> Any:
        if resource_id not in self.resources:
            raise NotFound(f"there is no {resource_id}")
        return self.resources[resource_id]


class FakeDeliveries:
    """The deliveries repository in memory."""

    def __init__(self) -> None:
        self.rows: dict[str, Delivery] = {}
        self.requested: list[str] = []

    async def requested_recipients(self, _: UUID) -> list[str]:
        return self.requested

    async def pending_recipients(self, _: UUID, recipients: Sequence[str]) -> list[str]:
        return [
            recipient
            for recipient in recipients
            if recipient not in self.rows or self.rows[recipient].state is DeliveryState.DEFERRED
        ]

    async def record_reply(self, _: UUID, recipient: str, state: DeliveryState, reply: str) -> None:
        attempts = self.rows[recipient].attempts + 1 if recipient in self.rows else 1
        self.rows[recipient] = Delivery(
            recipient=recipient, state=state, attempts=attempts, last_reply=reply, updated_at=STARTED_AT
        )

    async def record_unconfirmed(
        self, recording_id: UUID, recipient: str, reason: str, limit: int, interval: timedelta
    ) -> None:
        last = recipient in self.rows and self.rows[recipient].attempts + 1 >= limit
        await self.record_reply(
            recording_id, recipient, DeliveryState.REFUSED if last else DeliveryState.DEFERRED, reason
        )
        self.rows[recipient] = replace(self.rows[recipient], unconfirmed=True, retry_after=interval.total_seconds())

    async def of_recording(self, _: UUID) -> list[Delivery]:
        return [self.rows[recipient] for recipient in sorted(self.rows)]

    @property
    def states(self) -> dict[str, tuple[str, int, str]]:
        return {recipient: (row.state.value, row.attempts, row.last_reply) for recipient, row in self.rows.items()}


class FakeJobs:
    """The queue: whether the last failure was unconfirmed."""

    unconfirmed: bool | None = None

    async def set_unconfirmed(self, _job: Job, *, unconfirmed: bool) -> None:
        self.unconfirmed = unconfirmed


class FakeCertificates:
    """The recipient certificates in memory."""

    def __init__(self) -> None:
        self.rows: list[RecipientCertificate] = []

    async def of_recipients(self, _: UUID, recipients: Sequence[str]) -> list[RecipientCertificate]:
        return [row for row in self.rows if row.address in recipients]


class FakeArchive:
    """An archive with one file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def obtain(self, recording: Recording) -> AbstractAsyncContextManager[Path]:
        if recording.path != RECORDING.path:
            raise NotFound(f"the archive has no file {recording.path!r}")
        return nullcontext(self.path)


def defer_to_thread(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
    return deferToThread(work, *args, **kwargs)


async def listening_link(recording_id: UUID) -> ListeningLink:
    return ListeningLink(f"https://voxrec.example.org/recordings/{recording_id}/audio")


class MailerTestCase(RelayTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        audio = Path(self.mktemp())
        audio.write_bytes(AUDIO)  # noqa: ASYNC240 - a small file
        self.archive = FakeArchive(audio)
        self.mailbox = Mailbox()
        self.deliveries = FakeDeliveries()
        self.jobs = FakeJobs()
        self.certificates = FakeCertificates()
        self.replies: list[str] = []
        self.protections: list[str] = []
        self.defaults = MessageDefaults("voxrec@example.org", 1_000_000)
        self.port = await self.start_relay(self.mailbox)

    def make_mailer(
        self,
        recording: Recording | None = RECORDING,
        profile: Profile | None = PROFILE,
        bounce_addresses: BounceAddresses | None = None,
    ) -> Mailer:
        return Mailer(
            reactor,
            Relay("127.0.0.1", self.port, timeout=30),
            self.defaults,
            recordings=FakeRepository(*filter(None, [recording])),
            profiles=FakeRepository(*filter(None, [profile])),
            deliveries=self.deliveries,
            jobs=self.jobs,
            certificates=self.certificates,
            archive=self.archive,
            listening_link=listening_link,
            defer_to_thread=defer_to_thread,
            bounce_addresses=bounce_addresses,
            on_reply=self.replies.append,
            on_protection=self.protections.append,
        )

    def make_mailer_with_bounces(self, profile: Profile = PROFILE) -> Mailer:
        """Return a mailer with a bounce address for each recipient."""

        async def bounce_addresses(_recording_id: UUID, recipients: Sequence[str]) -> dict[str, str]:
            return {recipient: f"bounces+{recipient.partition('@')[0]}@example.org" for recipient in recipients}

        return self.make_mailer(profile=profile, bounce_addresses=bounce_addresses)

    async def run_failing_job(self, mailer: Mailer) -> DeliveryError:
        try:
            await mailer(JOB)
        except DeliveryError as error:
            return error
        raise self.failureException("no DeliveryError was raised")

    @property
    def received(self) -> list[str]:
        return [recipient for recipient, _ in self.mailbox.messages]


class SendTests(MailerTestCase):
    async def test_message_is_delivered_to_all_recipients(self) -> None:
        await self.make_mailer()(JOB)
        self.assertEqual(self.received, [ANN, BOB])
        message: Any = email.message_from_bytes(self.mailbox.messages[0][1], policy=email.policy.default)
        (attached,) = message.iter_attachments()
        self.assertEqual(attached.get_content(), AUDIO)
        self.assertEqual(message["X-Voxrec-Recording"], str(RECORDING.id))
        self.assertIn(f"https://voxrec.example.org/recordings/{RECORDING.id}/audio", message.get_body().get_content())
        self.assertEqual(self.deliveries.states[ANN], ("accepted", 1, "250 Delivery in progress"))

    async def test_replies_are_reported(self) -> None:
        self.mailbox.refusals[BOB] = (550, "no such user")
        await self.run_failing_job(self.make_mailer())
        self.assertEqual(self.replies, ["accepted", "refused"])

    async def test_repeated_job_sends_no_second_message(self) -> None:
        await self.make_mailer()(JOB)
        await self.make_mailer()(JOB)
        self.assertEqual(self.received, [ANN, BOB])

    async def test_only_deferred_recipients_are_retried(self) -> None:
        self.mailbox.refusals[BOB] = (451, "greylisted")
        error = await self.run_failing_job(self.make_mailer())
        self.assertFalse(error.permanent)
        self.assertEqual(error.detail, "the relay did not accept the mail for bob@example.org: 451 greylisted")
        self.mailbox.refusals.clear()
        await self.make_mailer()(JOB)
        self.assertEqual(self.received, [ANN, BOB])
        self.assertEqual(self.deliveries.states[BOB], ("accepted", 2, "250 Delivery in progress"))

    async def test_refusal_is_reported_when_no_recipient_is_deferred(self) -> None:
        self.mailbox.refusals = {ANN: (550, "no such user"), BOB: (451, "greylisted")}
        self.assertFalse((await self.run_failing_job(self.make_mailer())).permanent)
        self.mailbox.refusals = {ANN: (551, "must not be used")}
        error = await self.run_failing_job(self.make_mailer())
        self.assertTrue(error.permanent)
        self.assertEqual(error.detail, "the relay did not accept the mail for ann@example.org: 550 no such user")
        self.assertEqual(self.received, [BOB])
        self.assertTrue((await self.run_failing_job(self.make_mailer())).permanent)

    async def test_refused_recipient_removed_from_the_profile_is_ignored(self) -> None:
        self.mailbox.refusals[ANN] = (550, "no such user")
        self.assertTrue((await self.run_failing_job(self.make_mailer())).permanent)
        await self.make_mailer(profile=replace(PROFILE, email=BOB))(JOB)

    async def test_an_unconfirmed_mail_is_due_again_later_and_then_unconfirmed(self) -> None:
        self.mailbox.closes_at_data_end = True
        self.defaults = dataclasses.replace(self.defaults, unconfirmed=UnconfirmedRetries(2))
        error = await self.run_failing_job(self.make_mailer())
        self.assertEqual((error.permanent, error.retry_after), (False, 1800))
        self.assertEqual(self.replies, ["unconfirmed", "unconfirmed"])
        error = await self.run_failing_job(self.make_mailer())
        self.assertTrue(error.permanent)
        self.assertTrue(self.jobs.unconfirmed)
        self.assertTrue(error.detail.startswith("the relay did not confirm that it has accepted the mail for ann@"))
        first, _, third, _ = (email.message_from_bytes(data) for _, data in self.mailbox.messages)
        self.assertEqual(self.received, [ANN, BOB, ANN, BOB])
        self.assertEqual(first["Message-ID"], third["Message-ID"])

    async def test_a_refusal_beside_an_unconfirmed_mail_makes_the_job_dead(self) -> None:
        self.mailbox.closes_at_data_end = True
        self.mailbox.refusals[BOB] = (550, "no such user")
        self.defaults = dataclasses.replace(self.defaults, unconfirmed=UnconfirmedRetries(1))
        await self.run_failing_job(self.make_mailer())
        error = await self.run_failing_job(self.make_mailer())
        self.assertEqual(self.jobs.unconfirmed, False)
        self.assertIn("550 no such user", error.detail)
        self.assertEqual(self.received, [ANN, ANN])

    async def test_a_relay_that_is_away_after_an_unconfirmed_mail_makes_the_job_dead(self) -> None:
        """Otherwise a confirmation of the job would end it, although the last attempts have certainly failed."""
        self.mailbox.closes_at_data_end = True
        await self.run_failing_job(self.make_mailer())
        self.assertEqual(self.jobs.unconfirmed, True)
        self.port = 1
        with self.assertRaises(DeliveryError):
            await self.make_mailer()(replace(JOB, claims=2))
        self.assertEqual(self.jobs.unconfirmed, False)

    async def test_postgresql_is_away_when_the_relay_has_accepted(self) -> None:
        """The replies are stored afterwards, even if the job is claimed again meanwhile."""
        outage = [StoreUnavailable("away")] * 2
        record_reply = self.deliveries.record_reply

        async def record(*args: Any) -> None:
            if outage:
                raise outage.pop()
            await record_reply(*args)

        self.patch(reply_store, "_BACKOFF", Backoff(first=0.01))
        self.patch(self.deliveries, "record_reply", record)
        mailer = self.make_mailer()
        await gather(mailer(JOB), mailer(JOB))
        self.assertEqual(self.received, [ANN, BOB])
        self.assertEqual(self.deliveries.states[ANN][:2], ("accepted", 1))

    async def test_a_requested_recipient_gets_the_mail_too(self) -> None:
        self.deliveries.requested = ["boss@example.org"]
        await self.make_mailer()(JOB)
        self.assertEqual({to for to, _ in self.mailbox.messages}, {ANN, BOB, "boss@example.org"})

    async def test_relay_unavailable(self) -> None:
        self.port = 1
        error = await self.run_failing_job(self.make_mailer())
        self.assertFalse(error.permanent)
        self.assertEqual(set(self.deliveries.states), {ANN, BOB})
        for state, attempts, reply in self.deliveries.states.values():
            self.assertEqual((state, attempts), ("deferred", 1))
            self.assertIn("connection failed", reply)


class SizeLimitTests(MailerTestCase):
    """Recordings that are too large for the relay are mailed as a link, by aiosmtpd."""

    LIMIT = 12_000  # bytes; the message with the audio has about 17,000, that with the link about 4,000

    async def mail_through(self, relay: SizeLimitedRelay) -> None:
        self.port = await deferToThread(relay.start)
        self.addCleanup(deferToThread, relay.stop)
        await self.make_mailer()(JOB)

    def assert_mails(self, relay: SizeLimitedRelay, **attached: bool) -> None:
        """Each recipient received one mail, with the audio attached or with the link only."""
        for name, expected in attached.items():
            (content,) = relay.messages[f"{name}@example.org"]
            message: Any = email.message_from_bytes(content, policy=email.policy.default)
            self.assertEqual([part.get_content() for part in message.iter_attachments()], [AUDIO] if expected else [])
            text = message.get_body(("plain",)).get_content()
            self.assertIn(f"https://voxrec.example.org/recordings/{RECORDING.id}/audio", text)
            self.assertEqual("is too large to attach" in text, not expected)
        self.assertEqual({state for state, _, _ in self.deliveries.states.values()}, {"accepted"})

    async def test_the_size_is_declared(self) -> None:
        relay = SizeLimitedRelay()
        await self.mail_through(relay)
        self.assert_mails(relay, ann=True, bob=True)
        (content,) = relay.messages[ANN]
        self.assertEqual(relay.mail_options, [[f"SIZE={len(content)}"]])

    async def test_advertised_limit(self) -> None:
        relay = SizeLimitedRelay(self.LIMIT)
        await self.mail_through(relay)
        self.assert_mails(relay, ann=False, bob=False)
        self.assertEqual(len(relay.mail_options), 1, "the message with the audio was announced to the relay")

    async def test_limit_that_is_not_advertised(self) -> None:
        relay = SizeLimitedRelay(self.LIMIT, advertised=False)
        await self.mail_through(relay)
        self.assert_mails(relay, ann=False, bob=False)
        self.assertEqual(relay.mail_options, [[], []], "SIZE was declared to a relay that does not support it")

    async def test_refused_after_the_data(self) -> None:
        for reply in (
            "552 5.3.4 too big",
            "552 too big",
            "554 5.3.4 too big",
            "550 5.2.3 too big",
            "452 4.3.4 too big",
        ):
            self.deliveries.rows.clear()
            relay = SizeLimitedRelay(self.LIMIT, advertised=False, replies={"DATA": reply})
            await self.mail_through(relay)
            self.assert_mails(relay, ann=False, bob=False)

    async def test_refused_in_reply_to_mail(self) -> None:
        relay = SizeLimitedRelay(self.LIMIT, replies={"MAIL": "552 5.3.4 too big"})
        await self.mail_through(relay)
        self.assert_mails(relay, ann=False, bob=False)
        self.assertLess(relay.bytes_received, self.LIMIT)

    async def test_refused_for_one_recipient(self) -> None:
        for reply in ("552 5.2.3 too big for this mailbox", "552 too big"):
            self.deliveries.rows.clear()
            relay = SizeLimitedRelay(self.LIMIT, replies={BOB: reply})
            await self.mail_through(relay)
            self.assert_mails(relay, ann=True, bob=False)

    async def test_link_is_refused_too(self) -> None:
        self.mailbox.reply_to_data_end = (552, b"5.3.4 too big")
        error = await self.run_failing_job(self.make_mailer())
        self.assertTrue(error.permanent)
        self.assertIn("552 5.3.4 too big", error.detail)
        self.assertEqual(len(self.mailbox.secure), 2)


class CopyTests(MailerTestCase):
    """Of audio that is too large, a smaller copy is attached."""

    LIMIT = 120_000  # bytes; the recording has 320 kB, a copy of it about 40 kB

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        audio = Path(self.mktemp())
        times = np.arange(10 * 16_000) / 16_000
        soundfile.write(audio, (8000 * np.sin(2 * np.pi * 440 * times)).astype(np.int16), 16_000, format="WAV")
        self.archive = FakeArchive(audio)
        self.size = audio.stat().st_size  # noqa: ASYNC240 - a small file

    async def mail(self, **changes: Any) -> Any:
        """Send the mail with these defaults and return it as Ann received it."""
        self.defaults = MessageDefaults("voxrec@example.org", **{"attach_limit": 1_000_000, **changes})
        relay = SizeLimitedRelay(self.LIMIT if "attach_limit" not in changes else 1 << 30)
        self.port = await deferToThread(relay.start)
        self.addCleanup(deferToThread, relay.stop)
        self.deliveries.rows.clear()
        await self.make_mailer(replace(RECORDING, size=self.size))(JOB)
        (content,) = relay.messages[ANN]
        return email.message_from_bytes(content, policy=email.policy.default)

    def attachments(self, message: Any) -> list[tuple[str, str]]:
        parts = message.iter_attachments()
        return [(part.get_filename().rpartition(".")[2], part.get_content_type()) for part in parts]

    async def test_audio_that_is_too_large_for_the_relay(self) -> None:
        for copy_format, media_type in (("mp3", "audio/mpeg"), ("opus", "audio/ogg")):
            message = await self.mail(copy_format=copy_format)
            self.assertEqual(self.attachments(message), [(copy_format, media_type)])
            (part,) = message.iter_attachments()
            decoded, rate = soundfile.read(io.BytesIO(part.get_content()))
            self.assertAlmostEqual(len(decoded) / rate, 10.0, delta=0.2)
            text = message.get_body(("plain",)).get_content()
            self.assertIn(f"attached as {copy_format}", text)
            self.assertNotIn("SHA-256", text, "the digest of the original is not that of the copy")

    async def test_audio_that_exceeds_the_attach_limit(self) -> None:
        message = await self.mail(copy_format="mp3", attach_limit=100_000)
        self.assertEqual(self.attachments(message), [("mp3", "audio/mpeg")])

    async def test_copy_that_is_too_large_as_well(self) -> None:
        for changes in ({"copy_format": "mp3", "attach_limit": 1000}, {"copy_format": ""}):
            message = await self.mail(**changes)
            self.assertEqual(self.attachments(message), [], changes)
            self.assertIn("is too large to attach", message.get_body(("plain",)).get_content())

    async def test_copy_that_cannot_be_made(self) -> None:
        """The disk is full, or the audio cannot be decoded: the mail is sent with the link."""
        self.patch(tempfile, "tempdir", "/dev/full")
        message = await self.mail(copy_format="mp3")
        self.assertEqual(self.attachments(message), [])
        self.patch(tempfile, "tempdir", None)
        self.archive.path.write_bytes(b"not audio" * 30_000)
        self.assertEqual(self.attachments(await self.mail(copy_format="mp3", attach_limit=100_000)), [])


class ContentChoiceTests(MailerTestCase):
    async def mail(self, content: MailContent) -> Any:
        await self.make_mailer(profile=replace(PROFILE, mail_content=content))(JOB)
        return email.message_from_bytes(self.mailbox.messages[-1][1], policy=email.policy.default)

    async def test_link(self) -> None:
        message = await self.mail(MailContent.LINK)
        self.assertEqual([*message.iter_attachments()], [])
        text = message.get_body(("plain",)).get_content()
        self.assertIn(f"https://voxrec.example.org/recordings/{RECORDING.id}/audio", text)
        self.assertNotIn("too large", text)

    async def test_notice(self) -> None:
        message = await self.mail(MailContent.NOTICE)
        types = [part.get_content_type() for part in message.walk() if not part.is_multipart()]
        self.assertEqual(types, ["text/plain", "text/html"])
        for kind in ("plain", "html"):
            body = message.get_body((kind,)).get_content()
            self.assertNotIn("https://", body)
            self.assertIn("The recording is available in voxrec.", body)


class InternationalAddressTests(MailerTestCase):
    """Addresses with other characters than ASCII, with aiosmtpd."""

    UTF8 = "m\u00fcller@b\u00fccher.example"
    IDN = "ann@b\u00fccher.example"

    async def start(self, *, smtputf8: bool) -> SizeLimitedRelay:
        relay = SizeLimitedRelay(smtputf8=smtputf8)
        self.port = await deferToThread(relay.start)
        self.addCleanup(deferToThread, relay.stop)
        return relay

    def mailer(self, *addresses: str) -> Mailer:
        return self.make_mailer(profile=replace(PROFILE, email=", ".join(addresses)))

    async def test_two_messages(self) -> None:
        relay = await self.start(smtputf8=True)
        await self.mailer(self.UTF8, self.IDN, BOB)(JOB)
        self.assertEqual({state for state, _, _ in self.deliveries.states.values()}, {"accepted"})
        self.assertEqual(sorted(self.deliveries.states), sorted([self.UTF8, self.IDN, BOB]))
        self.assertEqual(len(relay.mail_options), 2)
        (ascii_message,) = relay.messages["ann@xn--bcher-kva.example"]
        self.assertTrue(ascii_message.isascii())
        self.assertEqual(relay.messages[BOB], [ascii_message])
        message: Any = email.message_from_bytes(ascii_message, policy=email.policy.default)
        self.assertEqual(message["To"], f"ann@xn--bcher-kva.example, {BOB}")
        (utf8_message,) = relay.messages["m\u00fcller@xn--bcher-kva.example"]
        to = f"To: m\u00fcller@xn--bcher-kva.example, ann@xn--bcher-kva.example, {BOB}\r\n"
        self.assertIn(to.encode(), utf8_message)
        self.assertIn("Subject: Erna M\u00fcller".encode(), utf8_message)
        self.assertTrue(utf8_message.partition(b"\r\n\r\n")[2].isascii())
        received: Any = email.message_from_bytes(utf8_message, policy=email.policy.SMTPUTF8)
        (attached,) = received.iter_attachments()
        self.assertEqual(attached.get_content(), AUDIO)

    async def test_relay_without_smtputf8(self) -> None:
        relay = await self.start(smtputf8=False)
        error = await self.run_failing_job(self.mailer(self.UTF8, BOB))
        self.assertTrue(error.permanent)
        self.assertIn(f"{self.UTF8}: not sent: characters other than ASCII before the @", error.detail)
        self.assertEqual([*relay.messages], [BOB])
        self.assertEqual(self.replies, ["accepted", "refused"])

    async def test_sender_with_utf8(self) -> None:
        relay = await self.start(smtputf8=True)
        self.defaults = MessageDefaults(self.UTF8, 0)
        await self.mailer(BOB)(JOB)
        self.assertEqual(relay.senders, ["m\u00fcller@xn--bcher-kva.example"])
        self.assertIn("From: voxrec <m\u00fcller@xn--bcher-kva.example>".encode(), relay.messages[BOB][0])
        self.assertIn(f"Message-ID: <{RECORDING.id}@xn--bcher-kva.example>".encode(), relay.messages[BOB][0])

    async def test_two_spellings_of_an_address_receive_one_mail(self) -> None:
        relay = await self.start(smtputf8=False)
        await self.mailer(self.IDN, "ann@xn--bcher-kva.example")(JOB)
        self.assertEqual([len(messages) for messages in relay.messages.values()], [1])
        self.assertEqual([*self.deliveries.states], [self.IDN])


class InvalidAddressTests(MailerTestCase):
    async def test_one_bad_stored_address_does_not_block_the_others(self) -> None:
        for bad in ("a..b@example.org", ".a@example.org", f"{'x' * 65}@example.org", "=?utf-8?q?a?=@example.org", "x"):
            self.mailbox.messages.clear()
            self.deliveries.rows.clear()
            error = await self.run_failing_job(self.make_mailer(profile=replace(PROFILE, email=f"{ANN}, {bad}, {BOB}")))
            self.assertTrue(error.permanent)
            self.assertIn(f"{bad}: not sent: the address ", error.detail)
            self.assertEqual(self.received, [ANN, BOB])
            message: Any = email.message_from_bytes(self.mailbox.messages[0][1], policy=email.policy.default)
            self.assertEqual(message["To"], f"{ANN}, {BOB}")

    async def test_only_bad_stored_addresses(self) -> None:
        error = await self.run_failing_job(self.make_mailer(profile=replace(PROFILE, email="a..b@example.org")))
        self.assertTrue(error.permanent)
        self.assertEqual(self.received, [])


class PreviewTests(MailerTestCase):
    def make_templates(self, subject: str) -> Path:
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / "subject.txt").write_text(subject)
        return directory

    async def test_templates_of_the_settings(self) -> None:
        templates = self.make_templates("{{ recording['from'] }} {{ attached }} {{ url }}")
        mailer = self.make_mailer()
        settings = MessageDefaults("voxrec@example.org", 1_000_000, templates=templates)
        mailer.configure(Relay("127.0.0.1", self.port), settings)
        texts = await mailer.preview(PROFILE, RECORDING, "https://x")
        self.assertEqual((texts.subject, texts.problem), ("+49123 True https://x", ""))
        example = await mailer.preview(PROFILE, None, "https://x")
        self.assertEqual(example.subject, "+4930123456 False https://x")  # its audio is larger than attach_limit
        self.assertEqual(self.received, [])


class NoMailTests(MailerTestCase):
    async def test_profile_without_mail_address(self) -> None:
        await self.make_mailer(profile=replace(PROFILE, email=None))(JOB)
        self.assertEqual(self.received, [])

    async def test_deleted_recording(self) -> None:
        await self.make_mailer(None)(JOB)
        self.assertEqual(self.received, [])

    async def test_recording_that_is_not_completed(self) -> None:
        for state in (RecordingState.ABSENT, RecordingState.FAILED, RecordingState.PROCESSING):
            await self.make_mailer(replace(RECORDING, state=state))(JOB)
        self.assertEqual(self.received, [])

    async def test_deleted_profile(self) -> None:
        """Deleting a Profile during its call leaves no dead job behind: nobody has asked for a mail any more."""
        await self.make_mailer(profile=None)(JOB)
        self.assertEqual(self.received, [])

    async def test_missing_file(self) -> None:
        with self.assertRaises(NotFound):
            await self.make_mailer(replace(RECORDING, path="elsewhere.wav"))(JOB)
        self.assertEqual(self.received, [])


class BounceAddressTests(MailerTestCase):
    async def test_each_recipient_has_a_sender_of_its_own(self) -> None:
        relay = SizeLimitedRelay()
        self.port = relay.start()
        self.addCleanup(relay.stop)
        await self.make_mailer_with_bounces()(JOB)
        self.assertEqual(relay.senders, ["bounces+ann@example.org", "bounces+bob@example.org"])
        self.assertEqual({state for state, _, _ in self.deliveries.states.values()}, {"accepted"})

    async def test_from_and_to_are_the_same_for_all(self) -> None:
        await self.make_mailer_with_bounces()(JOB)
        self.assertEqual(self.received, [ANN, BOB])
        for _, data in self.mailbox.messages:
            message = email.message_from_bytes(data)
            self.assertEqual((message["From"], message["To"]), ("voxrec <voxrec@example.org>", f"{ANN}, {BOB}"))

    async def test_a_refused_recipient_does_not_affect_the_others(self) -> None:
        self.mailbox.refusals[ANN] = (550, "no such user")
        error = await self.run_failing_job(self.make_mailer_with_bounces())
        self.assertTrue(error.permanent)
        self.assertEqual(self.received, [BOB])

    async def test_an_unavailable_relay_is_an_attempt_of_each_recipient(self) -> None:
        self.port = 1
        error = await self.run_failing_job(self.make_mailer_with_bounces())
        self.assertFalse(error.permanent)
        self.assertEqual(self.deliveries.states[ANN][:2], ("deferred", 1))
        self.assertEqual(self.deliveries.states[BOB][:2], ("deferred", 1))

    async def test_a_relay_that_fails_is_not_tried_for_each_recipient(self) -> None:
        """If it does not respond, each session lasts until the timeout; if the password is wrong, it may be locked."""
        connections: list[object] = []

        class Refusing(Protocol):
            def connectionMade(self) -> None:
                connections.append(self)
                cast("ITransport", self.transport).write(b"421 busy\r\n")

        port: Any = cast("Any", reactor).listenTCP(0, ServerFactory.forProtocol(Refusing), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.port = port.getHost().port
        profile = replace(PROFILE, email=",".join(f"{number}@example.org" for number in range(5)))
        await self.run_failing_job(self.make_mailer_with_bounces(profile))
        self.assertEqual(len(connections), 2)
        self.assertIn("not sent, as to other recipients: ", self.deliveries.states["4@example.org"][2])
        self.assertEqual([state[:2] for state in self.deliveries.states.values()], [("deferred", 1)] * 5)

    async def test_a_mail_that_was_returned_does_not_fail_the_job(self) -> None:
        """Its failure has been reported; the job ends with the acceptance of the others."""
        self.mailbox.refusals[BOB] = (451, "greylisted")
        await self.run_failing_job(self.make_mailer_with_bounces())
        returned = replace(self.deliveries.rows[ANN], state=DeliveryState.REFUSED, returned=True)
        self.deliveries.rows[ANN] = returned
        self.mailbox.refusals.clear()
        await self.make_mailer_with_bounces()(JOB)
        self.assertEqual(self.received, [ANN, BOB])

    async def test_a_relay_that_closes_at_the_end_of_the_data_gets_two_of_many_mails(self) -> None:
        self.mailbox.closes_at_data_end = True
        profile = replace(PROFILE, email=",".join(f"{number}@example.org" for number in range(5)))
        error = await self.run_failing_job(self.make_mailer_with_bounces(profile))
        self.assertEqual(self.received, ["0@example.org", "1@example.org"])
        self.assertEqual((error.permanent, error.retry_after, self.jobs.unconfirmed), (False, 0, False))

    async def test_audio_that_is_too_large_for_some(self) -> None:
        self.mailbox.refusals[BOB] = (552, "5.3.4 too large")
        await self.run_failing_job(self.make_mailer_with_bounces())
        self.assertEqual(self.received, [ANN])
        self.assertEqual(self.deliveries.states[BOB][0], "deferred")
