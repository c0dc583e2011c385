"""Tests of voxrec.mail.smtp with arbitrary replies: one result, in limited time, and never success by accident."""

import re
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from voxrec.errors import DeliveryError
from voxrec.mail.envelope import Envelope, Relay, SendResult
from voxrec.mail.smtp_session import Session

RELAY: Final = Relay("relay.example", timeout=30)
REPLIES: Final = (
    st.binary(max_size=80)
    | st.builds(
        lambda code, separator, text: f"{code}{separator}".encode() + text,
        st.integers(0, 999),
        st.sampled_from([" ", "-", "", "\t"]),
        st.binary(max_size=40),
    )
    | st.sampled_from(
        [
            b"220 hello",
            b"250 ok",
            b"250-SIZE 1\r\n250 STARTTLS",
            b"354 go on",
            b"421 bye",
            b"550 no",
            b"535 who",
            b"250 " * 9000,
        ]
    )
)


class FakeTransport(StringTransportWithDisconnection):
    """A transport in memory with the methods that the session uses."""

    def setTcpNoDelay(self, _: bool) -> None:  # noqa: N802 - Twisted's name
        pass

    def abortConnection(self) -> None:  # noqa: N802 - Twisted's name
        self.loseConnection()


class InvalidReplyTests(SynchronousTestCase):
    def start_session(self, clock: Clock) -> tuple[Session, FakeTransport, Deferred[SendResult]]:
        session = Session(clock, RELAY, Envelope("a@example.org", ["b@example.org"], b"Subject: x\r\n\r\ny\r\n"), None)
        transport = FakeTransport()
        transport.protocol = session
        session.makeConnection(transport)
        return session, transport, session.outcome

    @given(st.lists(REPLIES, max_size=9), st.lists(st.integers(1, 7), max_size=4))
    @settings(derandomize=True, database=None, deadline=None, max_examples=300)
    def test_arbitrary_replies_have_one_result(self, replies: list[bytes], lengths: list[int]) -> None:
        clock = Clock()
        session, transport, outcome = self.start_session(clock)
        results: list[Any] = []
        outcome.addBoth(results.append)
        for reply in replies:
            for chunk in _split(reply + b"\r\n", lengths):
                if transport.connected:
                    session.dataReceived(chunk)
        clock.pump([700, 700, 700])  # longer than every timeout
        if transport.connected:
            session.connectionLost(Failure(ConnectionDone()))
        (result,) = results
        if isinstance(result, Failure):
            result.trap(DeliveryError)
            assert isinstance(result.value, DeliveryError)
            self.assertTrue(result.value.detail.isprintable(), result.value.detail)
            self.assertLess(len(result.value.detail), 600)
        else:
            for refusal in result.refused:
                self.assertTrue(refusal.reply.isprintable(), refusal.reply)
            if result.accepted:
                self.assertRegex(transport.value(), re.compile(rb"\r\nDATA\r\n.*\r\n\.\r\n", re.DOTALL))
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_line_without_end_is_limited(self) -> None:
        session, transport, outcome = self.start_session(Clock())
        for _ in range(1000):
            if transport.connected:
                session.dataReceived(b"2" * 1000)
        error = self.failureResultOf(outcome, DeliveryError).value
        self.assertIn("too long", str(error))

    def test_multi_line_reply_without_end_is_limited(self) -> None:
        session, transport, outcome = self.start_session(Clock())
        for _ in range(100):
            session.dataReceived(b"220-more\r\n")
        self.assertNoResult(outcome)
        session.dataReceived(b"220-more\r\n")
        error = self.failureResultOf(outcome, DeliveryError).value
        self.assertIn("sent a reply of more than 100 lines", str(error))
        self.assertFalse(transport.connected)


def _split(data: bytes, lengths: list[int]) -> list[bytes]:
    """Return the data in chunks, as a network may deliver it."""
    chunks = []
    for length in lengths:
        chunks.append(data[:length])
        data = data[length:]
    return [chunk for chunk in [*chunks, data] if chunk]
