"""The reasons of verdicts: stable texts for what is wrong with the audio of a Recording.

People read them in the words of `voxrec.languages`.
"""

from typing import Final, Literal

from voxrec.model.recording import ANNOUNCEMENT_FAILED, Side

EMPTY: Final = "empty"
"""There is no audio."""

SILENT: Final = "silent"
"""No party has spoken."""

TRUNCATED: Final = "truncated"
"""The audio is shorter than the call."""

DISK_FULL: Final = "disk-full"
"""Nothing was recorded, because the disk was full."""

NODE_LOST: Final = "node-lost"
"""The node that had the audio was given up."""


def one_way_reason(side: Side, reason: Literal["silent", "empty"]) -> str:
    """Return the reason for a call in which only ``side`` has no speech."""
    return f"one-way audio: {side} {reason}"


def no_signal_reason(side: Side) -> str:
    """Return the reason for a side of a call that consists of zeros only, while the other side speaks."""
    return f"no signal: {side}"


def packet_loss_reason(side: Side) -> str:
    """Return the reason for a side of which at least 1 % of the packets did not reach Asterisk."""
    return f"packet loss: {side}"


def gaps_reason(side: Side) -> str:
    """Return the reason for a side of which at least 1 % is silence in place of audio that did not arrive in time."""
    return f"gaps: {side}"


def displaced_reason(side: Side) -> str:
    """Return the reason for a side whose packets arrived twice or at irregular times, and displace the audio."""
    return f"displaced: {side}"


def too_short_reason(min_seconds: int) -> str:
    """Return the reason for a Recording that is shorter than ``min_seconds``, the minimum of its Profile."""
    return f"shorter than minDurationSeconds ({min_seconds} s)"


def unreadable_reason(side: Side) -> str:
    """Return the reason for a leg whose file is not valid audio."""
    return f"unreadable: {side}"


def all_reasons() -> tuple[str, ...]:
    """Return every reason; of one with a number, an example."""
    return (
        *(EMPTY, SILENT, TRUNCATED, DISK_FULL, NODE_LOST, ANNOUNCEMENT_FAILED, too_short_reason(5)),
        *(one_way_reason(side, SILENT) for side in Side),
        *(one_way_reason(side, EMPTY) for side in Side),
        *(make(side) for side in Side for make in (no_signal_reason, packet_loss_reason, gaps_reason)),
        *(displaced_reason(side) for side in Side),
        *(unreadable_reason(side) for side in Side),
    )
