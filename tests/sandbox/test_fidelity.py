"""Tests of voxrec.sandbox.fidelity and media_stream: known faults of audio are measured as such."""

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from voxrec.sandbox.fidelity import measure_heard, measure_track, offset_between
from voxrec.sandbox.media_stream import MediaStream, ReceivedPacket
from voxrec.sandbox.noise import Samples16
from voxrec.sandbox.rtp import PCMU, Impairments, schedule

RATE = 8000
SENT_AT = 100.0  # a time of the monotonic clock, in seconds


class FidelityTestCase(SynchronousTestCase):
    def make_stream(self, seed: int = 1, impairments: Impairments | None = None) -> MediaStream:
        """Return a stream of one second that counts as sent at SENT_AT."""
        stream = MediaStream(seed=seed, seconds=1.0, impairments=impairments or Impairments())
        self.addCleanup(stream.close)
        stream.piece_times = {piece: SENT_AT + piece * 0.01 for piece in range(100)}
        return stream

    def shifted(self, stream: MediaStream, seconds: float) -> Samples16:
        return np.concatenate([np.zeros(round(seconds * RATE), dtype=np.int16), stream.noise])


class TrackTests(FidelityTestCase):
    def test_complete(self) -> None:
        stream = self.make_stream()
        track = measure_track(stream, self.shifted(stream, 0.3), RATE)
        self.assertEqual((track.sent, track.found, track.exact, track.displaced, track.missing), (100, 100, 100, 0, 0))
        self.assertEqual((round(track.drift, 6), track.snr_db), (0.0, float("inf")))

    def test_offset_between_channels(self) -> None:
        caller, callee = self.make_stream(1), self.make_stream(2)
        left = measure_track(caller, self.shifted(caller, 0.1), RATE)
        right = measure_track(callee, self.shifted(callee, 0.24), RATE)
        self.assertAlmostEqual(offset_between(left, right), 140.0, places=3)

    def test_a_party_that_begins_later_has_no_offset(self) -> None:
        caller, callee = self.make_stream(1), self.make_stream(2)
        callee.piece_times = {piece: time + 0.5 for piece, time in callee.piece_times.items()}
        left = measure_track(caller, self.shifted(caller, 0.1), RATE)
        right = measure_track(callee, self.shifted(callee, 0.6), RATE)
        self.assertAlmostEqual(offset_between(left, right), 0.0, places=3)

    def test_missing_and_displaced_pieces(self) -> None:
        stream = self.make_stream()
        lost = stream.noise.copy()
        lost[800:1600] = 0
        self.assertEqual(measure_track(stream, lost, RATE).missing, 10)
        swapped = np.concatenate([stream.noise[800:1600], stream.noise[:800], stream.noise[1600:]])
        track = measure_track(stream, swapped, RATE)
        self.assertEqual((track.missing, track.displaced), (0, 20))

    def test_drift(self) -> None:
        stream = self.make_stream()
        later = np.concatenate([stream.noise[:4000], np.zeros(400, dtype=np.int16), stream.noise[4000:]])
        self.assertAlmostEqual(measure_track(stream, later, RATE).drift, 50.0)

    def test_empty_recording(self) -> None:
        stream = self.make_stream()
        self.assertEqual(measure_track(stream, np.zeros(0, dtype=np.int16), RATE).missing, 100)


class HeardTests(FidelityTestCase):
    def hear(self, impairments: Impairments, delay: float = 0.005) -> tuple[MediaStream, MediaStream]:
        """Return a sender, and a listener that has received its packets ``delay`` seconds after they were sent."""
        sender, listener = self.make_stream(1, impairments), self.make_stream(2)
        encoded = PCMU.encode(sender.noise)
        payloads = [encoded[start : start + 160] for start in range(0, len(encoded), 160)]
        for scheduled in schedule(payloads, PCMU, impairments):
            listener.received.append(ReceivedPacket(SENT_AT + scheduled.at + delay, scheduled.packet))
        return sender, listener

    def test_reordered_and_duplicated_packets_are_heard_completely(self) -> None:
        heard = measure_heard(*self.hear(Impairments(late_every=4, duplicate_every=3, jitter=0.04)))
        self.assertEqual((heard.track.found, heard.track.exact, heard.track.displaced), (100, 100, 0))

    def test_lost_packets_are_missing(self) -> None:
        heard = measure_heard(*self.hear(Impairments(lose_every=10)))
        self.assertEqual(heard.track.missing, 10)

    def test_a_new_source_is_heard(self) -> None:
        heard = measure_heard(*self.hear(Impairments(new_source_at=0.5)))
        self.assertEqual(heard.track.found, 100)

    def test_delays(self) -> None:
        sender, listener = self.hear(Impairments())
        for number in range(10):
            listener.received[number] = ReceivedPacket(SENT_AT + 0.4, listener.received[number].packet)
        heard = measure_heard(sender, listener)
        self.assertAlmostEqual(heard.first_delay, 305.0)
        self.assertAlmostEqual(heard.max_delay, 400.0)
        # the second piece of a packet counts as sent 10 ms after the first
        self.assertAlmostEqual(measure_heard(*self.hear(Impairments(), 0.005)).first_delay, 0.0)

    def test_nothing_received(self) -> None:
        heard = measure_heard(self.make_stream(1), self.make_stream(2))
        self.assertEqual(heard.track.found, 0)
