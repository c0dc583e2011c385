"""Tests of voxrec.composition.mail."""

import smtplib
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.database import DatabaseTestCase, reactor, until
from tests.mail.key_pairs import make_certificate, private_pem, rsa_key
from tests.mail.test_delivery_reports import EXPECTED, sample
from tests.store.samples import recording
from voxrec.composition.database import build_database
from voxrec.composition.environment import build_environment
from voxrec.composition.mail import (
    _bounce_addresses,
    _defaults,
    _listening_link,
    build_bounce_server,
    build_mailer,
    reconfigure_mailer,
)
from voxrec.config import Mail, parse
from voxrec.mail.content import ListeningLink
from voxrec.model import DeliveryStatus, RecordingDelivery
from voxrec.sandbox.asterisk import free_port
from voxrec.store.audit import Audit
from voxrec.store.deliveries import DeliveryState
from voxrec.store.recordings import Recordings

URL = "https://rec.example"


class SettingsTests(SynchronousTestCase):
    def test_templates(self) -> None:
        self.assertIsNone(_defaults(Mail(), None).templates)
        self.assertEqual(_defaults(Mail(templates="/etc/voxrec/mail"), None).templates, Path("/etc/voxrec/mail"))

    def test_the_signature_is_read_again_at_a_reload(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        files = directory / "certificate.pem", directory / "key.pem"
        first, second = (make_certificate("voxrec@example.org") for _ in range(2))
        files[0].write_bytes(first)
        files[1].write_bytes(private_pem(rsa_key()))
        files[1].chmod(0o600)
        settings = f"mail: {{signing_certificate: '{files[0].absolute()}', signing_key: '{files[1].absolute()}'}}"
        env = build_environment(reactor, parse(f"data_directory: {self.mktemp()}\n{settings}"))
        database = build_database(env, "dbname=unused")
        mailer = build_mailer(env, database, cast("Any", SimpleNamespace(archive=None)))

        def signed_by() -> bytes:
            signer = mailer.defaults.signer
            assert signer is not None
            return signer.certificate.public_bytes(Encoding.PEM)

        self.assertEqual(signed_by(), first)
        files[0].write_bytes(second)
        reconfigure_mailer(mailer, env.config.mail, env.metrics)
        self.assertEqual(signed_by(), second)
        expires_at = x509.load_pem_x509_certificate(second).not_valid_after_utc.timestamp()
        name = "voxrec_mail_signing_certificate_expiry_timestamp_seconds"
        (line,) = [one for one in env.metrics.exposition().decode().splitlines() if one.startswith(name)]
        self.assertEqual(float(line.rpartition(" ")[2]), expires_at)
        files[0].write_bytes(b"")
        with capturedLogs() as events:
            reconfigure_mailer(mailer, env.config.mail, env.metrics)
        self.assertEqual([event["log_level"].name for event in events], ["error"])
        self.assertEqual(signed_by(), second)
        reconfigure_mailer(mailer, Mail(), env.metrics)
        self.assertIsNone(mailer.defaults.signer)


class ListeningLinkTests(DatabaseTestCase):
    async def listening_link(self, recording_id: UUID, settings: str) -> ListeningLink:
        text = f"data_directory: {self.mktemp()}\nrest: {{public_url: '{URL}/'}}\nlinks: {{{settings}}}"
        env = build_environment(reactor, parse(text))
        database = build_database(env, self.dsn)
        database.pool.startService()
        await database.pool.when_ready()
        try:
            return await _listening_link(env, database)(recording_id)
        finally:
            await database.pool.stopService()

    async def test_the_settings_decide(self) -> None:
        stored = await Recordings(self.pool).create(recording())
        link = await self.listening_link(stored.id, "delivery_days: 3")
        self.assertRegex(link.url, rf"^{URL}/l/[A-Za-z0-9_-]{{48}}$")
        assert link.expires_at is not None
        self.assertAlmostEqual((link.expires_at - datetime.now(UTC)) / timedelta(days=1), 3, places=2)
        with_token = await self.listening_link(stored.id, "in_mails: false")
        self.assertEqual(with_token, ListeningLink(f"{URL}/recordings/{stored.id}/audio"))


class BounceTestCase(DatabaseTestCase):
    """The LMTP server of the daemon, and a mail that the relay has accepted."""

    ANN = "ann@example.org"

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.port = free_port(socket.SOCK_STREAM)
        text = (
            f"data_directory: {self.mktemp()}\n"
            f"bounces: {{address: bounces@voxrec.example, listen: 'tcp:{self.port}:interface=127.0.0.1'}}"
        )
        self.env = build_environment(reactor, parse(text))
        self.services = build_database(self.env, self.dsn)
        self.services.pool.startService()
        self.addCleanup(self.services.pool.stopService)
        await self.services.pool.when_ready()
        server = build_bounce_server(self.env, self.services)
        assert server is not None
        server.startService()
        self.addCleanup(server.stopService)
        await until(lambda: server.listening)
        self.recording = await Recordings(self.pool).create(recording())
        self.address = await self.accept_mail()

    async def accept_mail(self) -> str:
        """Return the envelope sender of a mail that the relay has accepted."""
        senders = await _bounce_addresses(self.env, self.services)(self.recording.id, [self.ANN])
        await self.services.deliveries.record_reply(self.recording.id, self.ANN, DeliveryState.ACCEPTED, "250 queued")
        return senders[self.ANN]

    async def return_mail(self, name: str) -> None:
        """Pass a message on as a mail server does."""
        await deferToThread(self.send, self.address, name)

    def send(self, address: str, name: str = "postfix_failed") -> None:
        with smtplib.LMTP("127.0.0.1", self.port) as client:
            client.sendmail("", [address], sample(name))

    async def refusal(self, address: str) -> int:
        """Return the code with which a recipient is refused."""
        try:
            await deferToThread(self.send, address)
        except smtplib.SMTPRecipientsRefused as error:
            return error.recipients[address][0]
        raise self.failureException(f"{address} was accepted")

    async def delivery(self) -> RecordingDelivery:
        (delivery,) = await self.services.delivery_history.of_recording(self.recording.id)
        return delivery

    def count(self, outcome: str) -> str:
        """Return the value of the metric."""
        lines = self.env.metrics.exposition().decode().splitlines()
        (value,) = [
            line.rpartition(" ")[2]
            for line in lines
            if line.startswith("voxrec_mails_returned_total") and f'outcome="{outcome}"' in line
        ]
        return value


class BounceTests(BounceTestCase):
    """From the envelope sender of a mail to its delivery, with the client of LMTP that Python has."""

    async def test_a_bounce_fails_the_delivery_once(self) -> None:
        for _ in range(2):
            await self.return_mail("postfix_failed")
        delivery = await self.delivery()
        self.assertIs(delivery.status, DeliveryStatus.FAILED)
        expected = EXPECTED["postfix_failed"]
        assert expected is not None
        (report,) = delivery.reports
        self.assertEqual((report.reply, report.remote_mta), (expected.reply, "mx.example.org"))
        self.assertEqual((self.count("failed"), self.count("duplicate")), ("1.0", "1.0"))
        (entry,) = await Audit(self.pool).page(limit=10)
        self.assertEqual((entry.who, entry.path), ("bounce", f"/recordings/{self.recording.id}/deliveries"))

    async def test_a_delay_and_an_automatic_reply_are_no_failures(self) -> None:
        for name in ("postfix_delayed", "vacation"):
            await self.return_mail(name)
        delivery = await self.delivery()
        self.assertIs(delivery.status, DeliveryStatus.DELIVERED)
        self.assertEqual([report.action for report in delivery.reports], ["delayed"])
        self.assertEqual((self.count("noted"), self.count("ignored")), ("1.0", "1.0"))

    async def test_forged_addresses_are_refused(self) -> None:
        local_part, _, domain = self.address.partition("@")
        for address in (f"{local_part[:-2]}aa@{domain}", f"bounces@{domain}", f"{local_part}@example.org"):
            if address == self.address:
                continue
            self.assertEqual(await self.refusal(address), 550)
        self.assertIs((await self.delivery()).status, DeliveryStatus.DELIVERED)

    async def test_an_old_address_is_refused_when_its_key_was_deleted(self) -> None:
        await self.pool.execute("UPDATE bounce_keys SET created_at = created_at - interval '61 days'")
        await self.services.bounce_keys.delete_old()
        self.assertEqual(await self.refusal(self.address), 550)

    def test_without_the_setting_there_is_no_server(self) -> None:
        env = build_environment(reactor, parse(f"data_directory: {self.mktemp()}"))
        self.assertIsNone(build_bounce_server(env, self.services))
