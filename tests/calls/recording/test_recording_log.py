"""Tests of voxrec.calls.recording.recording_log."""

from uuid import UUID

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import NOW, InMemorySink
from voxrec.calls.recording.recording_log import RecordingLog, recording_log_machine
from voxrec.model import Recording, RecordingState, RtpCounters, RtpStatistics, Side


class RecordingLogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW.timestamp())
        self.sink = InMemorySink()
        recording = Recording(
            id=UUID(int=1),
            profile_id=UUID(int=2),
            state=RecordingState.RECORDING,
            started_at=NOW,
            created_at=NOW,
            updated_at=NOW,
        )
        self.log = RecordingLog(self.clock, self.sink, recording)
        self.inputs = recording_log_machine(self.log)

    @property
    def stored(self) -> list[tuple[str, list[str]]]:
        return [(one.state.value, [entry.event for entry in one.timeline]) for one in self.sink.recordings]

    def test_entries_are_stored_together(self) -> None:
        self.inputs.note("held")
        self.clock.advance(1)
        self.inputs.note("unheld")
        self.assertEqual(self.stored, [])
        self.clock.advance(1)
        self.assertEqual(self.stored, [("recording", ["held", "unheld"])])
        self.assertEqual([entry.at for entry in self.log.recording.timeline], [0.0, 1.0])

    def test_entries_that_were_stored_with_another_change_are_not_stored_again(self) -> None:
        self.inputs.note("answered")
        self.inputs.begin()
        self.clock.advance(1)
        self.inputs.note("held")
        self.inputs.change_state(RecordingState.PAUSED, "paused", by="rest")
        self.clock.advance(10)
        self.assertEqual(self.stored, [("recording", ["answered"]), ("paused", ["answered", "held", "paused"])])

    def test_what_no_other_process_knows_is_stored_at_once(self) -> None:
        self.inputs.note("held")
        self.inputs.store("recording.failed", detail="AMI")
        self.assertEqual(self.stored, [("recording", ["held", "recording.failed"])])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_change_of_the_state_is_stored_at_once(self) -> None:
        self.inputs.change_state(RecordingState.PAUSED, "paused", by="rest")
        self.assertEqual(self.stored, [("paused", ["paused"])])

    def test_outcome_is_stored_once_when_it_is_released(self) -> None:
        self.inputs.close(16, "caller")
        self.assertEqual(self.stored, [])
        self.inputs.note("held")
        self.inputs.change_state(RecordingState.PAUSED, "paused", by="rest")
        for _ in range(2):
            self.inputs.release()
        self.clock.advance(10)
        self.assertEqual(self.stored, [("processing", ["hangup"])])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_statistics_of_both_parties_until_it_is_released(self) -> None:
        caller, callee = (RtpCounters(packets_received=count, packets_lost=1) for count in (100, 200))
        self.inputs.rtp_reported(Side.CALLEE, "1.2", callee)
        self.inputs.close(16, "caller")
        self.inputs.rtp_reported(Side.CALLER, "1.1", caller)
        self.inputs.release()
        self.inputs.rtp_reported(Side.CALLER, "1.3", callee)
        self.assertEqual(self.sink.recordings[-1].rtp_statistics, RtpStatistics(caller=caller, callee=callee))

    def test_statistics_of_the_channels_of_a_party_are_added(self) -> None:
        first = RtpCounters(packets_received=100, packets_lost=7, max_jitter_ms=9.0, mean_jitter_ms=4.0)
        second = RtpCounters(packets_received=300, packets_lost=1, max_jitter_ms=3.0, mean_jitter_ms=1.0)
        total = RtpCounters(packets_received=400, packets_lost=8, max_jitter_ms=9.0, mean_jitter_ms=1.8)
        for channel, counters in (("1.1", first), ("1.2", first), ("1.2", second)):  # the last two are of one channel
            self.inputs.rtp_reported(Side.CALLER, channel, counters)
        self.assertEqual(self.log.recording.rtp_statistics, RtpStatistics(caller=total))
        taken_over = RecordingLog(self.clock, self.sink, self.log.recording)
        recording_log_machine(taken_over).rtp_reported(Side.CALLER, "1.3", first)
        statistics = taken_over.recording.rtp_statistics
        assert statistics is not None and statistics.caller is not None
        self.assertEqual((statistics.caller.packets_received, statistics.caller.packets_lost), (500, 15))

    def test_jitter_that_is_not_known(self) -> None:
        known = RtpCounters(packets_received=100, packets_lost=0, max_jitter_ms=9.0, mean_jitter_ms=4.0)
        unknown = RtpCounters(packets_received=300, packets_lost=0)
        for one, other in ((known, unknown), (unknown, known)):
            self.assertEqual(((one + other).max_jitter_ms, (one + other).mean_jitter_ms), (9.0, 4.0))
        self.assertIsNone((unknown + unknown).mean_jitter_ms)

    def test_refused_recording_is_absent(self) -> None:
        self.inputs.refuse("disk-full")
        self.inputs.note("held")
        self.assertEqual(self.stored, [("absent", [])])

    def test_detach_stores_what_was_not_stored(self) -> None:
        self.inputs.note("held")
        self.inputs.detach()
        self.inputs.close(16, "caller")
        self.inputs.release()
        self.clock.advance(10)
        self.assertEqual(self.stored, [("recording", ["held"])])

    def test_detach_after_the_end_stores_no_outcome(self) -> None:
        """The process that has the call now finishes the Recording."""
        self.inputs.close(16, "caller")
        self.inputs.detach()
        self.inputs.release()
        self.assertEqual(self.stored, [])

    def test_timeline_is_limited(self) -> None:
        for _ in range(5100):
            self.inputs.note("dtmf")
        self.assertEqual(len(self.log.recording.timeline), 5001)
