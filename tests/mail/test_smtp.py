"""Tests of voxrec.mail.smtp, with servers on loopback."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorPluggableNameResolver, IReactorTCP
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread
from twisted.mail.imap4 import PLAINCredentials
from twisted.mail.smtp import LOGINCredentials
from twisted.protocols.basic import LineOnlyReceiver
from zope.interface import directlyProvides

from tests.database import until
from tests.mail.size_limited_relay import SizeLimitedRelay
from tests.mail.smtp_servers import PASSWORD, USER, Mailbox, RelayTestCase, make_certificate, reactor
from tests.subtest import subtest
from voxrec.errors import DeliveryError
from voxrec.mail import smtp_session
from voxrec.mail.envelope import Envelope
from voxrec.mail.smtp import Refusal, Relay, SendResult, send, verify

ANN, BOB, EVE = "ann@example.org", "bob@example.org", "eve@example.org"
SENDER = "voxrec@example.org"
UTF8 = "m\u00fcller@b\u00fccher.example"
MESSAGE = b"Subject: hello\r\n\r\n.one dot\r\n..two\r\nend\r\n"
BROKEN_CERTIFICATE = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


class ClockedReactor:
    """The reactor's network with a Clock, so that timeouts need no time."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.callLater = self.clock.callLater
        self.seconds = self.clock.seconds
        directlyProvides(self, IReactorPluggableNameResolver, IReactorTCP)

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


class SmtpTestCase(RelayTestCase):
    async def send_and_fail(self, relay: Relay, *recipients: str) -> DeliveryError:
        outcome = await self.outcome(relay, *recipients)
        assert isinstance(outcome, DeliveryError), outcome
        return outcome

    async def outcome(self, relay: Relay, *recipients: str, clock_reactor: Any = reactor) -> SendResult | DeliveryError:
        try:
            return await send(clock_reactor, relay, SENDER, list(recipients or [ANN]), MESSAGE)
        except DeliveryError as error:
            return error

    async def scripted_relay(self, **replies: bytes | None) -> Relay:
        return Relay("127.0.0.1", await self.start_scripted_server(replies), timeout=30)


class AcceptedTests(SmtpTestCase):
    async def test_two_recipients(self) -> None:
        mailbox = Mailbox()
        relay = Relay("127.0.0.1", await self.start_relay(mailbox))
        result = await send(reactor, relay, SENDER, [ANN, BOB], MESSAGE)
        self.assertEqual(result, SendResult((ANN, BOB), (), "250 Delivery in progress"))
        self.assertEqual(mailbox.messages, [(ANN, MESSAGE), (BOB, MESSAGE)])
        self.assertEqual(mailbox.secure, [False])

    async def test_line_ends_and_dots_at_chunk_borders(self) -> None:
        mailbox = Mailbox()
        relay = Relay("127.0.0.1", await self.start_relay(mailbox))
        # lines of two to four bytes have dots and line ends on both sides of the borders of 16 KiB chunks
        for line in (b".\n", b"..\n", b".\r\n", b".x\r\n", b"\r\n"):
            await send(reactor, relay, SENDER, [ANN], b"A: b\n\n" + line * 40_000)
            expected = (b"A: b\n\n" + line * 40_000).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
            self.assertEqual(mailbox.messages.pop()[1], expected)

    async def test_last_line_without_line_end(self) -> None:
        mailbox = Mailbox()
        relay = Relay("127.0.0.1", await self.start_relay(mailbox))
        await send(reactor, relay, SENDER, [ANN], b"A: b\n\nend")
        self.assertEqual(mailbox.messages, [(ANN, b"A: b\r\n\r\nend\r\n")])

    async def test_connection_closed_at_quit_is_success(self) -> None:
        result = await send(reactor, await self.scripted_relay(QUIT=None), SENDER, [ANN], MESSAGE)
        self.assertEqual(result.accepted, (ANN,))


