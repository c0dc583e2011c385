"""Finds out that Asterisk does not record what a party says, although it receives its audio.

Some versions of Asterisk stop decoding a party (`AriClient.drops_late_audio`), and neither the parties nor an event
say so: the file of that side contains zeros from then on. A new decoder cures it; it costs 0.06 s of the recording.

A muted telephone may send zeros as well. A new decoder decodes everything until the sequence numbers begin anew, so a
side that remains silent is decoded, and gets another decoder only when its stream has changed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.ari.client import AriClient
from voxrec.calls.recording.leg_files import LegFiles
from voxrec.deadline import Deadline
from voxrec.errors import VoxrecError
from voxrec.model import Recording, Side

CHECK_INTERVAL: Final = 2.0  # seconds; Asterisk writes the audio of 2 s at a time
CONFIRM_INTERVAL: Final = 0.5  # seconds until the packets of a side that is silent are counted again
_MIN_PACKETS: Final = 4  # between two counts; a party that is on hold or has silence suppression sends fewer
PAUSE: Final = 8.0  # seconds without a check after a restart, and while a party is muted
_RENUMBERED: Final = 30_000  # packets; numbers that a decoder drops are counted as at least as many lost ones
RETRY_INTERVAL: Final = 600.0  # seconds after which a side that is still silent gets another decoder nevertheless


@dataclass(frozen=True, slots=True)
class _Stream:
    """What changes if the sequence numbers of a party begin anew."""

    channel: str
    source: int
    jumps: int


class DecoderCheck:
    """Checks the files of one recording every 2 s.

    ``channel_of`` returns the channel of a side. ``restart`` is called with the side that is not recorded: if only that
    one is zeros, its packets arrive, and no decoder was restarted for this stream in the last 10 min.
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
        self._clock = clock
        self._timer = Deadline(clock)
        self._suspect: tuple[Side, int] | None = None  # the side that is silent, and its packets so far
        self._restarted: dict[Side, tuple[_Stream, float]] = {}  # the stream and the time of the last restart
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
            delay = await self._check()
        except VoxrecError as error:
            self._log.debug(
                "call {call}: cannot check the decoders: {error}", call=self._recording.call_id, error=error
            )
        if not self._stopped:
            self._schedule(delay)

    async def _check(self) -> float:
        """Restart the decoder of a side whose audio is received, but not recorded; return when to check again."""
        silent = await self._files.silent(self._recording.id)
        sides = [side for side, is_silent in silent.items() if is_silent]
        suspect, self._suspect = self._suspect, None
        if len(sides) != 1 or len(silent) != len(Side):
            return CHECK_INTERVAL
        [side] = sides
        channel = self._channel_of(side)
        statistics = await self._asterisk.rtp_statistics(channel)
        stream = _Stream(channel, statistics.remote_ssrc, statistics.rxploss // _RENUMBERED)
        if self._is_decoded(side, stream):
            return PAUSE
        if suspect is None or suspect[0] is not side:
            self._suspect = (side, statistics.rxcount)
            return CONFIRM_INTERVAL
        if statistics.rxcount - suspect[1] < _MIN_PACKETS or self._stopped:
            return CHECK_INTERVAL
        self._log.warn(
            "call {call}: what the {side} says is not being recorded; recording it with a new decoder",
            call=self._recording.call_id,
            side=side,
        )
        self._restarted[side] = (stream, self._clock.seconds())
        self._restart(side)
        return PAUSE

    def _is_decoded(self, side: Side, stream: _Stream) -> bool:
        """Return whether the decoder of a silent side was restarted, and its stream has not changed since."""
        former, at = self._restarted.get(side, (None, 0.0))
        return former == stream and self._clock.seconds() - at < RETRY_INTERVAL
