"""Finds out that Asterisk does not record what a party says, although it receives its audio.

Some versions of Asterisk stop decoding a party (`AriClient.drops_late_audio`), and neither the parties nor an event
say so: the file of that side contains zeros from then on. A new decoder cures it; it costs 0.06 s of the recording.
"""

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.ari.client import AriClient
from voxrec.calls.deadline import Deadline
from voxrec.calls.leg_files import LegFiles
from voxrec.errors import VoxrecError
from voxrec.model import Recording, Side

CHECK_INTERVAL: Final = 2.0  # seconds; Asterisk writes the audio of 2 s at a time
CONFIRM_INTERVAL: Final = 0.5  # seconds until the packets of a side that is silent are counted again
_MIN_PACKETS: Final = 4  # between two counts; a party that is on hold or has silence suppression sends fewer
_FIRST_PAUSE: Final = 8.0  # seconds without a check after a restart, which doubles while the side remains silent
_LONGEST_PAUSE: Final = 512.0


class DecoderCheck:
    """Checks the files of one recording every 2 s.

    ``channel_of`` returns the channel of a side. ``restart`` is called with the side that is not recorded: if only that
    one is zeros, and its packets arrive. A party whose telephone is muted may send zeros, so the checks become less
    frequent while a restart does not help.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        asterisk: AriClient,
        files: LegFiles,
        recording: Recording,
        channel_of: Callable[[Side], str],
        restart: Callable[[Side], None],
    ) -> None:
        self._asterisk = asterisk
        self._files = files
        self._recording = recording
        self._channel_of = channel_of
        self._restart = restart
        self._timer = Deadline(clock)
        self._suspect: tuple[Side, int] | None = None  # the side that is silent, and its packets so far
        self._pause = _FIRST_PAUSE
        self._stopped = False

    def start(self) -> None:
        """Begin to check, if this version of Asterisk needs it."""
        if self._asterisk.drops_late_audio:
            self._schedule(CHECK_INTERVAL)

    def stop(self) -> None:
        """Check no more."""
        self._stopped = True
        self._timer.cancel()

    def _schedule(self, delay: float) -> None:
        self._timer.start(delay, lambda: Deferred.fromCoroutine(self._run()))

    async def _run(self) -> None:
        delay = CHECK_INTERVAL
        try:
            if (side := await self._find()) is not None and not self._stopped:
                self._log.warn(
                    "call {call}: what the {side} says is not being recorded; recording it with a new decoder",
                    call=self._recording.call_id,
                    side=side,
                )
                self._restart(side)
                delay, self._pause = self._pause, min(2 * self._pause, _LONGEST_PAUSE)
        except VoxrecError as error:
            self._log.debug(
                "call {call}: cannot check the decoders: {error}", call=self._recording.call_id, error=error
            )
        if not self._stopped:
            self._schedule(CONFIRM_INTERVAL if self._suspect else delay)

    async def _find(self) -> Side | None:
        """Return the side whose audio is received, but not recorded; None if there is none, or not yet."""
        silent = await self._files.silent(self._recording.id)
        sides = [side for side, is_silent in silent.items() if is_silent]
        if len(sides) != 1 or len(silent) != len(Side):
            self._suspect = None
            if not sides:
                self._pause = _FIRST_PAUSE
            return None
        [side] = sides
        packets = await self._asterisk.received_packets(self._channel_of(side))
        if self._suspect is None or self._suspect[0] is not side:
            self._suspect = (side, packets)
            return None
        arrived, self._suspect = packets - self._suspect[1], None
        return side if arrived >= _MIN_PACKETS else None