class InternationalTests(SmtpTestCase):
    """Addresses with other characters than ASCII, with aiosmtpd."""

    async def start(self, *, smtputf8: bool) -> tuple[Relay, SizeLimitedRelay]:
        server = SizeLimitedRelay(smtputf8=smtputf8)
        port = await deferToThread(server.start)
        self.addCleanup(deferToThread, server.stop)
        return Relay("127.0.0.1", port, timeout=30), server

    async def test_domains_need_no_extension(self) -> None:
        relay, server = await self.start(smtputf8=False)
        addresses = ["ann@b\u00fccher.example", "bob@\u4f8b\u3048.example"]
        result = await send(reactor, relay, "voxrec@stra\u00dfe.example", addresses, MESSAGE)
        self.assertEqual((result.accepted, result.refused), (tuple(addresses), ()))
        self.assertEqual([*server.messages], ["ann@xn--bcher-kva.example", "bob@xn--r8jz45g.example"])
        self.assertEqual(server.senders, ["voxrec@xn--strae-oqa.example"])

    async def test_smtputf8(self) -> None:
        relay, server = await self.start(smtputf8=True)
        message = "To: m\u00fcller@example.org\r\n\r\nbody\r\n".encode()
        result = await send(reactor, relay, UTF8, [UTF8, ANN], message)
        self.assertEqual(result.accepted, (UTF8, ANN))
        self.assertEqual(server.messages, {"m\u00fcller@xn--bcher-kva.example": [message], ANN: [message]})
        self.assertEqual(server.senders, ["m\u00fcller@xn--bcher-kva.example"])
        self.assertEqual(server.mail_options, [[f"SIZE={len(message)}", "BODY=8BITMIME", "SMTPUTF8"]])
        verified = await verify(reactor, relay, SENDER, [UTF8])
        self.assertEqual((verified.accepted, verified.refused), ((UTF8,), ()))

    async def test_the_extension_is_not_used_without_need(self) -> None:
        relay, server = await self.start(smtputf8=True)
        await send(reactor, relay, SENDER, ["ann@b\u00fccher.example"], MESSAGE)
        self.assertEqual(server.mail_options, [[f"SIZE={len(MESSAGE)}"]])


