"""Tests of the recording of late offers: it begins when the ACK has determined the codec."""

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import CallFixture
from tests.calls.test_call_machine import RECORD

FORMATS = "CHANNEL(audionativeformat)"


class LateOfferTests(SynchronousTestCase):
    def answered(self, codecs: str) -> CallFixture:
        """Answer a call without SDP in the INVITE, on whose channel these codecs are possible."""
        fixture = CallFixture()
        fixture.call.data.inbound = replace(fixture.call.data.inbound, late_offer=True)
        fixture.asterisk.variables[FORMATS] = codecs
        fixture.call.inputs.begin()
        fixture.call.inputs.leg_entered()
        fixture.call.inputs.leg_answered()
        return fixture

    def recorded(self, fixture: CallFixture) -> list[str]:
        """Return the file names' suffixes in the commands to record."""
        commands = [request for request in fixture.take_requests() if request in RECORD]
        queries = [fixture.asterisk.queries["MixMonitor 1700.1"] for _ in commands]
        return [str(query).partition("-caller.")[2].partition(")")[0] for query in queries]

    def test_recording_begins_after_the_ack(self) -> None:
        for agreed, suffix in (("(g722)", "wav16"), ("(alaw)", "wav")):
            fixture = self.answered("(ulaw|alaw|g722)")
            fixture.clock.advance(0.02)
            self.assertEqual(self.recorded(fixture), [])
            fixture.asterisk.variables[FORMATS] = agreed
            fixture.clock.advance(0.02)
            self.assertEqual(self.recorded(fixture), [suffix])

    def test_recording_begins_without_ack_after_two_seconds(self) -> None:
        fixture = self.answered("(ulaw|alaw|g722)")
        for _ in range(101):
            fixture.clock.advance(0.02)
        self.assertEqual(self.recorded(fixture), ["wav"])
