"""Keeps a call from passing through voxrec without end, because its far end leads back to voxrec.

The INVITE to each far end says through which Profiles the call has passed, and Max-Forwards is copied and decremented
(RFC 7332, loop detection in back-to-back user agents).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import msgspec

PATH_HEADER: Final = "X-Voxrec-Path"
"""Header of the INVITE to the far end: the ids of the Profiles through which the call has passed, oldest first."""
DEFAULT_MAX_FORWARDS: Final = 70
"""RFC 3261 section 8.1.1.6."""
DEFAULT_MAX_PASSAGES: Final = 3
_SEPARATOR: Final = re.compile(r"[,\s]+")


class Hops(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The Profiles through which a call passed before it reached this process, and its Max-Forwards then."""

    profiles: tuple[UUID, ...] = ()
    max_forwards: int = DEFAULT_MAX_FORWARDS

    def headers(self, profile_id: UUID) -> Mapping[str, str]:
        """Return the headers of the INVITE to the far end of a Profile."""
        return {
            PATH_HEADER: ", ".join(map(str, (*self.profiles, profile_id))),
            "Max-Forwards": str(max(0, self.max_forwards - 1)),
        }


NO_HOPS: Final = Hops()
"""Those of a call that comes from its caller."""


@dataclass(frozen=True, slots=True)
class HopLimit:
    """Why a call must not pass on: the SIP status for the caller, and the reason for the log."""

    status: int
    reason: str


def parse_hops(path: str, max_forwards: str) -> Hops:
    """Return the hops of an INVITE with these values of `PATH_HEADER` and Max-Forwards; what is invalid is ignored."""
    profiles = []
    for text in _SEPARATOR.split(path):
        try:
            profiles.append(UUID(text))
        except ValueError:
            continue
    valid = re.fullmatch(r"[0-9]{1,3}", max_forwards.strip())
    return Hops(
        profiles=tuple(profiles),
        max_forwards=min(int(max_forwards), DEFAULT_MAX_FORWARDS) if valid else DEFAULT_MAX_FORWARDS,
    )


def check_hops(hops: Hops, profile_id: UUID, max_passages: int) -> HopLimit | None:
    """Return why a call must not reach the far end of a Profile; None if it may.

    ``max_passages`` is the number of Profiles through which one call may pass.
    """
    if profile_id in hops.profiles:
        return HopLimit(482, f"loop: the call has passed through Profile {profile_id} already")
    if hops.max_forwards < 1:
        return HopLimit(483, "Max-Forwards of the INVITE is 0")
    if len(hops.profiles) >= max_passages:
        return HopLimit(483, f"the call has passed through {len(hops.profiles)} Profiles already")
    return None
