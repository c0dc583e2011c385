"""Tests of voxrec.mail.smtp, against real servers on loopback."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorPluggableNameResolver, IReactorTCP
from twisted.internet.task import Clock, deferLater
from twisted.mail.imap4 import PLAINCredentials
from twisted.mail.smtp import LOGINCredentials
from zope.interface import directlyProvides

from tests.mail.relay import PASSWORD, USER, Mailbox, RelayTestCase, identity, reactor
from voxrec.errors import DeliveryError
from voxrec.mail.smtp import Refusal, Relay, SendResult, send

ANN, BOB, EVE = "ann@example.org", "bob@example.org", "eve@example.org"
SENDER = "voxrec@example.org"
MESSAGE = b"Subject: hello\r\n\r\n.one dot\r\n..two\r\nend\r\n"
BROKEN_CERTIFICATE = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


class ClockedReactor:
    """The real network under a Clock, so that waiting costs nothing."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.callLater = self.clock.callLater
        self.seconds = self.clock.seconds
        directlyProvides(self, IReactorPluggableNameResolver, IReactorTCP)

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


class SmtpTestCase(RelayTestCase):
    async def fault(self, relay: Relay, *recipients: str, using: Any = reactor) -> DeliveryError:
        try:
            result = await send(using, relay, SENDER, list(recipients or [ANN]), MESSAGE)
        except DeliveryError as fault:
            return fault
        raise self.failureException(f"no fault, but {result}")

    async def scripted(self, **answers: bytes | None) -> Relay:
        return Relay("127.0.0.1", await self.start_script(answers), timeout=5)


class Accepted(SmtpTestCase):
    async def test_one_letter_for_two(self) -> None:
        mailbox = Mailbox()
        relay = Relay("127.0.0.1", await self.start_relay(mailbox))
        result = await send(reactor, relay, SENDER, [ANN, BOB], MESSAGE)
        self.assertEqual(result, SendResult((ANN, BOB), (), "250 Delivery in progress"))
        self.assertEqual(mailbox.letters, [(ANN, MESSAGE), (BOB, MESSAGE)])
        self.assertEqual(mailbox.secure, [False])

    async def test_every_line_arrives_whatever_ends_it_and_however_it_is_cut(self) -> None:
        mailbox = Mailbox()
        relay = Relay("127.0.0.1", await self.start_relay(mailbox))
        # Lines of three bytes (two on disk) put dots and line ends on every side of a 16 KiB chunk's border.
        for line in (b".\n", b"..\n", b".\r\n", b".x\r\n", b"\r\n"):
            await send(reactor, relay, SENDER, [ANN], b"A: b\n\n" + line * 40_000)
            sent = (b"A: b\n\n" + line * 40_000).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
            self.assertEqual(mailbox.letters.pop()[1], sent)

    async def test_a_last_line_without_an_end_gets_one(self) -> None:
        mailbox = Mailbox()
        relay = Relay("127.0.0.1", await self.start_relay(mailbox))
        await send(reactor, relay, SENDER, [ANN], b"A: b\n\nend")
        self.assertEqual(mailbox.letters, [(ANN, b"A: b\r\n\r\nend\r\n")])

    async def test_who_hangs_up_at_quit_has_the_letter_all_the_same(self) -> None:
        result = await send(reactor, await self.scripted(QUIT=None), SENDER, [ANN], MESSAGE)
        self.assertEqual(result.accepted, (ANN,))


