"""Tests of voxrec.sandbox.mailbox: real SMTP sessions over the loopback interface."""

import smtplib
from collections.abc import Callable
from pathlib import Path
from typing import cast

from twisted.internet import reactor as installed_reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from voxrec.sandbox.asterisk import SandboxReactor
from voxrec.sandbox.mailbox import LOOPBACK, Faults, Mailbox

reactor = cast("SandboxReactor", installed_reactor)
ANN, BOB, SENDER = "ann@example.org", "bob@example.org", "voxrec@example.org"
MAIL = "Subject: hello\r\n\r\n.one dot\r\nend\r\n"


class MailboxTestCase(TestCase):
    def make_mailbox(self, faults: Faults | None = None) -> Mailbox:
        mailbox = Mailbox(Path(self.mktemp()), faults or Faults())
        mailbox.listen(reactor)
        self.addCleanup(mailbox.stop)
        return mailbox

    async def send(self, mailbox: Mailbox, *recipients: str, timeout: float = 10) -> dict[str, tuple[int, bytes]]:
        """Send a mail with smtplib in a thread, and return the rejected recipients."""

        def send() -> dict[str, tuple[int, bytes]]:
            with smtplib.SMTP(LOOPBACK, mailbox.port, "localhost", timeout) as client:
                return client.sendmail(SENDER, list(recipients or [ANN]), MAIL)

        return await deferToThread(send)

    async def exception_from(self, kind: type[Exception], act: Callable[[], object]) -> Exception:
        try:
            await act()  # type: ignore[misc]
        except kind as error:
            return error
        raise self.failureException(f"no {kind.__name__} was raised")


class StorageTests(MailboxTestCase):
    async def test_a_mail_is_stored_as_a_file(self) -> None:
        mailbox = self.make_mailbox()
        self.assertEqual(await self.send(mailbox), {})
        [message] = await mailbox.wait_for(reactor)
        self.assertEqual(
            (message["Subject"], message["Delivered-To"], message["Return-Path"]), ("hello", ANN, f"<{SENDER}>")
        )
        self.assertEqual(message.get_content(), ".one dot\r\nend\r\n")
        self.assertEqual([path.name for path in mailbox.directory.iterdir()], ["1.eml"])

    async def test_each_recipients_copy_is_stored_under_its_own_number(self) -> None:
        mailbox = self.make_mailbox()
        await self.send(mailbox, ANN, BOB)
        await self.send(mailbox, ANN)
        self.assertEqual([path.name for path in mailbox.paths()], ["1.eml", "2.eml", "3.eml"])
        self.assertEqual([message["Delivered-To"] for message in mailbox.messages()], [ANN, BOB, ANN])

    async def test_numbering_continues_after_existing_files(self) -> None:
        mailbox = self.make_mailbox()
        (mailbox.directory / "10.eml").write_bytes(MAIL.encode())
        (mailbox.directory / "9.eml").write_bytes(MAIL.encode())
        await self.send(mailbox)
        self.assertEqual([path.name for path in mailbox.paths()], ["9.eml", "10.eml", "11.eml"])

    async def test_wait_for_returns_after_its_timeout(self) -> None:
        self.assertEqual(await self.make_mailbox().wait_for(reactor, seconds=0.05), [])


class FaultTests(MailboxTestCase):
    async def test_a_recipient_is_rejected_permanently(self) -> None:
        mailbox = self.make_mailbox(Faults(reject=frozenset([BOB])))
        rejected = await self.send(mailbox, ANN, BOB)
        self.assertEqual([(name, code) for name, (code, _) in rejected.items()], [(BOB, 550)])
        self.assertEqual([message["Delivered-To"] for message in mailbox.messages()], [ANN])

    async def test_greylisting_rejects_the_first_attempt_only(self) -> None:
        mailbox = self.make_mailbox(Faults(greylist=1))
        error = await self.exception_from(smtplib.SMTPRecipientsRefused, lambda: self.send(mailbox))
        assert isinstance(error, smtplib.SMTPRecipientsRefused)
        self.assertEqual(error.recipients[ANN][0], 451)
        self.assertEqual(await self.send(mailbox), {})

    async def test_unavailable_rejects_the_first_connection_only(self) -> None:
        mailbox = self.make_mailbox(Faults(unavailable=1))
        error = await self.exception_from(smtplib.SMTPConnectError, lambda: self.send(mailbox))
        assert isinstance(error, smtplib.SMTPConnectError)
        self.assertEqual(error.smtp_code, 421)
        self.assertEqual(await self.send(mailbox), {})

    async def test_a_dropped_mail_is_not_stored(self) -> None:
        mailbox = self.make_mailbox(Faults(drop=1))
        await self.exception_from(smtplib.SMTPServerDisconnected, lambda: self.send(mailbox))
        self.assertEqual(list(mailbox.directory.iterdir()), [])
        self.assertEqual(await self.send(mailbox), {})

    async def test_a_hanging_connection_never_responds(self) -> None:
        mailbox = self.make_mailbox(Faults(hang=1))
        await self.exception_from(OSError, lambda: self.send(mailbox, timeout=0.2))
        self.assertEqual(await self.send(mailbox), {})
