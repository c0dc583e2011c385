"""Simulated calls: what MixMonitor records of them, how far the sides are displaced, and what the verdict says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from tests.audio.audiohook import PIECE_MS, SILENCE, AudioHook, Displacement, Packet, Party, audio_of, displacement
from tests.audio.fixtures import RATE, measure
from voxrec.audio.verdict import make_verdict
from voxrec.model import RtpCounters, RtpStatistics, Verdict


@dataclass(frozen=True, slots=True)
class SimulatedCall:
    """A recorded call. ``discarded`` is the share of the packets' audio that MixMonitor did not write."""

    displacement: Displacement
    verdict: Verdict
    discarded: float

    @classmethod
    def of(cls, caller: Party, callee: Party, seconds: float, hook: AudioHook, *, has_state: bool = False) -> Self:
        """Record a call of two parties, whose codecs have a state or not."""
        sent = [party.packets(seconds) for party in (caller, callee)]
        recorded = hook.record(sent[0][0], sent[1][0])
        rate = RATE * 2 // hook.frame
        legs = [audio_of(pieces, seed, rate, has_state=has_state) for seed, pieces in enumerate(recorded)]
        meters = [measure(leg, rate) for leg in legs]
        statistics = RtpStatistics(caller=count_packets(*sent[0]), callee=count_packets(*sent[1]))
        verdict = make_verdict(meters[0], meters[1], seconds, statistics, observed_duration=seconds + 0.05)
        arrived = sum(len(packet.pieces) for packets, _ in sent for packet in packets)
        written = sum(int(np.count_nonzero(pieces != SILENCE)) for pieces in recorded)
        return cls(displacement(recorded, caller, callee), verdict, 1 - written / arrived)


def count_packets(packets: Sequence[Packet], lost: int) -> RtpCounters:
    """Return what Asterisk 22 counts of packets: it ignores the jitter of those that are out of order."""
    jitter, values, newest = 0.0, [], -1
    transit: float | None = None
    for packet in sorted(packets):
        if packet.pieces[0] <= newest:
            continue
        newest = packet.pieces[0]
        delay = packet.arrival - newest * PIECE_MS
        if transit is not None:
            jitter += (abs(delay - transit) - jitter) / 16
            values.append(jitter)
        transit = delay
    return RtpCounters(
        packets_received=len(packets),
        packets_lost=lost,
        max_jitter_ms=max(values, default=0.0),
        mean_jitter_ms=float(np.mean(values)) if values else 0.0,
    )
