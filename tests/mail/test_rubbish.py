"""A relay that answers with anything at all: one verdict, soon, in one line, and never success by accident."""

import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from voxrec.errors import DeliveryError
from voxrec.mail.smtp import Relay, SendResult, _Envelope, _Session

_RELAY = Relay("relay.example", timeout=30)
_ANSWER = (
    st.binary(max_size=80)
    | st.builds(
        lambda code, dash, text: f"{code}{dash}".encode() + text,
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


class Wire(StringTransportWithDisconnection):
    """A transport in memory that can be cut."""

    def setTcpNoDelay(self, _: bool) -> None:  # noqa: N802 - Twisted's name
        pass

    def abortConnection(self) -> None:  # noqa: N802 - Twisted's name
        self.loseConnection()


class RubbishTests(SynchronousTestCase):
    def begin(self, clock: Clock) -> tuple[_Session, Wire, Deferred[SendResult]]:
        session = _Session(
            clock, _RELAY, _Envelope("a@example.org", ["b@example.org"], b"Subject: x\r\n\r\ny\r\n"), None
        )
        wire = Wire()
        wire.protocol = session
        session.makeConnection(wire)
        return session, wire, session.outcome

    @given(st.lists(_ANSWER, max_size=9), st.lists(st.integers(1, 7), max_size=4))
    @settings(derandomize=True, database=None, deadline=None, max_examples=300)
    def test_there_is_one_verdict_whatever_it_answers(self, answers: list[bytes], cuts: list[int]) -> None:
        clock = Clock()
        session, wire, outcome = self.begin(clock)
        told: list[Any] = []
        outcome.addBoth(told.append)
        for answer in answers:
            for piece in _pieces(answer + b"\r\n", cuts):
                if wire.connected:
                    session.dataReceived(piece)
        clock.pump([700, 700, 700])  # longer than it may be silent at any point
        if wire.connected:
            session.connectionLost(Failure(ConnectionDone()))
        (verdict,) = told
        if isinstance(verdict, Failure):
            verdict.trap(DeliveryError)
            assert isinstance(verdict.value, DeliveryError)
            self.assertTrue(verdict.value.detail.isprintable(), verdict.value.detail)
            self.assertLess(len(verdict.value.detail), 600)
        else:
            for refusal in verdict.refused:
                self.assertTrue(refusal.reply.isprintable(), refusal.reply)
            if verdict.accepted:
                self.assertRegex(wire.value(), re.compile(rb"\r\nDATA\r\n.*\r\n\.\r\n", re.DOTALL))
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_a_line_without_an_end_is_not_kept(self) -> None:
        session, wire, outcome = self.begin(Clock())
        for _ in range(1000):
            if wire.connected:
                session.dataReceived(b"2" * 1000)
        fault = self.failureResultOf(outcome, DeliveryError).value
        self.assertIn("too long", str(fault))

    def test_words_without_an_end_are_not_waited_for_for_ever(self) -> None:
        """A multi-line answer that goes on and on is cut off by the deadline; meanwhile little of it is kept."""
        clock = Clock()
        session, wire, outcome = self.begin(clock)
        for _ in range(20_000):
            session.dataReceived(b"220-more\r\n")
        self.assertNoResult(outcome)
        session.give_up("took too long altogether")
        self.failureResultOf(outcome, DeliveryError)
        self.assertFalse(wire.connected)


def _pieces(text: bytes, cuts: list[int]) -> list[bytes]:
    """The text as a network may bring it."""
    pieces = []
    for cut in cuts:
        pieces.append(text[:cut])
        text = text[cut:]
    return [piece for piece in [*pieces, text] if piece]
