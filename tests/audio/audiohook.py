"""A model of the audiohook from which MixMonitor reads, with the arrival of each packet (main/audiohook.c).

Audio consists of pieces of 10 ms, numbered from the beginning of the call by the clock of the party that sends them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.audio.fixtures import RATE, Samples

PIECE_MS = 10
SILENCE = -1
"""The number of a piece of zeros, which the audiohook substitutes."""
SYNC_TOLERANCE = 100.0  # ms
QUEUE_TOLERANCE = 500.0  # ms
TRIGGER_WAIT = 50.0  # ms

Pieces = NDArray[np.int64]


class Packet(NamedTuple):
    """Pieces that arrive at a time in ms."""

    arrival: float
    pieces: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AudioHook:
    """The audiohook of a version of Asterisk that reads frames of ``frame`` pieces: 2 at 8 kHz, 1 at 16 kHz."""

    version: int = 22
    frame: int = 2

    def record(self, caller: Sequence[Packet], callee: Sequence[Packet]) -> tuple[Pieces, Pieces]:
        """Return the pieces that MixMonitor records of both parties."""
        events = sorted([(packet.arrival, side, packet.pieces) for side in (0, 1) for packet in (caller, callee)[side]])
        state = _State()
        now = 0.0
        for arrival, side, pieces in events:
            while now + TRIGGER_WAIT < arrival:
                now += TRIGGER_WAIT
                self._read(state, now)
            now = arrival
            self._write(state, now, side, pieces)
            self._read(state, now)
        left, right = (np.array(written, dtype=np.int64) for written in state.written)
        return left, right

    def _write(self, state: "_State", now: float, side: int, pieces: tuple[int, ...]) -> None:
        own, other = state.queues[side], state.queues[1 - side]
        own_ms = now - state.times[side] + len(own) * PIECE_MS
        other_ms = len(other) * PIECE_MS
        state.times[side] = now
        if own_ms - other_ms > SYNC_TOLERANCE or max(own_ms, other_ms) > QUEUE_TOLERANCE:
            own.clear()
            other.clear()
        own.extend(pieces)

    def _read(self, state: "_State", now: float) -> None:
        while True:
            usable = [len(queue) >= self.frame for queue in state.queues]
            if not any(usable):
                return
            if not all(usable) and self._waits(state, now, usable.index(False)):
                return
            for side in (0, 1):
                queue = state.queues[side]
                state.written[side].extend(queue[: self.frame] if usable[side] else [SILENCE] * self.frame)
                if usable[side]:
                    del queue[: self.frame]

    def _waits(self, state: "_State", now: float, side: int) -> bool:
        """Return whether it waits for a side that has too little."""
        age = now - state.times[side]
        if self.version < 20:  # 2 * samples / 8, where the frame always has 160 samples
            return age < 40.0
        return age < 80.0 and len(state.queues[1 - side]) < 4 * self.frame


@dataclass(slots=True)
class _State:
    queues: tuple[list[int], list[int]] = field(default_factory=lambda: ([], []))
    written: tuple[list[int], list[int]] = field(default_factory=lambda: ([], []))
    times: list[float] = field(default_factory=lambda: [-1e9, -1e9])


def no_delays(count: int) -> NDArray[np.float64]:
    """Return the delays of packets that all take the same time."""
    return np.zeros(count)


@dataclass(frozen=True, slots=True)
class Party:
    """What a party sends, and what happens to it on the way to Asterisk.

    Its packets have ``ptime`` ms of audio, and the first one is sent at ``phase`` ms. Its clock is fast by ``ppm``.
    ``lost`` and ``twice`` return for each packet whether it is lost, or arrives twice; ``delays`` its delay in ms.
    """

    ptime: int = 20
    phase: float = 0.0
    ppm: float = 0.0
    lost: Callable[[int], NDArray[np.bool_]] | None = None
    twice: Callable[[int], NDArray[np.bool_]] | None = None
    delays: Callable[[int], NDArray[np.float64]] = no_delays

    def time_of(self, pieces: Pieces) -> NDArray[np.float64]:
        """Return the times in ms at which these pieces were said."""
        times = pieces * (PIECE_MS * (1 - self.ppm / 1e6)) + self.phase
        return times.astype(np.float64)

    def packets(self, seconds: float) -> tuple[list[Packet], int]:
        """Return the packets that reach Asterisk in a call, and the number of those that were lost."""
        per_packet = self.ptime // PIECE_MS
        count = int(seconds * 1000 * (1 + self.ppm / 1e6)) // self.ptime
        first = np.arange(count) * per_packet
        arrivals = self.time_of(first) + self.delays(count)
        none = np.zeros(count, dtype=np.bool_)
        lost = self.lost(count) if self.lost else none
        twice = self.twice(count) if self.twice else none
        packets = []
        for number in np.flatnonzero(~lost).tolist():
            pieces = tuple(range(number * per_packet, (number + 1) * per_packet))
            packet = Packet(
                round(float(arrivals[number]), 6), pieces
            )  # so that those that arrive at once stay in order
            packets += [packet, packet] if twice[number] else [packet]
        return packets, int(np.count_nonzero(lost))


def at_random(share: float, seed: int) -> Callable[[int], NDArray[np.bool_]]:
    """Return a function that chooses packets independently of each other."""
    return lambda count: np.random.default_rng(seed).random(count) < share


def in_bursts(share: float, length: float, seed: int) -> Callable[[int], NDArray[np.bool_]]:
    """Return a function that chooses packets in bursts of a mean length (the model of Gilbert)."""

    def choose(count: int) -> NDArray[np.bool_]:
        generator = np.random.default_rng(seed)
        chosen = np.zeros(count, dtype=np.bool_)
        position = 0
        while position < count:
            position += int(generator.geometric(share / length / (1 - share)))
            burst = int(generator.geometric(1 / length))
            chosen[position : position + burst] = True
            position += burst
        return chosen

    return choose


def jitter(greatest: float, seed: int) -> Callable[[int], NDArray[np.float64]]:
    """Return a function that delays each packet by up to ``greatest`` ms, so that some change their order."""
    return lambda count: np.random.default_rng(seed).uniform(0, greatest, count)


def stalls(every: float, length: float, seed: int, ptime: int = 20) -> Callable[[int], NDArray[np.float64]]:
    """Return a function by which no packet arrives for ``length`` ms, about each ``every`` ms: of a busy machine."""

    def delay(count: int) -> NDArray[np.float64]:
        generator = np.random.default_rng(seed)
        sent = np.arange(count) * float(ptime)
        arrivals = sent.copy()
        start = generator.exponential(every)
        while count and start < sent[-1]:
            during = (sent >= start) & (sent < start + length)
            arrivals[during] = start + length
            start += length + generator.exponential(every)
        return arrivals - sent

    return delay


class Displacement(NamedTuple):
    """How far the caller is behind the callee in a recording, in ms, at each piece that has audio of both."""

    values: NDArray[np.float64]

    @property
    def median(self) -> float:
        """The median."""
        return float(np.median(self.values))

    @property
    def typical_maximum(self) -> float:
        """The greatest absolute value, but for 1 % of the time."""
        return float(np.quantile(np.abs(self.values), 0.99))

    def share_above(self, limit: float) -> float:
        """Return the share of the time with an absolute value above ``limit``."""
        return float(np.mean(np.abs(self.values) > limit))


def displacement(recorded: tuple[Pieces, Pieces], caller: Party, callee: Party) -> Displacement:
    """Return the displacement of the recorded sides: the difference of the times of what is heard at once."""
    both = (recorded[0] != SILENCE) & (recorded[1] != SILENCE)
    times = [party.time_of(pieces[both]) for party, pieces in zip((caller, callee), recorded, strict=True)]
    return Displacement(times[1] - times[0])


def audio_of(pieces: Pieces, seed: int, rate: int = RATE, *, has_state: bool = False) -> Samples:
    """Return the samples of recorded pieces: noise without zeros. ``has_state``: of a decoder whose copies differ."""
    noise = np.random.default_rng(seed).normal(0, 3000, (4096, rate * PIECE_MS // 1000)).astype(np.int16) | 1
    numbers = np.arange(len(pieces)) if has_state else pieces  # each returns after 41 s
    samples: Samples = np.where((pieces == SILENCE)[:, np.newaxis], 0, noise[numbers % len(noise)]).astype(np.int16)
    return samples.reshape(-1)
