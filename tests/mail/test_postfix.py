"""A real Postfix with the shipped etc/postfix/voxrec.cf: voxrec's relay, and the server that returns its mails."""

import smtplib
from pathlib import Path

from twisted.internet.protocol import ServerFactory
from twisted.internet.threads import deferToThread
from twisted.protocols.basic import LineReceiver

from tests.database import reactor, until
from tests.lossy_proxy import LossyProxy
from tests.mail.mail_server_test_case import MESSAGE, MailServerTestCase
from tests.mail.postfix import OUTSIDE, SIZE_LIMIT, Postfix
from voxrec.errors import DeliveryError
from voxrec.mail.envelope import SendResult
from voxrec.mail.smtp import Relay, send
from voxrec.model import DeliveryChannel, DeliveryStatus, ReportAction, WebhookEvent


class Greylisting(LineReceiver):
    """The policy server of Postfix: defers the first attempts of recipients whose name begins with "grey"."""

    delimiter = b"\n"

    def __init__(self, seen: set[bytes]) -> None:
        self._seen = seen
        self._recipient = b""

    def lineReceived(self, line: bytes) -> None:
        if line.startswith(b"recipient="):
            self._recipient = line.removeprefix(b"recipient=")
        elif not line:
            greylisted = self._recipient.startswith(b"grey") and self._recipient not in self._seen
            self._seen.add(self._recipient)
            self.sendLine(b"action=DEFER 4.7.1 greylisted\n" if greylisted else b"action=DUNNO\n")


class PostfixTests(MailServerTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        seen: set[bytes] = set()
        policy = ServerFactory.forProtocol(lambda: Greylisting(seen))
        self.postfix = Postfix(Path(self.mktemp()), self.far_end_port, self.port, await self.listen(policy))
        await self.start(self.postfix)

    async def submit(self, recipient: str, message: bytes = MESSAGE) -> SendResult:
        """Send a mail as voxrec does, with the envelope sender of this delivery, under TLS."""
        relay = Relay("127.0.0.1", self.postfix.port, tls="starttls", ca_file=self.postfix.certificate, timeout=30)
        return await send(reactor, relay, self.address, [recipient], message)

    async def test_a_mail_that_the_far_end_refuses_is_returned(self) -> None:
        await self.pool.execute("INSERT INTO webhooks (url) VALUES ('https://crm.example/')")
        self.far_end.refusals[self.ANN] = (550, "5.1.1 no such user")
        self.assertEqual((await self.submit(self.ANN)).accepted, (self.ANN,))
        await self.until_returned(self.postfix)
        deliveries = await self.services.delivery_history.of_recording(self.recording.id)
        (mail,) = [each for each in deliveries if each.channel is DeliveryChannel.MAIL]
        self.assertIs(mail.status, DeliveryStatus.FAILED)
        (report,) = mail.reports
        self.assertIs(report.action, ReportAction.FAILED)
        self.assertIn("550 5.1.1 no such user", report.reply)
        (webhook,) = [each for each in deliveries if each.channel is DeliveryChannel.WEBHOOK]
        self.assertEqual((webhook.target, webhook.event), ("https://crm.example/", WebhookEvent.DELIVERY_FAILED))
        await self.kill(self.postfix)

    async def test_an_address_that_the_far_end_cannot_have_is_returned(self) -> None:
        """Postfix has SMTPUTF8, and returns an international report (RFC 6533), because the far end has not."""
        recipient = "m\u00fcller@example.org"
        result = await self.submit(recipient, MESSAGE.replace(b"Recording", "Gespr\u00e4ch".encode()))
        self.assertEqual(result.accepted, (recipient,))
        await self.until_returned(self.postfix)
        (report,) = (await self.delivery()).reports
        self.assertIs(report.action, ReportAction.FAILED)
        self.assertIn("SMTPUTF8", report.reply)

    async def test_limits_and_greylisting_of_the_relay(self) -> None:
        (refusal,) = (
            await self.submit("big@example.org", MESSAGE + (b"x" * 70 + b"\r\n") * (SIZE_LIMIT // 70))
        ).refused
        self.assertTrue(refusal.permanent)
        self.assertTrue(refusal.too_large)
        (refusal,) = (await self.submit("grey@example.org")).refused
        self.assertFalse(refusal.permanent)
        self.assertIn("greylisted", refusal.reply)
        self.assertEqual((await self.submit("grey@example.org")).accepted, ("grey@example.org",))
        await until(lambda: self.received() == ["grey@example.org"])

    async def test_what_happens_to_each_recipient_of_a_mail(self) -> None:
        """Also if the relay's certificate is not trusted, or its last reply is lost."""
        untrusted = Relay("127.0.0.1", self.postfix.port, tls="starttls", timeout=30)
        with self.assertRaises(DeliveryError) as caught:
            await send(reactor, untrusted, self.address, ["bob@example.org"], MESSAGE)
        self.assertIn("certificate verify failed", caught.exception.detail)
        both = ["bob@example.org", "grey2@example.org"]
        result = await send(reactor, Relay("127.0.0.1", self.postfix.port, timeout=30), self.address, both, MESSAGE)
        self.assertEqual((result.accepted, [one.recipient for one in result.refused]), (("bob@example.org",), both[1:]))
        self.assertFalse(result.refused[0].permanent)
        proxy = LossyProxy(self.postfix.port, lambda data: data.endswith(b"\r\n.\r\n"))
        proxy.listen(reactor)
        self.addCleanup(proxy.stop)
        relay = Relay("127.0.0.1", proxy.listening_port, timeout=30)
        result = await send(reactor, relay, self.address, ["eve@example.org"], MESSAGE)
        self.assertEqual((result.accepted, result.unconfirmed), ((), ("eve@example.org",)))
        await until(lambda: self.received() == ["bob@example.org", "eve@example.org"])

    def received(self) -> list[str]:
        return sorted(recipient for recipient, _ in self.far_end.messages)

    async def test_forged_addresses_are_refused_during_the_session(self) -> None:
        """voxrec is asked whether it has signed an address before a message from outside is accepted."""

        def replies(*addresses: str) -> list[tuple[int, bytes]]:
            with smtplib.SMTP("127.0.0.1", self.postfix.port, source_address=(OUTSIDE, 0)) as client:
                client.ehlo()
                client.mail("")
                return [client.rcpt(address) for address in addresses]

        forged = self.address.replace("@", "x@")
        known, unknown, other = await deferToThread(replies, self.address, forged, "ann@example.org")
        self.assertEqual(known[0], 250, known)
        self.assertEqual(unknown[0], 550, unknown)
        self.assertIn(b"5.1.1", unknown[1])
        self.assertEqual(other[0], 454, other)  # it is no open relay
