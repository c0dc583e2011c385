"""Tests with a real mail server that is voxrec's relay and returns what it cannot deliver."""

import os

from twisted.trial.unittest import SkipTest

from tests.composition.test_mail import BounceTestCase
from tests.database import reactor, until
from tests.mail.mail_server import MailServer
from tests.mail.smtp_servers import Mailbox, RelayTestCase

MESSAGE = b"From: voxrec@voxrec.example\r\nSubject: Recording\r\nAuto-Submitted: auto-generated\r\n\r\nText\r\n"


class MailServerTestCase(BounceTestCase, RelayTestCase):
    """``far_end`` has the mailboxes that the server delivers to, on the port ``far_end_port``."""

    timeout = 240  # the first run builds the root file system

    async def setUp(self) -> None:  # type: ignore[override]
        if os.geteuid() != 0:
            raise SkipTest("a mail server changes its account, which only root can do")
        await super().setUp()
        self.far_end = Mailbox()
        self.far_end_port = await self.start_relay(self.far_end)

    async def start(self, server: MailServer) -> None:
        """Start the server, and kill it at the end of the test."""
        self.addCleanup(server.kill)
        await server.start(reactor)

    async def until_returned(self, server: MailServer) -> None:
        """Wait until voxrec has received a mail that the server returned."""
        try:
            await until(lambda: "voxrec_mails_returned_total{" in self.env.metrics.exposition().decode(), 60)
        except Exception:
            raise self.failureException(server.log_tail()) from None

    async def kill(self, server: MailServer) -> None:
        """Kill the server, and assert that it has left no process behind: it has changed its account."""
        server.kill()
        await until(lambda: not server.listens(), 10)