class RefusedTests(SmtpTestCase):
    async def test_one_of_three_recipients(self) -> None:
        mailbox = Mailbox()
        mailbox.refusals[BOB] = (550, "no such user")
        relay = Relay("127.0.0.1", await self.start_relay(mailbox))
        result = await send(reactor, relay, SENDER, [ANN, BOB, EVE], MESSAGE)
        self.assertEqual(result.accepted, (ANN, EVE))
        self.assertEqual(result.refused, (Refusal(BOB, "550 no such user", permanent=True),))
        self.assertEqual([recipient for recipient, _ in mailbox.messages], [ANN, EVE])

    async def test_all_recipients(self) -> None:
        mailbox = Mailbox()
        mailbox.refusals = {ANN: (550, "no such user"), BOB: (451, "greylisted, come back")}
        relay = Relay("127.0.0.1", await self.start_relay(mailbox))
        result = await send(reactor, relay, SENDER, [ANN, BOB], MESSAGE)
        self.assertEqual(result.accepted, ())
        self.assertEqual(
            [(refusal.recipient, refusal.permanent) for refusal in result.refused], [(ANN, True), (BOB, False)]
        )
        self.assertEqual(mailbox.messages, [])

    async def test_too_many_recipients_is_temporary(self) -> None:
        result = await send(reactor, await self.scripted_relay(RCPT=b"552 too many\r\n"), SENDER, [ANN], MESSAGE)
        self.assertEqual(result.refused, (Refusal(ANN, "552 too many", permanent=False, too_large=True),))

    async def test_missing_authentication_is_temporary(self) -> None:
        for command in ("MAIL", "RCPT", "DATA"):
            replies = {command: b"530 5.7.0 authentication required\r\n"}
            result = await send(reactor, await self.scripted_relay(**replies), SENDER, [ANN], MESSAGE)
            self.assertEqual([refusal.permanent for refusal in result.refused], [False])

    async def test_refused_sender(self) -> None:
        relay = await self.scripted_relay(MAIL=b"550 not you\r\n")
        result = await send(reactor, relay, SENDER, [ANN, BOB], MESSAGE)
        self.assertEqual(result.refused, tuple(Refusal(one, "550 not you", permanent=True) for one in (ANN, BOB)))

    async def test_message_refused_after_the_data(self) -> None:
        mailbox = Mailbox()
        mailbox.refusals[BOB] = (550, "no such user")
        mailbox.reply_to_data_end = (451, b"disk full")
        relay = Relay("127.0.0.1", await self.start_relay(mailbox))
        result = await send(reactor, relay, SENDER, [ANN, BOB], MESSAGE)
        self.assertEqual(result.accepted, ())
        self.assertEqual(
            result.refused,
            (Refusal(BOB, "550 no such user", permanent=True), Refusal(ANN, "451 disk full", permanent=False)),
        )

    async def test_message_refused_before_the_data(self) -> None:
        result = await send(reactor, await self.scripted_relay(DATA=b"554 no\r\n"), SENDER, [ANN], MESSAGE)
        self.assertEqual(result.refused, (Refusal(ANN, "554 no", permanent=True),))

    async def test_message_refused_during_the_data(self) -> None:
        relay = await self.scripted_relay(line=b"552 too large\r\n")
        result = await send(reactor, relay, SENDER, [ANN], b"A: b\n\n" + b"x" * 70 * 1000 + b"\n" * 3_000_000)
        self.assertEqual(result.refused, (Refusal(ANN, "552 too large", permanent=True, too_large=True),))

    async def test_invalid_addresses_are_not_sent(self) -> None:
        invalid = [
            "a b@example.org",
            "a@b@c",
            "<a@b>",
            "a@b\r\nRCPT TO:<eve@example.org>",
            "",
        ]
        commands: list[str] = []
        relay = Relay("127.0.0.1", await self.start_scripted_server({}, commands))
        result = await send(reactor, relay, SENDER, [*invalid, ANN], MESSAGE)
        self.assertEqual(result.accepted, (ANN,))
        self.assertEqual(
            [(refusal.recipient, refusal.permanent) for refusal in result.refused],
            [(address, True) for address in invalid],
        )
        self.assertEqual(commands.count("RCPT"), 1)
        result = await send(reactor, Relay("127.0.0.1", 1), SENDER, invalid, MESSAGE)
        self.assertEqual(result.accepted, ())

    async def test_without_smtputf8_only_what_is_ascii_is_sent(self) -> None:
        commands: list[str] = []
        relay = Relay("127.0.0.1", await self.start_scripted_server({}, commands))
        for addresses in ([UTF8, ANN], [UTF8]):
            commands.clear()
            result = await send(reactor, relay, SENDER, addresses, MESSAGE)
            self.assertEqual(result.accepted, tuple(addresses[1:]))
            (refusal,) = result.refused
            self.assertEqual((refusal.recipient, refusal.permanent, refusal.too_large), (UTF8, True, False))
            self.assertIn("need a mail relay with SMTPUTF8 (RFC 6531)", refusal.reply)
            self.assertEqual(commands.count("RCPT"), len(addresses) - 1)
            self.assertEqual(commands.count("DATA"), len(addresses) - 1)
        verified = await verify(reactor, relay, SENDER, [UTF8, ANN])
        self.assertEqual((verified.accepted, [one.recipient for one in verified.refused]), ((ANN,), [UTF8]))

    async def test_without_smtputf8_no_sender_or_message_in_utf8_is_sent(self) -> None:
        commands: list[str] = []
        relay = Relay("127.0.0.1", await self.start_scripted_server({}, commands))
        for sender, message in ((UTF8, MESSAGE), (SENDER, "To: \u00fc@example.org\r\n\r\n".encode())):
            result = await send(reactor, relay, sender, [ANN, BOB], message)
            self.assertEqual([(one.recipient, one.permanent) for one in result.refused], [(ANN, True), (BOB, True)])
        self.assertNotIn("MAIL", commands)

    async def test_invalid_sender(self) -> None:
        with self.assertRaises(DeliveryError) as caught:
            await send(reactor, Relay("127.0.0.1", 1), "a@b\r\nDATA", [ANN], MESSAGE)
        self.assertTrue(caught.exception.permanent)
        self.assertNotIn("\n", caught.exception.detail)

    async def test_control_characters_in_replies_are_escaped(self) -> None:
        reply = b"550-first\r\n550 \x1b[2Jsecond\x00 \xff \xe2\x80\xae third " + b"x" * 5000 + b"\r\n"
        result = await send(reactor, await self.scripted_relay(RCPT=reply), SENDER, [ANN], MESSAGE)
        reason = result.refused[0].reply
        self.assertTrue(reason.startswith("550 first \\x1b[2Jsecond\\x00 \\xff \\u202e third xxx"), reason)
        self.assertEqual(len(reason), 500)