class Refused(SmtpTestCase):
    async def test_one_of_three(self) -> None:
        mailbox = Mailbox()
        mailbox.refusals[BOB] = (550, "no such user")
        relay = Relay("127.0.0.1", await self.start_relay(mailbox))
        result = await send(reactor, relay, SENDER, [ANN, BOB, EVE], MESSAGE)
        self.assertEqual(result.accepted, (ANN, EVE))
        self.assertEqual(result.refused, (Refusal(BOB, "550 no such user", permanent=True),))
        self.assertEqual([recipient for recipient, _ in mailbox.letters], [ANN, EVE])

    async def test_all(self) -> None:
        mailbox = Mailbox()
        mailbox.refusals = {ANN: (550, "no such user"), BOB: (451, "greylisted, come back")}
        relay = Relay("127.0.0.1", await self.start_relay(mailbox))
        result = await send(reactor, relay, SENDER, [ANN, BOB], MESSAGE)
        self.assertEqual(result.accepted, ())
        self.assertEqual([(one.recipient, one.permanent) for one in result.refused], [(ANN, True), (BOB, False)])
        self.assertEqual(mailbox.letters, [])

    async def test_too_many_recipients_is_no_refusal_for_ever(self) -> None:
        result = await send(reactor, await self.scripted(RCPT=b"552 too many\r\n"), SENDER, [ANN], MESSAGE)
        self.assertEqual(result.refused, (Refusal(ANN, "552 too many", permanent=False),))

    async def test_who_is_not_let_in_is_not_refused_for_ever(self) -> None:
        for word in ("MAIL", "RCPT", "DATA"):
            answers = {word: b"530 5.7.0 authentication required\r\n"}
            result = await send(reactor, await self.scripted(**answers), SENDER, [ANN], MESSAGE)
            self.assertEqual([one.permanent for one in result.refused], [False])

    async def test_the_sender(self) -> None:
        relay = await self.scripted(MAIL=b"550 not you\r\n")
        result = await send(reactor, relay, SENDER, [ANN, BOB], MESSAGE)
        self.assertEqual(result.refused, tuple(Refusal(one, "550 not you", permanent=True) for one in (ANN, BOB)))

    async def test_the_letter_after_it_was_sent(self) -> None:
        mailbox = Mailbox()
        mailbox.refusals[BOB] = (550, "no such user")
        mailbox.after_data = (451, b"disk full")
        relay = Relay("127.0.0.1", await self.start_relay(mailbox))
        result = await send(reactor, relay, SENDER, [ANN, BOB], MESSAGE)
        self.assertEqual(result.accepted, ())
        self.assertEqual(
            result.refused,
            (Refusal(BOB, "550 no such user", permanent=True), Refusal(ANN, "451 disk full", permanent=False)),
        )

    async def test_the_letter_before_it_was_sent(self) -> None:
        result = await send(reactor, await self.scripted(DATA=b"554 no\r\n"), SENDER, [ANN], MESSAGE)
        self.assertEqual(result.refused, (Refusal(ANN, "554 no", permanent=True),))

    async def test_the_letter_in_the_middle(self) -> None:
        relay = await self.scripted(line=b"552 too large\r\n")
        result = await send(reactor, relay, SENDER, [ANN], b"A: b\n\n" + b"x" * 70 * 1000 + b"\n" * 3_000_000)
        self.assertEqual(result.refused, (Refusal(ANN, "552 too large", permanent=True),))

    async def test_what_no_relay_could_take_is_not_asked_for(self) -> None:
        odd = ["b\u00fccher@example.org", "a b@example.org", "a@b@c", "<a@b>", "a@b\r\nRCPT TO:<eve@example.org>", ""]
        heard: list[str] = []
        relay = Relay("127.0.0.1", await self.start_script({}, heard))
        result = await send(reactor, relay, SENDER, [*odd, ANN], MESSAGE)
        self.assertEqual(result.accepted, (ANN,))
        self.assertEqual([(one.recipient, one.permanent) for one in result.refused], [(one, True) for one in odd])
        self.assertEqual(heard.count("RCPT"), 1)
        nobody = await send(reactor, Relay("127.0.0.1", 1), SENDER, odd, MESSAGE)
        self.assertEqual(nobody.accepted, ())

    async def test_a_sender_that_cannot_be_one(self) -> None:
        with self.assertRaises(DeliveryError) as caught:
            await send(reactor, Relay("127.0.0.1", 1), "a@b\r\nDATA", [ANN], MESSAGE)
        self.assertTrue(caught.exception.permanent)
        self.assertNotIn("\n", caught.exception.detail)

    async def test_what_the_relay_says_is_shown_and_not_obeyed(self) -> None:
        reply = b"550-first\r\n550 \x1b[2Jsecond\x00 \xff \xe2\x80\xae third " + b"x" * 5000 + b"\r\n"
        result = await send(reactor, await self.scripted(RCPT=reply), SENDER, [ANN], MESSAGE)
        told = result.refused[0].reply
        self.assertTrue(told.startswith("550 first \\x1b[2Jsecond\\x00 \\xff \\u202e third xxx"), told)
        self.assertEqual(len(told), 500)


