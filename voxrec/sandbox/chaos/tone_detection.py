"""Measure how much of each side's tone a recording contains."""

from pathlib import Path

import numpy as np

from voxrec.sandbox import tones
from voxrec.sandbox.chaos.phones import CALLEE_HZ, CALLER_HZ

FRAME_SECONDS = 0.02
"""Length of one packet of G.711, the unit in which audio is lost."""
AUDIBLE_AMPLITUDE = 10 ** (tones.AUDIBLE_DBFS / 20)


def seconds_of_tone(samples: tones.Samples, rate: int, hz: float) -> float:
    """Return the seconds of the tone ``hz`` in one channel, counted in frames of 20 ms.

    A frame counts if the tone's amplitude in it is at least half of the 90th percentile in this channel, and audible.
    """
    length = round(FRAME_SECONDS * rate)
    # The last, incomplete frame is padded with silence.
    frames = np.pad(samples, (0, -len(samples) % length)).reshape(-1, length)
    reference = np.exp(-2j * np.pi * hz / rate * np.arange(length))
    amplitude = 2 * np.abs(frames @ reference) / length
    if not len(amplitude):
        return 0.0
    present = amplitude >= max(AUDIBLE_AMPLITUDE, float(np.percentile(amplitude, 90)) / 2)
    return float(np.count_nonzero(present)) * FRAME_SECONDS


def tone_seconds_by_side(path: Path) -> tuple[float, float]:
    """Return the seconds of the caller's tone on the left channel and of the far end's tone on the right one."""
    samples, rate = tones.load_audio(path)
    return (
        seconds_of_tone(samples[:, 0], rate, CALLER_HZ),
        seconds_of_tone(samples[:, -1], rate, CALLEE_HZ),
    )