class FailedSessionTests(SmtpTestCase):
    async def test_connection_refused(self) -> None:
        error = await self.send_and_fail(Relay("127.0.0.1", 1))
        self.assertFalse(error.permanent)
        self.assertTrue(error.detail.startswith("127.0.0.1:1: connection failed: Connection"), error.detail)

    async def test_negative_greeting(self) -> None:
        for greeting in (b"421 busy\r\n", b"554 not here\r\n"):
            error = await self.send_and_fail(await self.scripted_relay(greeting=greeting))
            self.assertFalse(error.permanent)
            self.assertIn(f"replied {greeting.decode().strip()}", error.detail)

    async def test_connection_lost(self) -> None:
        for command in ("greeting", "EHLO", "MAIL", "RCPT", "DATA"):
            error = await self.send_and_fail(await self.scripted_relay(**{command: None}))
            self.assertFalse(error.permanent)
            self.assertIn("closed the connection", error.detail, command)

    async def test_connection_lost_after_the_data_leaves_the_outcome_open(self) -> None:
        for command, reply in (
            ("end", None),
            ("end", b"354 more\r\n"),
            ("end", b"hello\r\n"),
            ("end", b"x" * 20_000),
            ("line", None),  # the whole of a short message has been sent by then
        ):
            with subtest((command, reply)):
                relay = await self.scripted_relay(**{command: reply})
                result = await send(reactor, relay, SENDER, [ANN, BOB], MESSAGE)
                self.assertEqual((result.accepted, result.refused, result.unconfirmed), ((), (), (ANN, BOB)))
                self.assertTrue(result.reply.startswith(f"127.0.0.1:{relay.port}: "), result.reply)
                self.assertTrue(result.reply.endswith(", after it had received the mail"), result.reply)

    async def test_replies_to_rcpt_are_certain_even_if_that_to_the_data_is_lost(self) -> None:
        mailbox = Mailbox()
        mailbox.refusals[BOB] = (550, "no such user")
        mailbox.closes_at_data_end = True
        relay = Relay("127.0.0.1", await self.start_relay(mailbox))
        result = await send(reactor, relay, SENDER, [ANN, BOB], MESSAGE)
        self.assertEqual([recipient for recipient, _ in mailbox.messages], [ANN])
        self.assertEqual((result.accepted, result.unconfirmed), ((), (ANN,)))
        self.assertEqual(result.refused, (Refusal(BOB, "550 no such user", permanent=True),))

    async def test_connection_lost_while_sending_a_large_message(self) -> None:
        relay = await self.scripted_relay(line=None)
        with self.assertRaises(DeliveryError) as caught:
            await send(reactor, relay, SENDER, [ANN], b"A: b\n\n" + (b"x" * 70 + b"\n") * 300_000)
        self.assertFalse(caught.exception.permanent)

    async def test_success_reply_before_the_end_of_the_data_is_an_error(self) -> None:
        for replies in ({"DATA": b"250 done\r\n"}, {"DATA": b"354 go\r\n250 done\r\n"}):
            with self.assertRaises(DeliveryError) as caught:
                await send(reactor, await self.scripted_relay(**replies), SENDER, [ANN], b"A: b\n\n" + b"x" * 100_000)
            self.assertFalse(caught.exception.permanent)

    async def test_other_protocols(self) -> None:
        for greeting in (b"SSH-2.0-OpenSSH\r\n", b"x" * 40_000, b"\x15\x03\x01\x00\x02\x02\x50\r\n"):
            error = await self.send_and_fail(await self.scripted_relay(greeting=greeting))
            self.assertFalse(error.permanent)
            self.assertTrue(error.detail.isprintable())

    async def test_idle_timeout(self) -> None:
        for command in ("greeting", "EHLO", "MAIL", "RCPT", "DATA"):
            error = await self.run_into_timeout(command, 61)
            assert isinstance(error, DeliveryError), error
            self.assertFalse(error.permanent)
            self.assertIn("did not answer in time", error.detail)

    async def test_timeout_after_the_data_is_longer(self) -> None:
        result = await self.run_into_timeout("end", 301, 300)
        assert isinstance(result, SendResult), result
        self.assertEqual(result.unconfirmed, (ANN,))
        self.assertIn("did not answer in time", result.reply)

    async def test_deadline(self) -> None:
        commands: list[str] = []
        port = await self.start_scripted_server({"greeting": b"220-wait\r\n"}, commands)
        relay = Relay("127.0.0.1", port, timeout=60, deadline=50)
        clock_reactor = ClockedReactor()
        sending = Deferred.fromCoroutine(self.outcome(relay, clock_reactor=clock_reactor))
        await until(lambda: "greeting" in commands)
        clock_reactor.clock.advance(51)
        error = await sending
        assert isinstance(error, DeliveryError), error
        self.assertIn("session exceeded its deadline of 50 s", error.detail)
        self.assertEqual(clock_reactor.clock.getDelayedCalls(), [])

    async def run_into_timeout(self, command: str, *steps: float) -> SendResult | DeliveryError:
        commands: list[str] = []
        port = await self.start_scripted_server({command: b""}, commands)
        clock_reactor = ClockedReactor()
        relay = Relay("127.0.0.1", port, timeout=60)
        sending = Deferred.fromCoroutine(self.outcome(relay, clock_reactor=clock_reactor))
        while command not in commands:
            await deferLater(reactor, 0.01)
        for step in steps:
            self.assertFalse(sending.called, command)
            clock_reactor.clock.advance(step)
        outcome = await sending
        self.assertEqual(clock_reactor.clock.getDelayedCalls(), [])
        return outcome

    async def test_timeout_after_quit_is_short_and_success(self) -> None:
        commands: list[str] = []
        clock_reactor = ClockedReactor()
        relay = Relay("127.0.0.1", await self.start_scripted_server({"QUIT": b""}, commands))
        sending = Deferred.fromCoroutine(send(clock_reactor, relay, SENDER, [ANN], MESSAGE))
        while "QUIT" not in commands:
            await deferLater(reactor, 0.01)
        clock_reactor.clock.advance(5.1)
        self.assertEqual((await sending).accepted, (ANN,))
        self.assertEqual(clock_reactor.clock.getDelayedCalls(), [])

    async def test_cancel(self) -> None:
        commands: list[str] = []
        relay = Relay("127.0.0.1", await self.start_scripted_server({"MAIL": b""}, commands))
        sending = Deferred.fromCoroutine(send(reactor, relay, SENDER, [ANN], MESSAGE))
        while "MAIL" not in commands:
            await deferLater(reactor, 0.01)
        sending.cancel()
        await self.assertFailure(sending, CancelledError)


