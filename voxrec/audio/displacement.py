"""Finds displaced audio: what was recorded twice, and by how much the parties may be displaced against each other.

MixMonitor writes the packets of both parties in the order of their arrival, and has no clock (docs/limitations.md).
"""

from collections.abc import Mapping
from typing import Final

from voxrec.audio.meter import Meter
from voxrec.model import RtpCounters, RtpStatistics, Side

MIN_SHARE: Final = 0.01  # of the audio of a side that was recorded twice
MIN_DUPLICATE_SECONDS: Final = 0.1  # less is not worth a reason, however short the call
MIN_EXCESS_SECONDS: Final = 0.2
MIN_EXCESS: Final = 0.01  # of the call. A machine that is busy adds some 0.1 %, the clock of a telephone up to 0.02 %.
MIN_MEAN_JITTER_MS: Final = 8.0  # for packets of 20 ms: of delays that vary by more than a packet and a half
MIN_PACKETS: Final = 50  # from which on a mean is meaningful
# If timestamps jump, such as those of a new RTP stream, Asterisk takes the jump for jitter: a single huge value.
_MAX_MEAN_JITTER_MS: Final = 200.0
_MAX_JITTER_RATIO: Final = 5.0
# The jitter of RFC 3550 is the mean difference of two delays, a third of their range if they are distributed evenly.
# Asterisk 22 ignores packets that are out of order: with delays of 0 to 40 ms it reports 9 ms.
_RANGE_OF_JITTER: Final = 4.0
FIRST_REPORT_SECONDS: Final = 5.0
"""Asterisk counts lost packets with each RTCP report that it sends (rtcpinterval in rtp.conf)."""
PACKET_MS: Final = 20
_LONGER_PACKETS_MS: Final = (60, 40, 30)
CLOCK_DIFFERENCE: Final = 1e-4  # of two telephones, each of whose clocks is wrong by up to 50 ppm, as usual
QUEUE_MS: Final = 60
"""By how much a party is still ahead after MixMonitor has written silence for the other one (4 frames less 1)."""
MAX_DISPLACEMENT_MS: Final = 100
"""AST_AUDIOHOOK_SYNC_TOLERANCE: with a greater displacement, Asterisk discards what it has not written yet."""


def excess_seconds(meters: Mapping[Side, Meter | None], call_duration: float | None) -> float:
    """Return by how much the audio is longer than the call; 0 if it is not, or if that is not known."""
    if call_duration is None:
        return 0.0
    return max((0.0, *(meter.duration - call_duration for meter in meters.values() if meter)))


def surplus_seconds(meters: Mapping[Side, Meter | None], call_duration: float | None) -> Mapping[Side, float]:
    """Return by how much more audio of a side was recorded than the call had time for; sides without are left out.

    The packets of such a side arrived twice, or in bursts after a silence that was recorded in their place.
    """
    duplicates = {side: meter.duplicate_seconds for side, meter in meters.items() if meter and has_duplicates(meter)}
    excess = excess_seconds(meters, call_duration)
    if duplicates or call_duration is None or excess < max(MIN_EXCESS_SECONDS, MIN_EXCESS * call_duration):
        return duplicates
    # the other side has silence meanwhile, unless both have too much
    measured = {side: meter for side, meter in meters.items() if meter}
    continuous = [side for side, meter in measured.items() if meter.gap_seconds < excess / 2]
    return dict.fromkeys(continuous or measured, excess)


def has_duplicates(meter: Meter) -> bool:
    """Return whether enough packets of a side were recorded twice to be worth a reason."""
    return meter.duplicate_seconds >= max(MIN_DUPLICATE_SECONDS, MIN_SHARE * meter.duration)


def has_jitter(counters: RtpCounters | None, meter: Meter | None) -> bool:
    """Return whether the packets of a party arrived at irregular times, and out of order, during the whole call."""
    if counters is None or counters.mean_jitter_ms is None or counters.max_jitter_ms is None:
        return False
    least = MIN_MEAN_JITTER_MS * _packet_ms(counters, meter) / PACKET_MS
    return (
        counters.packets_received >= MIN_PACKETS
        and least <= counters.mean_jitter_ms <= _MAX_MEAN_JITTER_MS
        and counters.max_jitter_ms <= _MAX_JITTER_RATIO * counters.mean_jitter_ms
    )


def _packet_ms(counters: RtpCounters, meter: Meter | None) -> int:
    """Return the duration of the packets of a party, at least a frame of MixMonitor.

    A party that suppresses silence sends fewer packets, which then seem to be longer.
    """
    packets = counters.packets_received + counters.packets_lost
    if meter is None or packets < MIN_PACKETS:
        return PACKET_MS
    mean = 1000 * meter.duration / packets
    return next((duration for duration in _LONGER_PACKETS_MS if mean > 0.85 * duration), PACKET_MS)


def displacement_ms(
    meters: Mapping[Side, Meter | None], statistics: RtpStatistics, call_duration: float | None = None
) -> int | None:
    """Return an upper bound of the displacement of both sides against each other, as far as it shows.

    Each packet that is lost, late or recorded twice displaces by a packet, and different clocks do so in time. None if
    it is not known: without the statistics of a side, and for short calls without other signs, because Asterisk has
    not counted lost packets.
    """
    known = {side: counters for side, counters in counters_of(statistics).items() if counters}
    if len(known) < len(Side):
        return None
    packets = {side: _packet_ms(counters, meters[side]) for side, counters in known.items()}
    lost = sum(packets[side] * counters.packets_lost for side, counters in known.items())
    excess = excess_seconds(meters, call_duration)
    moved = sum(meter.gap_seconds + meter.duplicate_seconds for meter in meters.values() if meter)
    moved += excess if excess >= MIN_EXCESS_SECONDS else 0.0
    jitters = [counters.mean_jitter_ms or 0.0 for side, counters in known.items() if has_jitter(counters, meters[side])]
    bound = lost + _RANGE_OF_JITTER * max(jitters, default=0.0) + (max(QUEUE_MS, 1000 * moved) if moved else 0.0)
    seconds = max((meter.duration for meter in meters.values() if meter), default=0.0)
    if not bound and seconds < FIRST_REPORT_SECONDS:
        return None
    drift = int(1000 * CLOCK_DIFFERENCE * seconds)
    return round(min(max(packets.values()) + drift + bound, MAX_DISPLACEMENT_MS))


def counters_of(statistics: RtpStatistics) -> Mapping[Side, RtpCounters | None]:
    """Return the counters of each side."""
    return {Side.CALLER: statistics.caller, Side.CALLEE: statistics.callee}
