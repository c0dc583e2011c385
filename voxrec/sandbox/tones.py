"""Generate test tones and measure them in recordings. Pure functions over samples.

Samples are floats from -1 to 1; one channel is an array of shape (frames,). Levels are amplitudes: 1.0 is full scale,
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
PIECE_SECONDS = 0.5
MAX_SHIFT_SECONDS = 0.2

# Blocks of rising height, from silence to full scale, in a terminal.
_BLOCKS = " ▁▂▃▄▅▆▇█"
_SPARKLINE_FLOOR_DB = -48.0


class Match(NamedTuple):
    """Position of a known sound in ``seconds`` from the start, and the confidence ``score`` from 0 to 1."""

    seconds: float
    score: float


def write_tone(path: Path, hz: float, seconds: float, *, rate: int = 8000, level_dbfs: float = -12.0) -> Path:
    """Write a steady tone to a 16-bit mono WAV file and return its path."""
    return write_tones(path, [hz], seconds, rate=rate, level_dbfs=level_dbfs)


def write_tones(
    path: Path, frequencies: Sequence[float], seconds: float, *, rate: int = 8000, level_dbfs: float = -12.0
) -> Path:
    """Write a mix of tones (Hz), each at the given level, to a 16-bit mono WAV file and return its path."""
    time = np.arange(round(seconds * rate)) / rate
    level = 10 ** (level_dbfs / 20)
    samples = np.zeros(len(time))
    for hz in frequencies:
        samples += level * np.sin(2 * np.pi * hz * time)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="PCM_16")
    return path


def loop_to_length(source: Path, target: Path, seconds: float) -> Path:
    """Write ``source`` repeated to a length of at least ``seconds`` to ``target``, and return ``target``."""
    samples, rate = soundfile.read(source, dtype="int16")
    repetitions = max(1, int(np.ceil(seconds * rate / max(1, len(samples)))))
    target.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(target, np.concatenate([samples] * repetitions), rate, subtype="PCM_16")
    return target


def load_audio(path: Path) -> tuple[Samples, int]:
    """Return the samples of an audio file with shape (frames, channels), and its rate in Hz."""
    samples, rate = soundfile.read(path, dtype="float64", always_2d=True)
    return samples, int(rate)


def tone_amplitude(samples: Samples, rate: int, hz: float, window_seconds: float = WINDOW_SECONDS) -> Samples:
    """Return the amplitude of the tone ``hz`` in one channel, one value for each millisecond (STEP_SECONDS).

    Each value is the projection on that tone (a single bin of a Fourier transform) over a window centred there.
    Frequencies further away than 1/window, 50 Hz for the default of 20 ms, contribute little.
    """
    window = max(1, round(window_seconds * rate))
    shifted = samples * np.exp(-2j * np.pi * hz / rate * np.arange(len(samples)))
    padded = np.pad(shifted, (window // 2, window - window // 2))
    sums = np.concatenate([[0], np.cumsum(padded)])
    centres = np.arange(0, len(samples) / rate, STEP_SECONDS) * rate
    starts = centres.astype(np.int64)
    # Doubled because half of a real tone's amplitude is at the negative frequency.
    amplitude: Samples = 2 * np.abs(sums[starts + window] - sums[starts]) / window
    return amplitude


def tone_intervals(
    samples: Samples,
    rate: int,
    hz: float,
    *,
    threshold_dbfs: float = AUDIBLE_DBFS,
    window_seconds: float = WINDOW_SECONDS,
) -> list[tuple[float, float]]:
    """Return the intervals (start, end in seconds) that contain the tone; none is shorter than the window."""
    audible = tone_amplitude(samples, rate, hz, window_seconds) > 10 ** (threshold_dbfs / 20)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], audible, [False]]).astype(np.int8)))
    intervals = ((start * STEP_SECONDS, end * STEP_SECONDS) for start, end in edges.reshape(-1, 2).tolist())
    return [(start, end) for start, end in intervals if end - start >= window_seconds]


def missing_milliseconds(
    samples: Samples,
    rate: int,
    hz: float,
    start: float,
    end: float,
    *,
    threshold_dbfs: float = AUDIBLE_DBFS,
    window_seconds: float = WINDOW_SECONDS,
) -> float:
    """Return the total milliseconds between ``start`` and ``end`` (seconds) in which the tone is missing.

    The tone is missing where its amplitude is less than half of its 90th percentile in that interval, or inaudible. A
    gap longer than half the window is measured to the millisecond; shorter gaps are not detected. The part of the
    interval after the last sample is missing.
    """
    steps = round((end - start) / STEP_SECONDS)
    first = round(start / STEP_SECONDS)
    amplitude = tone_amplitude(samples, rate, hz, window_seconds)[first : first + steps]
    usual = float(np.percentile(amplitude, 90)) if len(amplitude) else 0.0
    floor = max(usual / 2, 10 ** (threshold_dbfs / 20))
    return float(steps - np.count_nonzero(amplitude >= floor)) * STEP_SECONDS * 1000


def find_sound(sound: Samples, channel: Samples, rate: int) -> Match:
    """Find the best match of a known sound in one channel of the same rate.

    Steady tones and companding (G.711) in the channel do not hide the sound, because the channel's spectrum is
    flattened first. A score above 0.5 means that the sound is there, one below 0.2 that it is not.
    """
    if len(channel) < len(sound) or not np.any(sound):
        return Match(0.0, 0.0)
    length = 1 << (len(channel) + len(sound)).bit_length()
    channel_spectrum = np.fft.rfft(channel, length)
    sound_spectrum = np.fft.rfft(sound, length)
    flattening = _flattening(channel_spectrum, length, rate)
    # Bins in which the sound has no energy hold only noise after flattening.
    mask = np.abs(sound_spectrum) ** 2 > 1e-4 * np.max(np.abs(sound_spectrum) ** 2)
    flat_channel = np.fft.irfft(channel_spectrum * flattening * mask, length)
    flat_sound_spectrum = sound_spectrum * flattening * mask
    correlation = np.fft.irfft(np.fft.rfft(flat_channel) * np.conj(flat_sound_spectrum), length)
    offsets = len(channel) - len(sound) + 1
    sums = np.concatenate([[0], np.cumsum(flat_channel[: len(channel)] ** 2)])
    local_norm = np.sqrt(np.maximum(sums[len(sound) : len(sound) + offsets] - sums[:offsets], 0))
    sound_norm = np.sqrt(np.sum(np.fft.irfft(flat_sound_spectrum, length) ** 2))
    # The lower bound of the divisor keeps silence, which would correlate with anything, from scoring high.
    score = correlation[:offsets] / (sound_norm * np.maximum(local_norm, 0.05 * np.max(local_norm)) + 1e-12)
    best = int(np.argmax(score))
    return Match(best / rate, float(np.clip(score[best], 0, 1)))


def find_interrupted_sound(sound: Samples, channel: Samples, rate: int) -> Match:
    """Find a known sound as `find_sound` does, although single packets of it were lost or delayed.

    One packet that is played 20 ms late shifts the rest of the sound, whose two parts then match at different positions
    and have half the score each. Here pieces of PIECE_SECONDS are searched for, and count by their energy if they are
    within MAX_SHIFT_SECONDS of where most of the sound is.
    """
    length = round(PIECE_SECONDS * rate)
    starts = range(0, len(sound), length)
    pieces = [sound[start : start + length] for start in starts]
    matches = [find_sound(piece, channel, rate) for piece in pieces]
    energies = np.array([np.sum(piece**2) for piece in pieces])
    scores = np.array([match.score for match in matches])
    offsets = np.array([match.seconds - start / rate for match, start in zip(matches, starts, strict=True)])
    if not np.any(scores * energies):
        return Match(0.0, 0.0)
    usual = offsets[int(np.argmax(scores * energies))]
    consistent = np.abs(offsets - usual) <= MAX_SHIFT_SECONDS
    score = float(np.sum(scores * energies * consistent) / np.sum(energies))
    return Match(float(offsets[consistent][np.argmax(energies[consistent] > 0)]), score)


def sparkline(samples: Samples, width: int = 60) -> str:
    """Return the loudness over time as ``width`` block characters; one line for each channel."""
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
