"""Check of the clock, from which the times of Recordings and the expiry of tokens come."""

import ctypes
from collections.abc import Iterator
from typing import Final

from voxrec.config import Config
from voxrec.doctor.finding import Finding, ok, skipped, warning

_STRUCT_TIMEX: Final = 512  # bytes, more than adjtimex(2) writes
_TIME_ERROR: Final = 5  # adjtimex(2): the clock is not synchronized


def check_clock(_config: Config) -> Iterator[Finding]:
    """Check that the kernel regards the clock as synchronized."""
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(_STRUCT_TIMEX))
    if state < 0:
        yield skipped("clock", "the kernel does not tell")
    elif state == _TIME_ERROR:
        yield warning("clock", "is not synchronized", "run an NTP client, such as systemd-timesyncd or chrony")
    else:
        yield ok("clock", "is synchronized")