class HostileRelayTests(SmtpTestCase):
    async def test_endless_greeting(self) -> None:
        for line in (b"220-more\r\n", b"000 more\r\n"):
            error = await self.send_and_fail(await self.scripted_relay(greeting=line * 10_000))
            self.assertIn("sent a reply of more than 100 lines", error.detail)
            self.assertFalse(error.permanent)

    async def test_endless_reply_to_ehlo(self) -> None:
        error = await self.send_and_fail(await self.scripted_relay(EHLO=b"250-X\r\n" * 10_000))
        self.assertIn("sent a reply of more than 100 lines", error.detail)

    async def test_endless_line(self) -> None:
        error = await self.send_and_fail(await self.scripted_relay(greeting=b"2" * 2_000_000))
        self.assertIn("sent a line that is too long for SMTP", error.detail)

    async def test_many_long_lines(self) -> None:
        error = await self.send_and_fail(await self.scripted_relay(EHLO=(b"250-" + b"x" * 12_000 + b"\r\n") * 99))
        self.assertIn("sent more than 1048576 bytes", error.detail)

    async def test_endless_authentication(self) -> None:
        port = await self.listen(Factory.forProtocol(_ChallengingServer))
        error = await self.send_and_fail(Relay("127.0.0.1", port, username=USER, password=PASSWORD, timeout=30))
        self.assertIn("sent more than 4 authentication challenges", error.detail)
        self.assertFalse(error.permanent)

    async def test_lines_of_a_reply_do_not_prolong_its_timeout(self) -> None:
        for chunk in (b"220-more\r\n", b"2"):
            dribbling = _DribblingServer(chunk)
            factory: Factory[Any] = Factory.forProtocol(partial(_identity, dribbling))
            relay = Relay("127.0.0.1", await self.listen(factory), timeout=60)
            clock_reactor = ClockedReactor()
            sending = Deferred.fromCoroutine(self.outcome(relay, clock_reactor=clock_reactor))
            await dribbling.accepted
            for _ in range(7):
                self.assertFalse(sending.called)
                await dribbling.send()
                clock_reactor.clock.advance(10)
            error = await sending
            assert isinstance(error, DeliveryError), error
            self.assertIn("did not answer in time", error.detail)


