"""Tests of voxrec.mail.bounce_server: with the LMTP client of Python, and line by line."""

import smtplib
from collections.abc import Callable
from typing import Any, TypeVar, cast
from uuid import UUID

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTCP
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.mail.smtp_servers import reactor
from voxrec.bounce_address import BounceToken
from voxrec.errors import StoreUnavailable
from voxrec.mail.bounce_server import KEPT_BYTES, MAX_BYTES, MAX_CONNECTIONS, MAX_MESSAGES, BounceFactory

TOKEN = BounceToken(UUID(int=1), 1, 1, b"0123456789")
ADDRESS = "bounces+signed@voxrec.example"
MESSAGE = b"From: MAILER-DAEMON@example.org\r\n\r\n.a line\r\nend\r\n"
T = TypeVar("T")


class FakeIntake:
    """Knows one address, and keeps what it receives."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.error: Exception | None = None
        self.waiting: Deferred[None] | None = None

    async def find_token(self, address: str) -> BounceToken | None:
        if self.waiting is not None:
            await self.waiting
        if self.error is not None:
            raise self.error
        return TOKEN if address == ADDRESS else None

    async def receive(self, token: BounceToken, data: bytes) -> None:
        assert token is TOKEN
        if self.error is not None:
            raise self.error
        self.received.append(data)


class ClientTests(TestCase):
    def setUp(self) -> None:
        self.intake = FakeIntake()
        port: Any = cast("IReactorTCP", reactor).listenTCP(
            0, BounceFactory(reactor, self.intake), interface="127.0.0.1"
        )
        self.addCleanup(port.stopListening)
        self.port = port.getHost().port

    def with_client(self, work: Callable[[smtplib.SMTP], T], client_type: type[smtplib.SMTP]) -> Deferred[T]:
        def run() -> T:
            with client_type("127.0.0.1", self.port) as client:
                return work(client)

        return deferToThread(run)

    async def test_a_report_by_lmtp(self) -> None:
        refused = await self.with_client(lambda client: client.sendmail("", [ADDRESS], MESSAGE), smtplib.LMTP)
        self.assertEqual(refused, {})
        self.assertEqual(self.intake.received, [MESSAGE.replace(b"\r\n", b"\n")])

    async def test_a_report_by_smtp(self) -> None:
        await self.with_client(lambda client: client.sendmail("", [ADDRESS], MESSAGE), smtplib.SMTP)
        self.assertEqual(len(self.intake.received), 1)

    async def test_several_reports_in_one_session(self) -> None:
        def send_three(client: smtplib.SMTP) -> None:
            for _ in range(3):
                client.sendmail("", [ADDRESS], MESSAGE)

        await self.with_client(send_three, smtplib.LMTP)
        self.assertEqual(len(self.intake.received), 3)

    async def test_other_recipients_are_refused(self) -> None:
        error = await self.failing("", ["postmaster@voxrec.example"])
        self.assertEqual(error.recipients["postmaster@voxrec.example"][0], 550)

    async def failing(self, sender: str, recipients: list[str]) -> Any:
        def work(client: smtplib.SMTP) -> Any:
            try:
                client.sendmail(sender, recipients, MESSAGE)
            except smtplib.SMTPException as error:
                return error
            raise AssertionError("the message was accepted")

        return await self.with_client(work, smtplib.LMTP)

    async def test_mail_with_a_sender_is_refused(self) -> None:
        error = await self.failing("ann@example.org", [ADDRESS])
        self.assertEqual(error.smtp_code, 550)
        self.assertEqual(self.intake.received, [])

    async def test_an_unavailable_database_is_temporary(self) -> None:
        self.intake.error = StoreUnavailable("PostgreSQL is away")
        error = await self.failing("", [ADDRESS])
        self.assertEqual(error.recipients[ADDRESS][0], 451)


class ServerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.intake = FakeIntake()
        self.factory = BounceFactory(self.clock, self.intake)
        self.transport, self.protocol = self.connect()

    def connect(self) -> tuple[StringTransport, Any]:
        transport = StringTransport(peerAddress=UNIXAddress(None))
        protocol = self.factory.buildProtocol(None)
        assert protocol is not None
        protocol.makeConnection(transport)
        return transport, protocol

    def send(self, *lines: bytes) -> bytes:
        """Send lines and return the replies."""
        self.transport.clear()
        self.protocol.dataReceived(b"".join(line + b"\r\n" for line in lines))
        return bytes(self.transport.value())

    def codes(self, *lines: bytes) -> list[int]:
        return [int(line[:3]) for line in self.send(*lines).splitlines() if line[3:4] == b" "]

    def begin_data(self) -> None:
        codes = self.codes(b"LHLO mx", b"MAIL FROM:<> SIZE=100", b"RCPT TO:<%s>" % ADDRESS.encode(), b"DATA")
        self.assertEqual(codes, [250, 250, 250, 354])

    def test_extensions(self) -> None:
        reply = self.send(b"LHLO mx.voxrec.example")
        for extension in (b"250-8BITMIME", b"250-SMTPUTF8", b"250 SIZE %d" % MAX_BYTES):
            self.assertIn(extension, reply)
        self.assertNotIn(b"AUTH", reply)
        self.assertNotIn(b"PIPELINING", reply)

    def test_a_second_recipient_is_deferred(self) -> None:
        recipient = b"RCPT TO:<%s>" % ADDRESS.encode()
        self.assertEqual(self.codes(b"LHLO mx", b"MAIL FROM:<>", recipient, recipient), [250, 250, 250, 452])

    def test_a_recipient_after_a_refused_one(self) -> None:
        commands = (b"LHLO mx", b"MAIL FROM:<>", b"RCPT TO:<no@voxrec.example>", b"RCPT TO:<%s>" % ADDRESS.encode())
        self.assertEqual(self.codes(*commands), [250, 250, 550, 250])

    def test_a_new_transaction_may_have_a_recipient(self) -> None:
        recipient = b"RCPT TO:<%s>" % ADDRESS.encode()
        codes = self.codes(b"LHLO mx", b"MAIL FROM:<>", recipient, b"RSET", b"MAIL FROM:<>", recipient)
        self.assertEqual(codes, [250, 250, 250, 250, 250, 250])

    def test_unusual_commands(self) -> None:
        self.assertEqual(
            self.codes(b"NOOP", b"AUTH PLAIN", b"STARTTLS", b"EXPN list", b"", b"QUIT"), [250, 500, 500, 500, 500, 221]
        )

    def test_a_recipient_that_is_not_ascii(self) -> None:
        self.assertEqual(self.codes(b"LHLO mx", b"MAIL FROM:<>", b'RCPT TO:<"\xff"@voxrec.example>')[-1], 550)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_only_the_beginning_of_a_large_message_is_kept(self) -> None:
        self.begin_data()
        line = b"x" * 998
        for _ in range(KEPT_BYTES // 1000 * 4):
            self.protocol.dataReceived(line + b"\r\n")
        self.assertEqual(self.codes(b"."), [250])
        (data,) = self.intake.received
        self.assertLess(abs(len(data) - KEPT_BYTES), 2000)

    def test_a_message_that_is_too_large_is_refused(self) -> None:
        self.begin_data()
        line = b"x" * 60_000 + b"\r\n"
        for _ in range(MAX_BYTES // len(line) + 1):
            self.protocol.dataReceived(line)
        self.assertEqual(self.codes(b"."), [552])
        self.assertEqual(self.intake.received, [])

    def test_an_overlong_line_ends_the_session(self) -> None:
        """Otherwise the rest of the message would be taken for commands."""
        self.begin_data()
        self.assertEqual(self.codes(b"x" * 70_000, b"RSET"), [500])
        self.assertTrue(self.transport.disconnecting)

    def test_an_error_while_a_report_is_stored_is_temporary(self) -> None:
        for error, expected in ((StoreUnavailable("away"), 451), (RuntimeError("a bug"), 451)):
            self.intake.error = None
            self.begin_data()
            self.intake.error = error
            self.assertEqual(self.codes(b"Subject: x", b"", b"."), [expected])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_an_unexpected_error_of_an_address_is_temporary(self) -> None:
        self.intake.error = RuntimeError("a bug")
        self.assertEqual(self.codes(b"LHLO mx", b"MAIL FROM:<>", b"RCPT TO:<a@b.example>"), [250, 250, 451])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_too_many_messages_are_deferred(self) -> None:
        self.send(b"LHLO mx")
        for _ in range(MAX_MESSAGES):
            self.assertEqual(self.codes(b"MAIL FROM:<>", b"RSET"), [250, 250])
        self.assertEqual(self.codes(b"MAIL FROM:<>"), [451])
        self.clock.advance(60)
        self.assertEqual(self.codes(b"MAIL FROM:<>"), [250])

    def test_too_many_connections_are_closed(self) -> None:
        others = [self.connect() for _ in range(MAX_CONNECTIONS - 1)]
        self.assertIsNone(self.factory.buildProtocol(None))
        transport, protocol = others[0]
        protocol.connectionLost()
        self.connect()
        self.assertIsNone(self.factory.buildProtocol(None))
        self.assertFalse(transport.disconnecting)

    def test_a_silent_client_is_disconnected(self) -> None:
        self.clock.advance(299)
        self.assertFalse(self.transport.disconnecting)
        self.clock.advance(1)
        self.assertTrue(self.transport.disconnecting)

    def test_a_message_that_never_ends(self) -> None:
        """Its client keeps one of the connections, of which there is a limited number."""
        self.begin_data()
        for _ in range(12):
            self.clock.advance(299)
            self.send(b"x")
        self.assertFalse(self.transport.disconnecting)
        self.clock.advance(299)
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.intake.received, [])

    def test_a_connection_that_is_lost_within_a_message(self) -> None:
        self.begin_data()
        self.send(b"Subject: half")
        self.protocol.connectionLost()
        self.assertEqual(self.intake.received, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
