"""Which parties hold a call, so that every ``unheld`` in a timeline follows a ``held``."""

from collections.abc import Iterable

from voxrec.model import Side, TimelineEntry

HELD = "held"
UNHELD = "unheld"


class Holds:
    """The parties that hold the call.

    Asterisk reports a hold that began before the recording, or that another party began before it was replaced by a
    transfer, and may report the same hold several times.
    """

    def __init__(self) -> None:
        self._held: set[Side] = set()

    def hold(self, side: Side) -> bool:
        """Note that a party holds the call. Return whether it did not hold it before."""
        is_new = side not in self._held
        self._held.add(side)
        return is_new

    def release(self, side: Side) -> bool:
        """Note that a party does not hold the call. Return whether it held it before."""
        was_held = side in self._held
        self._held.discard(side)
        return was_held

    @property
    def sides(self) -> tuple[Side, ...]:
        """The parties that hold the call now."""
        return tuple(side for side in Side if side in self._held)

    def take_over(self, timeline: Iterable[TimelineEntry]) -> None:
        """Find the parties that hold a call of another process by its timeline."""
        for entry in timeline:
            if entry.event == HELD and entry.by is not None:
                self._held.add(Side(entry.by))
            elif entry.event == UNHELD and entry.by is not None:
                self._held.discard(Side(entry.by))
