"""Measure one leg of a call: level, duration of speech, clipping."""

import math
from typing import Final

import numpy as np

from voxrec.audio.reader import Samples
from voxrec.audio.repetitions import find_duplicates, find_gaps

# Speech on a telephone line is adjusted to -26 dBov while active (measured as in ITU-T P.56), a quiet talker is about
# 10 dB below, and P.56 lets speech fall 15.9 dB below its active level: -52. Comfort noise (RFC 3389) is commonly sent
# at -60 and below. -50 is between the two, nearer to the quiet talker.
SPEECH_DBFS: Final = -50.0
WINDOW_SECONDS: Final = 0.020  # the usual packet of G.711, and the usual frame of speech codecs

# A-law has no zero: an idle line decodes to +8 or -8 of 32768 (ITU-T G.711, table 1a), which is silence, too.
DIGITAL_SILENCE: Final = 8
# The largest sample of mu-law; A-law reaches 32256 (G.711). Only linear codecs reach 32767.
FULL_SCALE: Final = 32124
CLIPPED_RUN: Final = 3  # adjacent full-scale samples; one or two are a peak that just fits

_WINDOWS_PER_BLOCK: Final = 1600  # half a minute


def frames_per_block(rate: int) -> int:
    """Return a number of frames for the blocks of `Meter.feed`: whole windows, 32 seconds."""
    return _window_size(rate) * _WINDOWS_PER_BLOCK


def whole_windows(frames: int, rate: int) -> int:
    """Return ``frames`` rounded down to whole windows, but at least one."""
    size = _window_size(rate)
    return max(size, frames - frames % size)


def _window_size(rate: int) -> int:
    return max(1, round(rate * WINDOW_SECONDS))


class Meter:
    """Measures one leg, block by block. Every block except the last consists of whole windows."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._window_size = _window_size(rate)
        self._speech_energy = (10 ** (SPEECH_DBFS / 20) * 32768) ** 2 * self._window_size  # of a window
        self._last_full_scale = np.zeros(CLIPPED_RUN - 1, dtype=np.bool_)
        self._energy = 0.0
        self._peak = 0
        self._speech_windows = 0
        self._gap_samples = 0
        self.gaps = 0
        self._duplicate_samples = 0
        self.frames = 0
        self.clipped = False

    def feed(self, samples: Samples) -> None:
        """Measure a block: a one-dimensional array that is not empty."""
        windowed = len(samples) - len(samples) % self._window_size
        floats = samples.astype(np.float32)
        windows = floats[:windowed].reshape(-1, self._window_size)
        energies = np.einsum("ij,ij->i", windows, windows)
        # the remainder counts for the level; it is too short to count as speech
        remainder = floats[windowed:]
        self.frames += len(samples)
        self._energy += float(energies.sum(dtype=np.float64)) + float(np.dot(remainder, remainder))
        self._speech_windows += int(np.count_nonzero(energies > self._speech_energy))
        # not np.abs: abs(-32768) exceeds int16
        peak = max(int(samples.max()), -int(samples.min()))
        self._peak = max(self._peak, peak)
        if peak and not energies.all():
            gaps = find_gaps(samples, self._rate).lengths
            self.gaps += len(gaps)
            self._gap_samples += int(gaps.sum())
        if peak > DIGITAL_SILENCE:
            self._duplicate_samples += int(find_duplicates(samples, self._rate).lengths.sum())
        if peak >= FULL_SCALE or self._last_full_scale.any():
            self._detect_clipping(samples)

    def _detect_clipping(self, samples: Samples) -> None:
        full_scale = np.concatenate((self._last_full_scale, (samples >= FULL_SCALE) | (samples <= -FULL_SCALE)))
        self._last_full_scale = full_scale[1 - CLIPPED_RUN :]
        if not self.clipped and full_scale.any():
            runs = np.lib.stride_tricks.sliding_window_view(full_scale, CLIPPED_RUN)
            self.clipped = bool(runs.all(axis=1).any())

    @property
    def duration(self) -> float:
        """Duration in seconds."""
        return self.frames / self._rate

    @property
    def has_signal(self) -> bool:
        """Whether any sample differs from zero. Asterisk writes zeros where it has no audio of a party."""
        return self._peak > 0

    @property
    def gap_seconds(self) -> float:
        """Total duration of the gaps: zeros that MixMonitor wrote in the middle of audio, at most 0.1 s at a time.

        A gap consists of whole frames of MixMonitor, and the samples next to it are not zero.
        """
        return self._gap_samples / self._rate

    @property
    def duplicate_seconds(self) -> float:
        """Total duration of the packets that were recorded twice, one behind the other, in seconds."""
        return self._duplicate_samples / self._rate

    @property
    def speech_seconds(self) -> float:
        """Total duration of the windows that are loud enough to be speech, in seconds."""
        return self._speech_windows * self._window_size / self._rate

    @property
    def level_dbfs(self) -> float | None:
        """RMS level relative to a full-scale square wave (dBov); None for digital silence."""
        if self._peak <= DIGITAL_SILENCE:
            return None
        return 10 * math.log10(self._energy / self.frames / 32768**2)
