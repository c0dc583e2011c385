"""Tests of voxrec.doctor.mail, with aiosmtpd, and of voxrec.doctor.mail_templates."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.mail.size_limited_relay import SizeLimitedRelay
from voxrec.config import Config, Mail
from voxrec.doctor.finding import Finding, Status
from voxrec.doctor.mail import check_mail
from voxrec.doctor.mail_templates import check_mail_templates


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
