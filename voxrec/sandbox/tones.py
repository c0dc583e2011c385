"""Test tones and their measure: what the phones play, and the proof of what they heard. Pure functions over samples.

Samples are floats in -1..1; one channel is an array of shape (frames,). Levels are amplitudes: 1.0 is full scale,
0 dBFS.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

Samples = NDArray[np.float64]

STEP_SECONDS = 0.001
WINDOW_SECONDS = 0.02
AUDIBLE_DBFS = -40.0

# Blocks of rising height, from silence to full scale, in a terminal.
_BLOCKS = " ▁▂▃▄▅▆▇█"
_SPARKLINE_FLOOR_DB = -48.0


class Match(NamedTuple):
    """Where a known sound was found: ``seconds`` from the start, and how sure (``score``, 0 to 1)."""

    seconds: float
    score: float


def make_tone(path: Path, hz: float, seconds: float, *, rate: int = 8000, level_dbfs: float = -12.0) -> Path:
    """Write a steady tone as a 16 bit mono WAV file and return its path."""
    return make_tones(path, [hz], seconds, rate=rate, level_dbfs=level_dbfs)


def make_tones(
    path: Path, frequencies: Sequence[float], seconds: float, *, rate: int = 8000, level_dbfs: float = -12.0
) -> Path:
    """Write several tones (Hz) at once, each of the given level, as a 16 bit mono WAV file and return its path."""
    time = np.arange(round(seconds * rate)) / rate
    level = 10 ** (level_dbfs / 20)
    samples = np.zeros(len(time))
    for hz in frequencies:
        samples += level * np.sin(2 * np.pi * hz * time)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="PCM_16")
    return path


def repeat(source: Path, target: Path, seconds: float) -> Path:
    """Write ``source`` over and over, ``seconds`` long at least, to ``target`` and return that."""
    samples, rate = soundfile.read(source, dtype="int16")
    times = max(1, int(np.ceil(seconds * rate / max(1, len(samples)))))
    target.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(target, np.concatenate([samples] * times), rate, subtype="PCM_16")
    return target


def load(path: Path) -> tuple[Samples, int]:
    """Read an audio file: samples of shape (frames, channels), and the rate in Hz."""
    samples, rate = soundfile.read(path, dtype="float64", always_2d=True)
    return samples, int(rate)


def energy(samples: Samples, rate: int, hz: float, window_seconds: float = WINDOW_SECONDS) -> Samples:
    """Return the amplitude of the tone ``hz`` for every millisecond (STEP_SECONDS) of one channel.

    Each value is the projection on that tone (a single bin of a Fourier transform) over a window centred there. A
    frequency further than 1/window away counts little: 50 Hz for the default of 20 ms.
    """
    window = max(1, round(window_seconds * rate))
    turned = samples * np.exp(-2j * np.pi * hz / rate * np.arange(len(samples)))
    padded = np.pad(turned, (window // 2, window - window // 2))
    sums = np.concatenate([[0], np.cumsum(padded)])
    centres = np.arange(0, len(samples) / rate, STEP_SECONDS) * rate
    starts = centres.astype(np.int64)
    # Twice: half of a real tone's energy lies at the negative frequency.
    level: Samples = 2 * np.abs(sums[starts + window] - sums[starts]) / window
    return level


def present(
    samples: Samples,
    rate: int,
    hz: float,
    *,
    threshold_dbfs: float = AUDIBLE_DBFS,
    window_seconds: float = WINDOW_SECONDS,
) -> list[tuple[float, float]]:
    """Return the spans (start, end in seconds) where the tone is heard; none is shorter than the window."""
    heard = energy(samples, rate, hz, window_seconds) > 10 ** (threshold_dbfs / 20)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], heard, [False]]).astype(np.int8)))
    spans = ((start * STEP_SECONDS, end * STEP_SECONDS) for start, end in edges.reshape(-1, 2).tolist())
    return [(start, end) for start, end in spans if end - start >= window_seconds]


def missing(
    samples: Samples,
    rate: int,
    hz: float,
    start: float,
    end: float,
    *,
    threshold_dbfs: float = AUDIBLE_DBFS,
    window_seconds: float = WINDOW_SECONDS,
) -> float:
    """Return for how many milliseconds between ``start`` and ``end`` (seconds) the tone is away.

    Away means below half its own usual level there. A gap longer than half the window is measured to the millisecond;
    a shorter one does not show. What lies beyond the end of the samples is missing.
    """
    wanted = round((end - start) / STEP_SECONDS)
    first = round(start / STEP_SECONDS)
    level = energy(samples, rate, hz, window_seconds)[first : first + wanted]
    usual = float(np.percentile(level, 90)) if len(level) else 0.0
    floor = max(usual / 2, 10 ** (threshold_dbfs / 20))
    return float(wanted - np.count_nonzero(level >= floor)) * STEP_SECONDS * 1000


def find(sample: Samples, in_samples: Samples, rate: int) -> Match:
    """Find a known sound in one channel of the same rate.

    Steady tones and companding (G.711) in the channel do not hide it: the channel's own spectrum is flattened first,
    so that what towers over it counts no more than the rest. Scores above 0.5 are a find, below 0.2 chance.
    """
    if len(in_samples) < len(sample) or not np.any(sample):
        return Match(0.0, 0.0)
    length = 1 << (len(in_samples) + len(sample)).bit_length()
    where = np.fft.rfft(in_samples, length)
    what = np.fft.rfft(sample, length)
    flatten = _flattening(where, length, rate)
    # Only where the sound itself has something to say: elsewhere the flattened spectrum is nothing but noise.
    weight = np.abs(what) ** 2 > 1e-4 * np.max(np.abs(what) ** 2)
    flat_where = np.fft.irfft(where * flatten * weight, length)
    flat_what = what * flatten * weight
    correlation = np.fft.irfft(np.fft.rfft(flat_where) * np.conj(flat_what), length)
    offsets = len(in_samples) - len(sample) + 1
    sums = np.concatenate([[0], np.cumsum(flat_where[: len(in_samples)] ** 2)])
    local = np.sqrt(np.maximum(sums[len(sample) : len(sample) + offsets] - sums[:offsets], 0))
    own = np.sqrt(np.sum(np.fft.irfft(flat_what, length) ** 2))
    # Silence correlates with anything: it may not divide by (almost) nothing.
    score = correlation[:offsets] / (own * np.maximum(local, 0.05 * np.max(local)) + 1e-12)
    best = int(np.argmax(score))
    return Match(best / rate, float(np.clip(score[best], 0, 1)))


def sparkline(samples: Samples, width: int = 60) -> str:
    """Draw the loudness of an audio file over its time with ``width`` characters; one line for each channel."""
    channels = samples.T if samples.ndim > 1 else samples[np.newaxis]
    return "\n".join(_draw(channel, width) for channel in channels)


def _draw(channel: Samples, width: int) -> str:
    peaks = [float(np.max(np.abs(part))) if len(part) else 0.0 for part in np.array_split(channel, width)]
    decibels = 20 * np.log10(np.maximum(peaks, 1e-6))
    heights = np.clip(1 - decibels / _SPARKLINE_FLOOR_DB, 0, 1) * (len(_BLOCKS) - 1)
    return "".join(_BLOCKS[int(np.ceil(height))] for height in heights)


def _flattening(spectrum: NDArray[np.complex128], length: int, rate: int, smooth_hz: float = 40.0) -> Samples:
    bins = max(1, round(smooth_hz * length / rate))
    power = np.convolve(np.abs(spectrum) ** 2, np.ones(bins) / bins, mode="same")
    flattening: Samples = 1 / np.sqrt(power + 1e-9 * np.max(power) + 1e-12)
    return flattening