class Broken(SmtpTestCase):
    async def test_nobody_there(self) -> None:
        fault = await self.fault(Relay("127.0.0.1", 1))
        self.assertFalse(fault.permanent)
        self.assertTrue(fault.detail.startswith("127.0.0.1:1 cannot be reached: Connection"), fault.detail)

    async def test_the_greeting_turns_us_away(self) -> None:
        for greeting in (b"421 busy\r\n", b"554 not here\r\n"):
            fault = await self.fault(await self.scripted(greeting=greeting))
            self.assertFalse(fault.permanent)
            self.assertIn(f"answered {greeting.decode().strip()}", fault.detail)

    async def test_the_connection_ends(self) -> None:
        for moment in ("greeting", "EHLO", "MAIL", "RCPT", "DATA", "line", "end"):
            fault = await self.fault(await self.scripted(**{moment: None}))
            self.assertFalse(fault.permanent)
            self.assertIn("closed the connection", fault.detail, moment)

    async def test_the_connection_ends_while_much_is_still_to_be_sent(self) -> None:
        relay = await self.scripted(line=None)
        with self.assertRaises(DeliveryError) as caught:
            await send(reactor, relay, SENDER, [ANN], b"A: b\n\n" + (b"x" * 70 + b"\n") * 300_000)
        self.assertFalse(caught.exception.permanent)

    async def test_yes_before_the_letter_was_sent_is_no_yes(self) -> None:
        for answers in ({"DATA": b"250 done\r\n"}, {"DATA": b"354 go\r\n250 done\r\n"}):
            with self.assertRaises(DeliveryError) as caught:
                await send(reactor, await self.scripted(**answers), SENDER, [ANN], b"A: b\n\n" + b"x" * 100_000)
            self.assertFalse(caught.exception.permanent)

    async def test_what_is_not_smtp(self) -> None:
        for answer in (b"SSH-2.0-OpenSSH\r\n", b"x" * 40_000, b"\x15\x03\x01\x00\x02\x02\x50\r\n"):
            fault = await self.fault(await self.scripted(greeting=answer))
            self.assertFalse(fault.permanent)
            self.assertTrue(fault.detail.isprintable())

    async def test_silence_at_any_moment(self) -> None:
        for moment in ("greeting", "EHLO", "MAIL", "RCPT", "DATA"):
            fault = await self.silent(moment, 61)
            self.assertIn("did not answer in time", fault.detail)

    async def test_the_end_is_waited_for_longer(self) -> None:
        fault = await self.silent("end", 301, 300)
        self.assertIn("did not answer in time", fault.detail)

    async def test_always_busy_but_never_done(self) -> None:
        relay = await self.scripted(greeting=b"220-wait\r\n")
        using = ClockedReactor()
        waiting = Deferred.fromCoroutine(self.fault(replace(relay, timeout=60, deadline=50), using=using))
        await deferLater(reactor, 0.05)
        using.clock.advance(51)
        fault = await waiting
        self.assertIn("took too long altogether", fault.detail)
        self.assertEqual(using.clock.getDelayedCalls(), [])

    async def silent(self, moment: str, *steps: float) -> DeliveryError:
        heard: list[str] = []
        port = await self.start_script({moment: b""}, heard)
        using = ClockedReactor()
        waiting = Deferred.fromCoroutine(self.fault(Relay("127.0.0.1", port, timeout=60), using=using))
        while moment not in heard:
            await deferLater(reactor, 0.01)
        for step in steps:
            self.assertFalse(waiting.called, moment)
            using.clock.advance(step)
        fault = await waiting
        self.assertEqual(using.clock.getDelayedCalls(), [])
        self.assertFalse(fault.permanent)
        return fault

    async def test_silence_after_quit_costs_a_few_seconds_and_no_letter(self) -> None:
        heard: list[str] = []
        using = ClockedReactor()
        relay = Relay("127.0.0.1", await self.start_script({"QUIT": b""}, heard))
        sending = Deferred.fromCoroutine(send(using, relay, SENDER, [ANN], MESSAGE))
        while "QUIT" not in heard:
            await deferLater(reactor, 0.01)
        using.clock.advance(5.1)
        self.assertEqual((await sending).accepted, (ANN,))
        self.assertEqual(using.clock.getDelayedCalls(), [])

    async def test_cancelled(self) -> None:
        heard: list[str] = []
        relay = Relay("127.0.0.1", await self.start_script({"MAIL": b""}, heard))
        sending = Deferred.fromCoroutine(send(reactor, relay, SENDER, [ANN], MESSAGE))
        while "MAIL" not in heard:
            await deferLater(reactor, 0.01)
        sending.cancel()
        await self.assertFailure(sending, CancelledError)