class _ChallengingServer(LineOnlyReceiver):
    """Answers every line of an authentication with a challenge."""

    def connectionMade(self) -> None:
        self.sendLine(b"220 hello")

    def lineReceived(self, line: bytes) -> None:
        self.sendLine(b"250 AUTH LOGIN" if line.startswith(b"EHLO") else b"334 VXNlcm5hbWU6")


def _identity(protocol: Protocol) -> Protocol:
    return protocol


class _DribblingServer(Protocol):
    """Sends a chunk on request, and nothing else."""

    def __init__(self, chunk: bytes) -> None:
        self._chunk = chunk
        self.accepted: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self.accepted.callback(None)

    async def send(self) -> None:
        """Send the chunk, and wait until the client has probably read it."""
        assert self.transport is not None
        self.transport.write(self._chunk)
        await deferLater(reactor, 0.02)


class UnencryptedPasswordTests(SmtpTestCase):
    async def test_password_is_not_sent_to_another_host(self) -> None:
        commands: list[str] = []
        port = await self.start_scripted_server({"EHLO": b"250-x\r\n250 AUTH PLAIN LOGIN CRAM-MD5\r\n"}, commands)
        self.patch(smtp_session, "is_loopback_address", lambda _address: False)
        error = await self.send_and_fail(Relay("127.0.0.1", port, username=USER, password=PASSWORD))
        self.assertIn("is not encrypted, so the password is not sent", error.detail)
        self.assertFalse(error.permanent)
        self.assertEqual(commands, ["greeting", "EHLO", "QUIT"])

    async def test_password_is_sent_under_tls(self) -> None:
        certificate = make_certificate(Path(self.mktemp()).parent)
        self.patch(smtp_session, "is_loopback_address", lambda _address: False)
        for mode in ("starttls", "implicit"):
            mailbox = Mailbox()
            tls: Any = {mode: certificate.context}
            port = await self.start_relay(mailbox, mechanisms={b"PLAIN": PLAINCredentials}, **tls)
            relay = Relay("localhost", port, cast("Any", mode), USER, PASSWORD, 5, ca_file=certificate.ca_file)
            self.assertEqual((await send(reactor, relay, SENDER, [ANN], MESSAGE)).accepted, (ANN,))


