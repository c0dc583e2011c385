"""How much of each side's tone a recorded file holds."""

from pathlib import Path

import numpy as np

from voxrec.sandbox import tones
from voxrec.sandbox.chaos.phones import CALLEE_HZ, CALLER_HZ

FRAME_SECONDS = 0.02
"""One packet of G.711: what is lost, is lost in these."""
AUDIBLE = 10 ** (tones.AUDIBLE_DBFS / 20)


def seconds_of_tone(samples: tones.Samples, rate: int, hz: float) -> float:
    """Return for how many seconds one channel holds the tone ``hz``, counted in frames of 20 ms.

    A frame holds it where it has at least half of the tone's usual amplitude in this channel, and is audible.
    """
    length = round(FRAME_SECONDS * rate)
    # the last, unfinished frame counts as what it is
    frames = np.pad(samples, (0, -len(samples) % length)).reshape(-1, length)
    turn = np.exp(-2j * np.pi * hz / rate * np.arange(length))
    level = 2 * np.abs(frames @ turn) / length
    if not len(level):
        return 0.0
    there = level >= max(AUDIBLE, float(np.percentile(level, 90)) / 2)
    return float(np.count_nonzero(there)) * FRAME_SECONDS


def sides(path: Path) -> tuple[float, float]:
    """Return the seconds of the caller's tone on the left and of the far end's on the right."""
    samples, rate = tones.load(path)
    return (
        seconds_of_tone(samples[:, 0], rate, CALLER_HZ),
        seconds_of_tone(samples[:, -1], rate, CALLEE_HZ),
    )
