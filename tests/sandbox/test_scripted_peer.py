"""Tests of voxrec.sandbox.scripted_peer: its SDP. tests.live.test_fidelity has its calls."""

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from voxrec.sandbox.media_stream import MediaStream
from voxrec.sandbox.rtp import G722_CODEC, PCMA, PCMU, Codec
from voxrec.sandbox.scripted_peer import ScriptedPeer, payload_types, rtp_address

OFFER = "v=0\r\nc=IN IP4 127.0.0.9\r\nm=audio 4000 RTP/AVP 8 0 101\r\na=sendonly\r\n"


class SdpTests(SynchronousTestCase):
    def make_peer(self, *codecs: Codec) -> ScriptedPeer:
        media = MediaStream(seed=1, seconds=0.1)
        self.addCleanup(media.close)
        return ScriptedPeer(MemoryReactorClock(), ("127.0.0.1", 5060), media, codecs=codecs)

    def test_address_and_payload_types(self) -> None:
        self.assertEqual(rtp_address(OFFER), ("127.0.0.9", 4000))
        self.assertEqual(payload_types(OFFER), {0, 8})
        with self.assertRaises(ValueError):
            rtp_address("v=0\r\n")

    def test_an_offer_contains_all_codecs_in_order(self) -> None:
        peer = self.make_peer(G722_CODEC, PCMU)
        self.assertIn(f"m=audio {peer.media.port} RTP/AVP 9 0\r\n", peer.sdp_offer())

    def test_an_answer_contains_what_both_have(self) -> None:
        answer = self.make_peer(G722_CODEC, PCMA).sdp_offer(OFFER)
        self.assertIn(" RTP/AVP 8\r\n", answer)
        self.assertIn("a=recvonly", answer)

    def test_the_version_of_the_session_increases(self) -> None:
        peer = self.make_peer(PCMU)
        self.assertIn("o=- 1 1 ", peer.sdp_offer())
        self.assertIn("o=- 1 2 ", peer.sdp_offer())
