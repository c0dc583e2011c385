"""Reads the RTP statistics that the dialplan reports at the end of a channel (etc/asterisk/extensions.conf)."""

import re

from voxrec.ari.events import UserEvent
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


def _read_milliseconds(seconds: str) -> float | None:
    return round(1000 * float(seconds), 1) if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,9})?", seconds) else None