class Authenticated(SmtpTestCase):
    async def test_by_each_mechanism(self) -> None:
        for name, credentials in ((b"PLAIN", PLAINCredentials), (b"LOGIN", LOGINCredentials)):
            mailbox = Mailbox()
            port = await self.start_relay(mailbox, mechanisms={name: credentials})
            relay = Relay("127.0.0.1", port, username=USER, password=PASSWORD)
            self.assertEqual((await send(reactor, relay, SENDER, [ANN], MESSAGE)).accepted, (ANN,))
            self.assertEqual(mailbox.letters, [(ANN, MESSAGE)])

    async def test_a_wrong_password_can_be_put_right(self) -> None:
        for name, credentials in ((b"PLAIN", PLAINCredentials), (b"LOGIN", LOGINCredentials)):
            port = await self.start_relay(Mailbox(), mechanisms={name: credentials})
            fault = await self.fault(Relay("127.0.0.1", port, username=USER, password="wrong"))
            self.assertFalse(fault.permanent)
            self.assertIn("answered 535 Authentication failed", fault.detail)

    async def test_a_relay_without_authentication_does_not_get_the_letter(self) -> None:
        heard: list[str] = []
        for answers in ({}, {"EHLO": b"500 what?\r\n"}):
            port = await self.start_script(answers, heard)
            fault = await self.fault(Relay("127.0.0.1", port, username=USER, password=PASSWORD))
            self.assertFalse(fault.permanent)
        self.assertNotIn("MAIL", heard)

    async def test_no_fault_and_no_repr_tells_the_password(self) -> None:
        port = await self.start_script({"EHLO": b"250-x\r\n250 AUTH PLAIN\r\n", "AUTH": None})
        relay = Relay("127.0.0.1", port, username=USER, password=PASSWORD)
        fault = await self.fault(relay)
        self.assertNotIn(PASSWORD, fault.detail + repr(relay) + repr(fault.__cause__))
        self.assertNotIn("AUTH PLAIN", fault.detail)


