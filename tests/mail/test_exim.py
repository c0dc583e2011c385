"""Mails that a real mail server returns: Exim, with the shipped etc/exim/voxrec.conf."""

import os
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.composition.test_mail import BounceTestCase
from tests.database import reactor, until
from tests.mail.exim import Exim
from tests.mail.smtp_servers import Mailbox, RelayTestCase
from voxrec.mail.smtp import Relay, send
from voxrec.model import DeliveryStatus, ReportAction

MESSAGE = b"From: voxrec@voxrec.example\r\nSubject: Recording\r\nAuto-Submitted: auto-generated\r\n\r\nText\r\n"


class EximTests(BounceTestCase, RelayTestCase):
    timeout = 240  # the first run builds the root file system

    async def setUp(self) -> None:  # type: ignore[override]
        if os.geteuid() != 0:
            raise SkipTest("Exim changes its account, which only root can do")
        await super().setUp()
        self.far_end = Mailbox()
        far_end_port = await self.start_relay(self.far_end)
        self.exim = Exim(Path(self.mktemp()), far_end_port, self.port)
        self.addCleanup(self.exim.kill)
        await self.exim.start(reactor)

    async def send_mail(self, sender: str, recipient: str) -> None:
        result = await send(reactor, Relay("127.0.0.1", self.exim.port, timeout=30), sender, [recipient], MESSAGE)
        self.assertEqual(result.accepted, (recipient,), result)

    async def test_a_mail_that_the_far_end_refuses_is_returned(self) -> None:
        self.far_end.refusals[self.ANN] = (550, "5.1.1 no such user")
        await self.send_mail(self.address, self.ANN)
        try:
            await until(lambda: "voxrec_mails_returned_total{" in self.env.metrics.exposition().decode(), 60)
        except Exception:
            raise self.failureException(self.exim.log_tail()) from None
        delivery = await self.delivery()
        self.assertIs(delivery.status, DeliveryStatus.FAILED)
        (report,) = delivery.reports
        self.assertEqual((report.action, report.remote_mta), (ReportAction.FAILED, "127.0.0.1"))
        self.assertIn("550 5.1.1 no such user", report.reply)
        self.assertIn(self.ANN, report.reply)
        self.exim.kill()
        await until(lambda: not self.exim.listens(), 10)  # it has changed its account, and left no process behind
