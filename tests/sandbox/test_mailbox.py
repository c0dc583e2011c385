"""Tests of voxrec.sandbox.mailbox: a real SMTP conversation over the loopback."""

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
LETTER = "Subject: hello\r\n\r\n.one dot\r\nend\r\n"


class MailboxTestCase(TestCase):
    def open(self, faults: Faults | None = None) -> Mailbox:
        mailbox = Mailbox(Path(self.mktemp()), faults or Faults())
        mailbox.listen(reactor)
        self.addCleanup(mailbox.stop)
        return mailbox

    async def send(self, mailbox: Mailbox, *recipients: str, timeout: float = 10) -> dict[str, tuple[int, bytes]]:
        """Send with Python's own client, in a thread since it blocks; return the recipients that were refused."""

        def send() -> dict[str, tuple[int, bytes]]:
            with smtplib.SMTP(LOOPBACK, mailbox.port, "localhost", timeout) as client:
                return client.sendmail(SENDER, list(recipients or [ANN]), LETTER)

        return await deferToThread(send)

    async def fault(self, kind: type[Exception], act: Callable[[], object]) -> Exception:
        try:
            await act()  # type: ignore[misc]
        except kind as fault:
            return fault
        raise self.failureException(f"no {kind.__name__}")


class Keeping(MailboxTestCase):
    async def test_a_mail_is_a_file(self) -> None:
        mailbox = self.open()
        self.assertEqual(await self.send(mailbox), {})
        [message] = await mailbox.wait_for(reactor)
        self.assertEqual(
            (message["Subject"], message["Delivered-To"], message["Return-Path"]), ("hello", ANN, f"<{SENDER}>")
        )
        self.assertEqual(message.get_content(), ".one dot\r\nend\r\n")
        self.assertEqual([path.name for path in mailbox.directory.iterdir()], ["1.eml"])

    async def test_each_recipient_has_a_copy_and_each_copy_a_number(self) -> None:
        mailbox = self.open()
        await self.send(mailbox, ANN, BOB)
        await self.send(mailbox, ANN)
        self.assertEqual([path.name for path in mailbox.paths()], ["1.eml", "2.eml", "3.eml"])
        self.assertEqual([message["Delivered-To"] for message in mailbox.messages()], [ANN, BOB, ANN])

    async def test_numbers_go_on_where_an_earlier_mailbox_stopped(self) -> None:
        mailbox = self.open()
        (mailbox.directory / "10.eml").write_bytes(LETTER.encode())
        (mailbox.directory / "9.eml").write_bytes(LETTER.encode())
        await self.send(mailbox)
        self.assertEqual([path.name for path in mailbox.paths()], ["9.eml", "10.eml", "11.eml"])

    async def test_waiting_ends_when_nothing_comes(self) -> None:
        self.assertEqual(await self.open().wait_for(reactor, seconds=0.05), [])


class Misbehaving(MailboxTestCase):
    async def test_a_recipient_that_is_not_there(self) -> None:
        mailbox = self.open(Faults(reject=frozenset([BOB])))
        refused = await self.send(mailbox, ANN, BOB)
        self.assertEqual([(name, code) for name, (code, _) in refused.items()], [(BOB, 550)])
        self.assertEqual([message["Delivered-To"] for message in mailbox.messages()], [ANN])

    async def test_greylisted_once(self) -> None:
        mailbox = self.open(Faults(greylist=1))
        fault = await self.fault(smtplib.SMTPRecipientsRefused, lambda: self.send(mailbox))
        assert isinstance(fault, smtplib.SMTPRecipientsRefused)
        self.assertEqual(fault.recipients[ANN][0], 451)
        self.assertEqual(await self.send(mailbox), {})

    async def test_unavailable_once(self) -> None:
        mailbox = self.open(Faults(unavailable=1))
        fault = await self.fault(smtplib.SMTPConnectError, lambda: self.send(mailbox))
        assert isinstance(fault, smtplib.SMTPConnectError)
        self.assertEqual(fault.smtp_code, 421)
        self.assertEqual(await self.send(mailbox), {})

    async def test_cut_off_in_the_middle_of_a_mail(self) -> None:
        mailbox = self.open(Faults(drop=1))
        await self.fault(smtplib.SMTPServerDisconnected, lambda: self.send(mailbox))
        self.assertEqual(list(mailbox.directory.iterdir()), [])
        self.assertEqual(await self.send(mailbox), {})

    async def test_silence(self) -> None:
        mailbox = self.open(Faults(hang=1))
        await self.fault(OSError, lambda: self.send(mailbox, timeout=0.2))
        self.assertEqual(await self.send(mailbox), {})