class SizeTests(SmtpTestCase):
    async def test_message_is_not_sent_if_it_exceeds_the_limit(self) -> None:
        for extension in (b"SIZE 20", b"size 20", b"SIZE  20 more"):
            commands: list[str] = []
            port = await self.start_scripted_server({"EHLO": b"250-x\r\n250 " + extension + b"\r\n"}, commands)
            result = await send(reactor, Relay("127.0.0.1", port), SENDER, [ANN, BOB], MESSAGE)
            reply = f"the message has {len(MESSAGE)} bytes; the relay accepts at most 20"
            self.assertEqual(
                result.refused, tuple(Refusal(one, reply, permanent=True, too_large=True) for one in (ANN, BOB))
            )
            self.assertEqual(commands, ["greeting", "EHLO", "QUIT"])

    async def test_no_limit(self) -> None:
        for extension in (b"SIZE", b"SIZE 0", b"SIZE many", b"SIZE -1", b"SIZE " + b"9" * 300, b"PIPELINING"):
            port = await self.start_scripted_server({"EHLO": b"250-x\r\n250 " + extension + b"\r\n"})
            result = await send(reactor, Relay("127.0.0.1", port), SENDER, [ANN], MESSAGE)
            self.assertEqual(result.accepted, (ANN,))

    def test_size_of_a_message(self) -> None:
        for message, size in ((b"a\r\nb\r\n", 6), (b"a\nb\n", 6), (b"a\nb", 6), (b".\n", 3), (b"", 2)):
            self.assertEqual(Envelope(SENDER, [ANN], message).size, size)


class AuthenticationTests(SmtpTestCase):
    async def test_each_mechanism(self) -> None:
        for name, credentials in ((b"PLAIN", PLAINCredentials), (b"LOGIN", LOGINCredentials)):
            mailbox = Mailbox()
            port = await self.start_relay(mailbox, mechanisms={name: credentials})
            relay = Relay("127.0.0.1", port, username=USER, password=PASSWORD)
            self.assertEqual((await send(reactor, relay, SENDER, [ANN], MESSAGE)).accepted, (ANN,))
            self.assertEqual(mailbox.messages, [(ANN, MESSAGE)])

    async def test_wrong_password_is_temporary(self) -> None:
        for name, credentials in ((b"PLAIN", PLAINCredentials), (b"LOGIN", LOGINCredentials)):
            port = await self.start_relay(Mailbox(), mechanisms={name: credentials})
            error = await self.send_and_fail(Relay("127.0.0.1", port, username=USER, password="wrong"))
            self.assertFalse(error.permanent)
            self.assertIn("replied 535 Authentication failed", error.detail)

    async def test_relay_without_authentication_gets_no_message(self) -> None:
        commands: list[str] = []
        for replies in ({}, {"EHLO": b"500 what?\r\n"}):
            port = await self.start_scripted_server(replies, commands)
            error = await self.send_and_fail(Relay("127.0.0.1", port, username=USER, password=PASSWORD))
            self.assertFalse(error.permanent)
        self.assertNotIn("MAIL", commands)

    async def test_password_is_in_no_error_and_no_repr(self) -> None:
        port = await self.start_scripted_server({"EHLO": b"250-x\r\n250 AUTH PLAIN\r\n", "AUTH": None})
        relay = Relay("127.0.0.1", port, username=USER, password=PASSWORD)
        error = await self.send_and_fail(relay)
        self.assertNotIn(PASSWORD, error.detail + repr(relay) + repr(error.__cause__))
        self.assertNotIn("AUTH PLAIN", error.detail)


