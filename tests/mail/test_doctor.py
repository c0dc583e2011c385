"""Tests of voxrec.doctor.mail, with aiosmtpd."""

from twisted.trial.unittest import SynchronousTestCase

from tests.mail.size_limited_relay import SizeLimitedRelay
from voxrec.config import Config, Mail
from voxrec.doctor.finding import Finding, Status
from voxrec.doctor.mail import check_mail


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
