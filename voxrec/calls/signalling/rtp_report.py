"""Reads the RTP statistics that the dialplan reports at the end of a channel (etc/asterisk/extensions.conf).

Of a channel that was replaced Asterisk reports nothing more, so that it is asked for them.
"""

import re

from voxrec.ari.events import UserEvent
from voxrec.ari.rtp_statistics import RtpStatistics
from voxrec.model import RtpCounters


def read_counters(report: UserEvent) -> RtpCounters | None:
    """Return the counters of a report; None if Asterisk has none, for example because no packet was received."""
    if not all(re.fullmatch(r"[0-9]{1,10}", count) for count in (report.received, report.lost)):
        return None
    return RtpCounters(
        packets_received=int(report.received),
        packets_lost=int(report.lost),
        max_jitter_ms=_read_milliseconds(report.jitter),
        mean_jitter_ms=_read_milliseconds(report.meanjitter),
    )


def counters_of(statistics: RtpStatistics) -> RtpCounters | None:
    """Return the counters in the response of ARI; None if Asterisk has received no packet."""
    if not statistics.rxcount:
        return None
    return RtpCounters(
        packets_received=statistics.rxcount,
        packets_lost=statistics.rxploss,
        max_jitter_ms=_milliseconds(statistics.local_maxjitter),
        mean_jitter_ms=_milliseconds(statistics.local_normdevjitter),
    )


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 1)


def _read_milliseconds(seconds: str) -> float | None:
    return _milliseconds(float(seconds)) if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,9})?", seconds) else None
