"""The faults that have taken place in a chaos run, and what each may affect."""

from typing import Final, NamedTuple

TAKEOVER: Final = "standby-takeover"
"""The outage from the end of the active voxrec until its standby is active."""
TAKEOVER_WITHOUT_PROFILES: Final = "standby-without-profiles"
"""The outage in which only a standby that was first started while PostgreSQL was away is there for calls."""
UNCONNECTED: Final = "voxrec-unconnected"
"""The outage from the end of voxrec or Asterisk until they are connected again; PostgreSQL may still be away."""


class Outage(NamedTuple):
    """A fault that took place: from its injection until voxrec was ready again, in seconds since the epoch.

    ``node``: the only node that it affects; empty: all.
    """

    fault: str
    begin: float
    end: float
    node: str = ""


class AllowedEffects(NamedTuple):
    """The names of the faults that may have each effect.

    ``call_rejected``: no voxrec accepts the call. ``call_dropped``: Asterisk is killed, and the call with it.
    ``recording_disk_full``: Asterisk cannot write recordings. ``recording_delayed``: Asterisk cannot be told to record.
    ``asterisk_stalled``: Asterisk is suspended.
    ``hangup_delayed``: the process that hangs up the far end is suspended.
    ``mail_duplicated``: the delivery of a mail cannot be stored, so that the mail is sent again.
    """

    call_rejected: frozenset[str] = frozenset()
    call_dropped: frozenset[str] = frozenset()
    recording_disk_full: frozenset[str] = frozenset()
    recording_delayed: frozenset[str] = frozenset()
    asterisk_stalled: frozenset[str] = frozenset()
    hangup_delayed: frozenset[str] = frozenset()
    mail_duplicated: frozenset[str] = frozenset()
