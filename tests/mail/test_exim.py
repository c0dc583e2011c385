"""Mails that a real mail server returns: Exim, with the shipped etc/exim/voxrec.conf."""

from pathlib import Path

from tests.database import reactor
from tests.mail.exim import Exim
from tests.mail.mail_server_test_case import MESSAGE, MailServerTestCase
from voxrec.mail.smtp import Relay, send
from voxrec.model import DeliveryStatus, ReportAction


class EximTests(MailServerTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.exim = Exim(Path(self.mktemp()), self.far_end_port, self.port)
        await self.start(self.exim)

    async def send_mail(self, sender: str, recipient: str) -> None:
        result = await send(reactor, Relay("127.0.0.1", self.exim.port, timeout=30), sender, [recipient], MESSAGE)
        self.assertEqual(result.accepted, (recipient,), result)

    async def test_a_mail_that_the_far_end_refuses_is_returned(self) -> None:
        self.far_end.refusals[self.ANN] = (550, "5.1.1 no such user")
        await self.send_mail(self.address, self.ANN)
        await self.until_returned(self.exim)
        delivery = await self.delivery()
        self.assertIs(delivery.status, DeliveryStatus.FAILED)
        (report,) = delivery.reports
        self.assertEqual((report.action, report.remote_mta), (ReportAction.FAILED, "127.0.0.1"))
        self.assertIn("550 5.1.1 no such user", report.reply)
        self.assertIn(self.ANN, report.reply)
        await self.kill(self.exim)
