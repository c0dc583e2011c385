"""Puts the audio of both sides of a call next to each other, in frames of 20 ms."""

from collections.abc import Callable
from functools import cached_property
from typing import Final

import numpy as np

from voxrec.calls.listening.rtp import RtpPacket, Samples
from voxrec.model import ListenSide, Side

FRAMES_PER_SECOND: Final = 50
_LEAD: Final = 5  # frames by which one side may be ahead before the other one counts as silent
_MAX_GAP: Final = 10  # lost packets that are replaced by silence; a longer gap is a new beginning
_SEQUENCES: Final = 1 << 16


class Frame:
    """20 ms of both sides."""

    def __init__(self, caller: Samples, callee: Samples) -> None:
        self._caller = caller
        self._callee = callee

    def pcm(self, side: ListenSide) -> bytes:
        """Return little-endian samples of 16 bits: of one side, or of both, interleaved."""
        if side is ListenSide.BOTH:
            return self._both
        return (self._caller if side is ListenSide.CALLER else self._callee).astype("<i2", copy=False).tobytes()

    @cached_property
    def _both(self) -> bytes:
        return np.column_stack((self._caller, self._callee)).astype("<i2", copy=False).tobytes()


class SideBuffer:
    """The audio of one side that waits for the other one. Late and repeated packets are dropped."""

    def __init__(self, frame_size: int) -> None:
        self._frame_size = frame_size
        self._samples: Samples = np.zeros(0, dtype=np.int16)
        self._last: RtpPacket | None = None

    def add(self, packet: RtpPacket, samples: Samples) -> None:
        """Append the samples of a packet, and silence in the place of lost ones before it."""
        last, lost = self._last, 0
        if last is not None and last.source == packet.source:
            ahead = (packet.sequence - last.sequence) % _SEQUENCES
            if not 0 < ahead < _SEQUENCES // 2:
                return
            lost = ahead - 1 if ahead - 1 <= _MAX_GAP else 0
        self._last = packet
        silence = np.zeros(lost * len(samples), dtype=np.int16)
        self._samples = np.concatenate((self._samples, silence, samples))

    @property
    def frames(self) -> int:
        """The number of complete frames."""
        return len(self._samples) // self._frame_size

    def take(self) -> Samples:
        """Remove the first frame and return it; silence if there is none."""
        if not self.frames:
            return np.zeros(self._frame_size, dtype=np.int16)
        frame, self._samples = self._samples[: self._frame_size], self._samples[self._frame_size :]
        return frame


class FrameMixer:
    """Calls ``emit`` with each frame of both sides.

    The side that is ahead determines the pace: while the other one is more than 100 ms behind, it is silent.
    """

    def __init__(self, rate: int, emit: Callable[[Frame], None]) -> None:
        self._emit = emit
        self._buffers = {side: SideBuffer(rate // FRAMES_PER_SECOND) for side in Side}

    def add(self, side: Side, packet: RtpPacket, samples: Samples) -> None:
        """Handle the packet of one side."""
        self._buffers[side].add(packet, samples)
        caller, callee = self._buffers[Side.CALLER], self._buffers[Side.CALLEE]
        while (caller.frames and callee.frames) or max(caller.frames, callee.frames) > _LEAD:
            self._emit(Frame(caller.take(), callee.take()))