class Encrypted(SmtpTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.identity = identity(self.directory)
        self.stranger = identity(self.directory, "elsewhere.example")
        self.mailbox = Mailbox()

    async def relay(self, **server: Any) -> Relay:
        port = await self.start_relay(self.mailbox, **server)
        tls = "implicit" if "implicit" in server else "starttls"
        return Relay("localhost", port, cast("Any", tls), ca_file=self.identity.ca_file, timeout=5)

    async def test_both_ways(self) -> None:
        for way in ("starttls", "implicit"):
            self.mailbox.letters.clear()
            relay = await self.relay(**{way: self.identity.context})
            self.assertEqual((await send(reactor, relay, SENDER, [ANN], MESSAGE)).accepted, (ANN,))
            self.assertEqual(self.mailbox.letters, [(ANN, MESSAGE)])
        self.assertEqual(self.mailbox.secure, [True, True])

    async def test_much_data_and_authentication(self) -> None:
        message = b"A: b\r\n\r\n" + (b"x" * 70 + b"\r\n") * 20_000
        for way in ("starttls", "implicit"):
            relay = await self.relay(**{way: self.identity.context}, mechanisms={b"PLAIN": PLAINCredentials})
            relay = replace(relay, username=USER, password=PASSWORD)
            self.assertEqual((await send(reactor, relay, SENDER, [ANN], message)).accepted, (ANN,))
            self.assertEqual(self.mailbox.letters.pop()[1], message)

    async def test_an_unknown_authority(self) -> None:
        for way in ("starttls", "implicit"):
            relay = replace(await self.relay(**{way: self.identity.context}), ca_file=None)
            fault = await self.fault(relay)
            self.assertFalse(fault.permanent)
            self.assertIn("certificate verify failed", fault.detail)
        self.assertEqual(self.mailbox.secure, [])

    async def test_a_certificate_for_another_host(self) -> None:
        for way in ("starttls", "implicit"):
            relay = replace(await self.relay(**{way: self.stranger.context}), ca_file=self.stranger.ca_file)
            fault = await self.fault(relay)
            self.assertFalse(fault.permanent)
            self.assertIn("VerificationError", fault.detail)
        self.assertEqual(self.mailbox.secure, [])

    async def test_starttls_that_is_not_offered(self) -> None:
        fault = await self.fault(await self.relay())
        self.assertFalse(fault.permanent)
        self.assertIn("does not offer STARTTLS", fault.detail)
        self.assertEqual(self.mailbox.secure, [])

    async def test_starttls_that_is_refused(self) -> None:
        heard: list[str] = []
        port = await self.start_script({"EHLO": b"250-x\r\n250 STARTTLS\r\n", "STARTTLS": b"454 later\r\n"}, heard)
        fault = await self.fault(Relay("localhost", port, "starttls", ca_file=self.identity.ca_file))
        self.assertFalse(fault.permanent)
        self.assertNotIn("MAIL", heard)

    async def test_words_smuggled_in_before_tls(self) -> None:
        answers = {"EHLO": b"250-x\r\n250 STARTTLS\r\n", "STARTTLS": b"220 go\r\n250 AUTH PLAIN\r\n"}
        port = await self.start_script(answers)
        fault = await self.fault(Relay("localhost", port, "starttls", ca_file=self.identity.ca_file))
        self.assertIn("in clear", fault.detail)

    async def test_no_tls_where_it_is_implied(self) -> None:
        port = await self.start_relay(self.mailbox)
        fault = await self.fault(Relay("localhost", port, "implicit", ca_file=self.identity.ca_file))
        self.assertFalse(fault.permanent)
        self.assertTrue(fault.detail.isprintable())

    async def test_a_ca_file_that_is_none(self) -> None:
        for name, content in (("missing", None), ("empty", ""), ("broken", BROKEN_CERTIFICATE)):
            fault = await self.fault(Relay("localhost", 1, "implicit", ca_file=self.file(name, content)))
            self.assertFalse(fault.permanent)
            self.assertIn(name, fault.detail)

    def file(self, name: str, content: str | None) -> Path:
        path = self.directory / name
        if content is not None:
            path.write_text(content)
        return path
