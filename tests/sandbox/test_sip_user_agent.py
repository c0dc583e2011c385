"""Tests of voxrec.sandbox.sip_user_agent without a peer: what it answers, and when."""

from collections.abc import Sequence
from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import FakeDatagramTransport
from twisted.trial.unittest import SynchronousTestCase

from voxrec.sandbox.sip_user_agent import OK, SipMessage, SipResponse, SipUserAgent

PEER = ("127.0.0.1", 5060)


class _Port:
    def getHost(self) -> Any:
        return type("Address", (), {"port": 5070})


class _Reactor(Clock):
    def listenUDP(self, *_args: object, **_options: object) -> _Port:  # noqa: N802
        return _Port()


class ResponseTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = _Reactor()
        self.agent = SipUserAgent(PEER)
        self.agent.listen(self.clock)
        self.transport = self.agent.transport = FakeDatagramTransport()

    def receive(self, method: str, branch: str, cseq: str = "") -> None:
        lines = [f"{method} sip:desk@127.0.0.1 SIP/2.0", f"Via: SIP/2.0/UDP 127.0.0.1;branch={branch}", "Call-ID: 1"]
        lines += ["To: <sip:desk@127.0.0.1>", f"CSeq: 1 {cseq or method}", "", ""]
        self.agent.datagramReceived("\r\n".join(lines).encode(), PEER)

    def statuses(self) -> Sequence[int | None]:
        """Return the statuses of the responses sent since the last call."""
        written, self.transport.written = self.transport.written, []
        return [SipMessage.parse(datagram).status for datagram, _ in written]

    def test_a_retransmission_is_no_second_request(self) -> None:
        self.agent.invite_responses = (SipResponse(180), SipResponse(486))
        for _ in range(3):
            self.receive("INVITE", "z9hG4bK1")
        self.assertEqual(self.statuses(), [180, 486, 486, 486])
        self.receive("ACK", "z9hG4bK1")
        self.receive("INVITE", "z9hG4bK2")
        self.assertEqual(len(self.agent.requests("INVITE")), 2)
        self.assertEqual(len(self.agent.requests("ACK")), 1)

    def test_a_retransmission_without_a_response_gets_none(self) -> None:
        self.agent.invite_responses = ()
        for _ in range(2):
            self.receive("INVITE", "z9hG4bK1")
        self.assertEqual((self.statuses(), len(self.agent.received)), ([], 1))

    def test_responses_that_follow_later(self) -> None:
        self.agent.invite_responses = (SipResponse(100), SipResponse(180, after=0.5), OK)
        self.receive("INVITE", "z9hG4bK1")
        self.assertEqual(self.statuses(), [100])
        self.clock.advance(0.5)
        self.assertEqual(self.statuses(), [180, 200])

    def test_cancel_ends_an_invite_without_its_later_responses(self) -> None:
        self.agent.invite_responses = (SipResponse(180), SipResponse(200, after=0.5))
        self.receive("INVITE", "z9hG4bK1")
        self.receive("CANCEL", "z9hG4bK1")
        self.clock.advance(1)
        self.assertEqual(self.statuses(), [180, 487, 200])
        self.assertEqual(self.clock.getDelayedCalls(), [])
