"""Tests of voxrec.sandbox.rtp: packets, codecs, and what each impairment does to a stream."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.subtest import subtest
from voxrec.sandbox.noise import make_noise
from voxrec.sandbox.rtp import (
    CODECS,
    COMFORT_NOISE,
    PCMU,
    Impairments,
    RtpPacket,
    ScheduledPacket,
    schedule,
)

PAYLOADS = [bytes([number]) * 160 for number in range(20)]


def impaired(**fields: object) -> list[ScheduledPacket]:
    return schedule(PAYLOADS, PCMU, Impairments(**fields))  # type: ignore[arg-type]


def indexes(packets: list[ScheduledPacket]) -> list[int | None]:
    return [scheduled.index for scheduled in packets]


class PacketTests(SynchronousTestCase):
    @given(
        st.sampled_from([0, 8, 9, 13, 101]),
        st.integers(0, 65535),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**32 - 1),
        st.binary(max_size=500),
        st.booleans(),
    )
    def test_round_trip(
        self, payload_type: int, sequence: int, timestamp: int, ssrc: int, payload: bytes, marker: bool
    ) -> None:
        packet = RtpPacket(payload_type, sequence, timestamp, ssrc, payload, marker)
        self.assertEqual(RtpPacket.parse(packet.pack()), packet)

    def test_other_datagrams(self) -> None:
        for datagram in (b"", b"\x80", bytes([0x80, 200]) + bytes(26), bytes([0x00, 0x01]) + bytes(18)):
            self.assertIsNone(RtpPacket.parse(datagram))


class CodecTests(SynchronousTestCase):
    def test_duration_is_kept(self) -> None:
        for codec in CODECS.values():
            with subtest(codec.name):
                samples = make_noise(1.0, codec.rate, seed=1)
                encoded = codec.encode(samples)
                self.assertEqual(len(encoded), 8000)
                self.assertEqual(len(codec.decode(encoded)), len(samples))

    def test_companding_twice_changes_nothing(self) -> None:
        decoded = PCMU.decode(PCMU.encode(make_noise(1.0, 8000, seed=1)))
        self.assertTrue(np.array_equal(decoded, PCMU.decode(PCMU.encode(decoded))))


class ScheduleTests(SynchronousTestCase):
    def test_without_impairment(self) -> None:
        packets = impaired()
        self.assertEqual(indexes(packets), list(range(20)))
        self.assertEqual([round(scheduled.at, 6) for scheduled in packets], [round(n * 0.02, 6) for n in range(20)])
        first = packets[0].packet
        self.assertEqual([each.packet.sequence - first.sequence for each in packets], list(range(20)))
        self.assertEqual([each.packet.timestamp - first.timestamp for each in packets], [n * 160 for n in range(20)])
        self.assertEqual([each.packet.marker for each in packets], [True] + [False] * 19)
        self.assertEqual([each.packet.payload for each in packets], PAYLOADS)

    def test_late_packets(self) -> None:
        self.assertEqual(indexes(impaired(late_every=5))[:7], [0, 1, 2, 3, 5, 4, 6])
        self.assertEqual(indexes(impaired(late_every=5, late_by=3))[:9], [0, 1, 2, 3, 5, 6, 7, 4, 8])
        self.assertEqual({each.index for each in impaired(late_every=5)}, set(range(20)))

    def test_lost_packets(self) -> None:
        packets = impaired(lose_every=5)
        self.assertEqual(indexes(packets)[:5], [0, 1, 2, 3, 5])
        self.assertEqual(packets[4].packet.sequence - packets[3].packet.sequence, 2)

    def test_duplicates(self) -> None:
        packets = impaired(duplicate_every=5)
        self.assertEqual(indexes(packets)[:7], [0, 1, 2, 3, 4, 4, 5])
        self.assertEqual(packets[4].packet, packets[5].packet)

    def test_jitter_is_bounded_and_repeatable(self) -> None:
        packets = impaired(jitter=0.04)
        delays = [scheduled.at - (scheduled.index or 0) * 0.02 for scheduled in packets]
        self.assertTrue(all(0 <= delay < 0.04 for delay in delays))
        self.assertGreater(max(delays), 0.03)
        self.assertEqual(packets, impaired(jitter=0.04))

    def test_gaps(self) -> None:
        packets = impaired(gaps=((0.1, 0.2),))
        self.assertEqual(indexes(packets)[4:6], [4, 10])
        before, after = packets[4].packet, packets[5].packet
        self.assertEqual((after.sequence - before.sequence, after.timestamp - before.timestamp), (1, 960))
        self.assertTrue(after.marker)

    def test_timestamp_jump(self) -> None:
        packets = impaired(timestamp_jump=(0.1, 8000))
        steps = np.diff([each.packet.timestamp for each in packets]).tolist()
        self.assertEqual(steps, [160] * 4 + [8160] + [160] * 14)

    def test_numbers_that_begin_again(self) -> None:
        packets = [RtpPacket.parse(scheduled.packet.pack()) for scheduled in impaired(wraps_at=0.1)]
        numbers = [(packet.sequence, packet.timestamp) for packet in packets if packet is not None]
        self.assertEqual(numbers[4:6], [(0xFFFF, 2**32 - 160), (0, 0)])

    def test_new_source(self) -> None:
        packets = impaired(new_source_at=0.1)
        sources = [each.packet.ssrc for each in packets]
        self.assertEqual(sources, [sources[0]] * 5 + [sources[-1]] * 15)
        self.assertNotEqual(sources[0], sources[-1])

    def test_clock_skew(self) -> None:
        self.assertAlmostEqual(impaired(clock_skew_ppm=1000)[-1].at, 19 * 0.02 * 1.001)

    def test_comfort_noise_comes_first(self) -> None:
        packets = impaired(comfort_noise=2)
        self.assertEqual([each.packet.payload_type for each in packets[:3]], [COMFORT_NOISE, COMFORT_NOISE, 0])
        self.assertEqual([round(each.at, 6) for each in packets[:3]], [-0.04, -0.02, 0.0])
