"""Codes that a party keys in while it talks."""

from collections import defaultdict, deque
from collections.abc import Callable, Mapping

from twisted.internet.interfaces import IReactorTime

from voxrec.model import Side

_PATIENCE = 3.0  # seconds between two keys of one code


class KeyCodes:
    """Calls the action of a code once one party has pressed its keys, one after the other.

    Where several codes end with the same keys, the longest counts.
    """

    def __init__(self, clock: IReactorTime, actions: Mapping[str, Callable[[Side], None]]) -> None:
        self._clock = clock
        self._actions = sorted(actions.items(), key=lambda item: len(item[0]), reverse=True)
        longest = max((len(code) for code in actions), default=0)
        self._pressed: dict[Side, deque[str]] = defaultdict(lambda: deque(maxlen=longest))
        self._last: dict[Side, float] = {}

    def pressed(self, side: Side, key: str) -> None:
        """One key."""
        now = self._clock.seconds()
        keys = self._pressed[side]
        if now - self._last.get(side, now) > _PATIENCE:
            keys.clear()
        self._last[side] = now
        keys.append(key)
        for code, action in self._actions:
            if "".join(keys).endswith(code):
                keys.clear()
                action(side)
                return