class TLSTests(SmtpTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.certificate = make_certificate(self.directory)
        self.other_certificate = make_certificate(self.directory, "elsewhere.example")
        self.mailbox = Mailbox()

    async def start_tls_relay(self, **server: Any) -> Relay:
        port = await self.start_relay(self.mailbox, **server)
        tls = "implicit" if "implicit" in server else "starttls"
        return Relay("localhost", port, cast("Any", tls), ca_file=self.certificate.ca_file, timeout=30)

    async def test_starttls_and_implicit_tls(self) -> None:
        for mode in ("starttls", "implicit"):
            self.mailbox.messages.clear()
            relay = await self.start_tls_relay(**{mode: self.certificate.context})
            self.assertEqual((await send(reactor, relay, SENDER, [ANN], MESSAGE)).accepted, (ANN,))
            self.assertEqual(self.mailbox.messages, [(ANN, MESSAGE)])
        self.assertEqual(self.mailbox.secure, [True, True])

    async def test_large_message_with_authentication(self) -> None:
        message = b"A: b\r\n\r\n" + (b"x" * 70 + b"\r\n") * 20_000
        for mode in ("starttls", "implicit"):
            relay = await self.start_tls_relay(
                **{mode: self.certificate.context}, mechanisms={b"PLAIN": PLAINCredentials}
            )
            relay = replace(relay, username=USER, password=PASSWORD)
            self.assertEqual((await send(reactor, relay, SENDER, [ANN], message)).accepted, (ANN,))
            self.assertEqual(self.mailbox.messages.pop()[1], message)

    async def test_unknown_certificate_authority(self) -> None:
        for mode in ("starttls", "implicit"):
            relay = replace(await self.start_tls_relay(**{mode: self.certificate.context}), ca_file=None)
            error = await self.send_and_fail(relay)
            self.assertFalse(error.permanent)
            self.assertIn("certificate verify failed", error.detail)
        self.assertEqual(self.mailbox.secure, [])

    async def test_certificate_of_another_host(self) -> None:
        for mode in ("starttls", "implicit"):
            relay = replace(
                await self.start_tls_relay(**{mode: self.other_certificate.context}),
                ca_file=self.other_certificate.ca_file,
            )
            error = await self.send_and_fail(relay)
            self.assertFalse(error.permanent)
            self.assertIn("VerificationError", error.detail)
        self.assertEqual(self.mailbox.secure, [])

    async def test_starttls_not_offered(self) -> None:
        error = await self.send_and_fail(await self.start_tls_relay())
        self.assertFalse(error.permanent)
        self.assertIn("does not offer STARTTLS", error.detail)
        self.assertEqual(self.mailbox.secure, [])

    async def test_starttls_refused(self) -> None:
        commands: list[str] = []
        port = await self.start_scripted_server(
            {"EHLO": b"250-x\r\n250 STARTTLS\r\n", "STARTTLS": b"454 later\r\n"}, commands
        )
        error = await self.send_and_fail(Relay("localhost", port, "starttls", ca_file=self.certificate.ca_file))
        self.assertFalse(error.permanent)
        self.assertNotIn("MAIL", commands)

    async def test_data_injected_before_tls(self) -> None:
        replies = {"EHLO": b"250-x\r\n250 STARTTLS\r\n", "STARTTLS": b"220 go\r\n250 AUTH PLAIN\r\n"}
        port = await self.start_scripted_server(replies)
        error = await self.send_and_fail(Relay("localhost", port, "starttls", ca_file=self.certificate.ca_file))
        self.assertIn("unencrypted data", error.detail)

    async def test_implicit_tls_with_a_server_without_tls(self) -> None:
        port = await self.start_relay(self.mailbox)
        error = await self.send_and_fail(Relay("localhost", port, "implicit", ca_file=self.certificate.ca_file))
        self.assertFalse(error.permanent)
        self.assertTrue(error.detail.isprintable())

    async def test_invalid_ca_file(self) -> None:
        for name, content in (("missing", None), ("empty", ""), ("broken", BROKEN_CERTIFICATE)):
            error = await self.send_and_fail(Relay("localhost", 1, "implicit", ca_file=self.write_file(name, content)))
            self.assertFalse(error.permanent)
            self.assertIn(name, error.detail)

    def write_file(self, name: str, content: str | None) -> Path:
        path = self.directory / name
        if content is not None:
            path.write_text(content)
        return path
