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
MIN_EXCESS: Final = 0.001  # of the call; clocks of telephones are wrong by at most 0.0001
MIN_MEAN_JITTER_MS: Final = 8.0  # of delays that vary by more than a packet and a half; usual is 1 to 5
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


def has_jitter(counters: RtpCounters | None) -> bool:
    """Return whether the packets of a party arrived at irregular times during the whole call."""
    if counters is None or counters.mean_jitter_ms is None or counters.max_jitter_ms is None:
        return False
    return (
        counters.packets_received >= MIN_PACKETS
        and MIN_MEAN_JITTER_MS <= counters.mean_jitter_ms <= _MAX_MEAN_JITTER_MS
        and counters.max_jitter_ms <= _MAX_JITTER_RATIO * counters.mean_jitter_ms
    )


def displacement_ms(meters: Mapping[Side, Meter | None], statistics: RtpStatistics) -> int | None:
    """Return an upper bound of the displacement of both sides against each other, as far as it shows.

    Each packet that is lost, late or recorded twice displaces by a packet. None if it is not known: without the
    statistics of a side, and for short calls without other signs, because Asterisk has not counted lost packets.
    """
    known = [counters for counters in counters_of(statistics).values() if counters]
    if len(known) < len(Side):
        return None
    lost = sum(counters.packets_lost for counters in known)
    moved = sum(meter.gap_seconds + meter.duplicate_seconds for meter in meters.values() if meter)
    jitter = max((counters.mean_jitter_ms or 0.0 for counters in known if has_jitter(counters)), default=0.0)
    bound = max(PACKET_MS, _RANGE_OF_JITTER * jitter) + PACKET_MS * lost + 1000 * moved
    if bound <= PACKET_MS and all(not meter or meter.duration < FIRST_REPORT_SECONDS for meter in meters.values()):
        return None
    return round(min(bound, MAX_DISPLACEMENT_MS))


def counters_of(statistics: RtpStatistics) -> Mapping[Side, RtpCounters | None]:
    """Return the counters of each side."""
    return {Side.CALLER: statistics.caller, Side.CALLEE: statistics.callee}
