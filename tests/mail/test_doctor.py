"""Tests of voxrec.doctor.mail, with aiosmtpd, of voxrec.doctor.bounces, mail_templates and mail_signature."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from twisted.internet.interfaces import IReactorTCP, IReactorUNIX
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.mail.key_pairs import make_certificate, private_pem, rsa_key
from tests.mail.size_limited_relay import SizeLimitedRelay
from tests.mail.smtp_servers import reactor
from tests.mail.test_bounce_server import FakeIntake
from tests.temporary import temporary_directory
from voxrec.config import Bounces, Config, Mail
from voxrec.doctor.bounces import check_bounces
from voxrec.doctor.finding import Finding, Status
from voxrec.doctor.mail import check_mail
from voxrec.doctor.mail_signature import check_mail_signature
from voxrec.doctor.mail_templates import check_mail_templates
from voxrec.errors import StoreUnavailable
from voxrec.mail.bounce_server import BounceFactory


class SenderTests(SynchronousTestCase):
    def check(self, sender: str, *, smtputf8: bool) -> Finding:
        self.relay = SizeLimitedRelay(smtputf8=smtputf8)
        port = self.relay.start()
        self.addCleanup(self.relay.stop)
        config = Config(mail=Mail(port=port, sender=sender))
        (finding,) = [one for one in check_mail(config) if one.check == "mail sender"]
        return finding

    def test_international_domain(self) -> None:
        finding = self.check("voxrec@b\u00fccher.example", smtputf8=False)
        self.assertEqual(finding.status, Status.OK)
        self.assertEqual(self.relay.senders, ["voxrec@xn--bcher-kva.example"])

    def test_relay_with_smtputf8(self) -> None:
        finding = self.check("b\u00fccher@example.org", smtputf8=True)
        self.assertEqual(finding.status, Status.OK)
        self.assertEqual(self.relay.senders, ["b\u00fccher@example.org"])

    def test_relay_without_smtputf8(self) -> None:
        finding = self.check("b\u00fccher@example.org", smtputf8=False)
        self.assertEqual(finding.status, Status.FAILED)
        self.assertIn("needs the extension SMTPUTF8, which the relay does not offer", finding.detail)
        self.assertEqual(self.relay.senders, [])


class TemplatesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()

    def check(self) -> list[tuple[Status, str]]:
        config = Config(mail=Mail(templates=str(self.directory)))
        return [(finding.status, finding.detail) for finding in check_mail_templates(config)]

    def test_without_the_setting(self) -> None:
        self.assertEqual([*check_mail_templates(Config())], [])

    def test_missing_directory(self) -> None:
        self.assertEqual(self.check(), [(Status.WARNING, f"{self.directory}: there is no such directory")])

    def test_valid_templates(self) -> None:
        (self.directory / "sales").mkdir(parents=True)
        (self.directory / "sales" / "message.txt").write_text("{{ profile.name }} {{ recording.duration }}")
        self.assertEqual(self.check(), [(Status.OK, f"those in {self.directory} and of 1 sets are valid")])

    def test_errors_of_each_set_and_language(self) -> None:
        (self.directory / "sales").mkdir(parents=True)
        (self.directory / "subject.de.txt").write_text("{{ colour }}")
        (self.directory / "sales" / "subject.txt").write_text("\n{% if %}")
        (self.directory / "sales" / "subject.de.txt").write_text("fine")
        problems = [
            f"{self.directory}/subject.de.txt line 1: 'colour' is undefined",
            f"{self.directory}/sales/subject.txt line 2: Expected an expression, got 'end of statement block'",
        ]
        self.assertEqual(self.check(), [(Status.WARNING, problem) for problem in problems])


class BounceAddressTests(SynchronousTestCase):
    def check(self) -> list[Finding]:
        relay = SizeLimitedRelay(smtputf8=False)
        port = relay.start()
        self.addCleanup(relay.stop)
        config = Config(mail=Mail(port=port), bounces=Bounces(address="bounces@voxrec.example"))
        self.relay = relay
        return [one for one in check_mail(config) if one.check == "bounce address"]

    def test_the_relay_accepts_a_bounce_address_as_sender(self) -> None:
        (finding,) = self.check()
        self.assertEqual(finding.status, Status.OK)
        self.assertRegex(self.relay.senders[-1], r"^bounces\+[a-z2-7]{48}@voxrec\.example$")


class BounceServerTests(TestCase):
    def listen(self, intake: Any) -> int:
        port: Any = cast("IReactorTCP", reactor).listenTCP(0, BounceFactory(reactor, intake), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    async def check(self, listen: str) -> Finding:
        config = Config(bounces=Bounces(address="bounces@voxrec.example", listen=listen))
        (finding,) = await deferToThread(lambda: [*check_bounces(config)])
        return finding

    async def test_a_server_that_responds(self) -> None:
        port = self.listen(FakeIntake())
        finding = await self.check(f"tcp:{port}:interface=127.0.0.1")
        self.assertEqual((finding.status, finding.detail), (Status.OK, f"tcp:{port}:interface=127.0.0.1 responds"))

    async def test_a_unix_socket(self) -> None:
        path = str(temporary_directory("bounces") / "bounces.sock")
        port: Any = cast("IReactorUNIX", reactor).listenUNIX(path, BounceFactory(reactor, FakeIntake()))
        self.addCleanup(port.stopListening)
        finding = await self.check(f"unix:{path}:mode=660")
        self.assertEqual(finding.status, Status.OK)

    async def test_a_server_without_database(self) -> None:
        intake = FakeIntake()
        intake.error = StoreUnavailable("away")
        finding = await self.check(f"tcp:{self.listen(intake)}:interface=127.0.0.1")
        self.assertEqual(finding.status, Status.FAILED)
        self.assertIn("451", finding.detail)

    async def test_nothing_listens(self) -> None:
        finding = await self.check("tcp:1:interface=127.0.0.1")
        self.assertEqual(finding.status, Status.FAILED)
        self.assertIn("Connection refused", finding.detail)

    async def test_without_settings(self) -> None:
        self.assertEqual([*check_bounces(Config())], [])
        self.assertEqual((await self.check("")).status, Status.WARNING)


class MailSignatureTests(SynchronousTestCase):
    """The certificate that signs mails."""

    def check(self, certificate: bytes, mode: int = 0o600) -> list[tuple[Status, str]]:
        directory = Path(self.mktemp())
        directory.mkdir()
        files = directory / "certificate.pem", directory / "key.pem"
        files[0].write_bytes(certificate)
        files[1].write_bytes(private_pem(rsa_key()))
        files[1].chmod(mode)
        mail = Mail(signing_certificate=str(files[0]), signing_key=str(files[1]), sender="Desk@example.org")
        return [(finding.status, finding.detail) for finding in check_mail_signature(Config(mail=mail))]

    def test_states(self) -> None:
        sender, now = "desk@example.org", datetime.now(UTC)
        ((status, detail),) = self.check(make_certificate(sender))
        self.assertIs(status, Status.OK)
        self.assertIn("the certificate is valid until ", detail)
        ((status, detail),) = self.check(make_certificate(sender, expires_at=now + timedelta(days=29)))
        self.assertIs(status, Status.WARNING)
        ((status, detail),) = self.check(make_certificate(sender, expires_at=now - timedelta(minutes=1)))
        self.assertIs(status, Status.FAILED)
        (status, detail), _ = self.check(make_certificate("ann@example.org"))
        self.assertIs(status, Status.WARNING)
        self.assertIn("names ann@example.org, not mail.sender Desk@example.org", detail)
        ((status, detail),) = self.check(make_certificate(sender), 0o604)
        self.assertIs(status, Status.FAILED)
        self.assertEqual([*check_mail_signature(Config())], [])
