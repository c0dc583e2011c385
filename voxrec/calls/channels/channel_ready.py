"""Waits until a new snoop channel accepts commands."""

from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

_TIMEOUT: Final = 2.0  # seconds after which a channel is used even if its StasisStart did not arrive


class ChannelReady:
    """Whether one new channel has entered the application, after which it accepts commands.

    Asterisk 22.10 refuses the next command for most snoop channels if it follows at once, and for 1 of 100 channels if
    it follows a millisecond later (measured).
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._entered: Deferred[None] = Deferred()

    def entered(self) -> None:
        """Handle the StasisStart of the channel."""
        if not self._entered.called:
            self._entered.callback(None)

    async def wait(self) -> None:
        """Return when the channel has entered the application, or after 2 s."""
        if not self._entered.called:
            await self._entered.addTimeout(_TIMEOUT, self._clock, onTimeoutCancel=lambda _result, _seconds: None)
