"""Recognizes the DTMF codes by which a party pauses and resumes a recording."""

from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Final

from twisted.internet.interfaces import IReactorTime

from voxrec.model import Side

_DIGIT_TIMEOUT: Final = 3.0  # seconds between two digits of one code


class DtmfCodes:
    """Calls the action of a code when one party has pressed its digits in sequence.

    If several codes end with the same digits, the longest one matches.
    """

    def __init__(self, clock: IReactorTime, actions: Mapping[str, Callable[[Side], None]]) -> None:
        self._clock = clock
        self._actions = sorted(actions.items(), key=lambda item: len(item[0]), reverse=True)
        longest = max((len(code) for code in actions), default=0)
        self._digits: dict[Side, deque[str]] = defaultdict(lambda: deque(maxlen=longest))
        self._last_digit_at: dict[Side, float] = {}

    def forget(self, side: Side) -> None:
        """Forget the digits of a party."""
        self._digits.pop(side, None)

    def digit_received(self, side: Side, digit: str) -> None:
        """Handle one digit."""
        now = self._clock.seconds()
        digits = self._digits[side]
        if now - self._last_digit_at.get(side, now) > _DIGIT_TIMEOUT:
            digits.clear()
        self._last_digit_at[side] = now
        digits.append(digit)
        for code, action in self._actions:
            if "".join(digits).endswith(code):
                digits.clear()
                action(side)
                return
