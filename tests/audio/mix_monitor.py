"""A model of MixMonitor: what it records of packets that arrive twice, or never."""

import numpy as np

from tests.audio.fixtures import RATE, Samples

FRAME = 160
MAX_QUEUE = 4  # frames; audiohook_read_frame_both in main/audiohook.c of Asterisk 22
ZEROS = np.zeros(FRAME, dtype=np.int16)

Arrivals = list[list[Samples]]
"""The packets of one party that arrive in each 20 ms."""


def mix_monitor(caller: Arrivals, callee: Arrivals) -> tuple[Samples, Samples]:
    """Return what MixMonitor of Asterisk 22 records of two parties of which none is silent for 80 ms."""
    queues = [ZEROS[:0], ZEROS[:0]]
    written: tuple[list[Samples], list[Samples]] = ([], [])
    for arrivals in zip(caller, callee, strict=True):
        queues = [np.concatenate((queue, *packets)) for queue, packets in zip(queues, arrivals, strict=True)]
        while all(len(each) >= FRAME for each in queues) or any(len(each) >= MAX_QUEUE * FRAME for each in queues):
            for side, queue in enumerate(queues):
                usable = len(queue) >= FRAME
                written[side].append(queue[:FRAME] if usable else ZEROS)
                queues[side] = queue[FRAME:] if usable else queue
    left, right = (np.concatenate(frames) for frames in written)
    return left, right


def speech(seconds: float, seed: int) -> list[Samples]:
    """Return the packets of a party."""
    noise = np.random.default_rng(seed).normal(0, 3000, round(seconds * RATE)).astype(np.int16)
    return np.split(noise | 1, range(FRAME, len(noise), FRAME))  # without zeros


def arrive(packets: list[Samples], *, twice: int = 0, lost: int = 0) -> Arrivals:
    """Let each n-th packet arrive twice, and another n-th one never."""
    return [
        [] if lost and number % lost == 0 else [packet] * (2 if twice and number % twice == 1 % twice else 1)
        for number, packet in enumerate(packets, start=1)
    ]
