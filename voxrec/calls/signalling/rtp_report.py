"""Reads the RTP statistics that the dialplan reports at the end of a channel (etc/asterisk/extensions.conf)."""

import re

from voxrec.ari.events import UserEvent
from voxrec.model import RtpCounters


def read_counters(report: UserEvent) -> RtpCounters | None:
    """Return the counters of a report; None if Asterisk has none, for example because no packet was received."""
    if not all(re.fullmatch(r"[0-9]{1,10}", count) for count in (report.received, report.lost)):
        return None
    has_jitter = re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,9})?", report.jitter)
    return RtpCounters(
        packets_received=int(report.received),
        packets_lost=int(report.lost),
        max_jitter_ms=round(1000 * float(report.jitter), 1) if has_jitter else None,
    )
