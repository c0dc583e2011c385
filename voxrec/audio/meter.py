"""What one side of a call measures: level, speech, clipping."""

import math
from typing import Final

import numpy as np

from voxrec.audio.source import Samples

# Speech on a telephone line is adjusted to -26 dBov while active (ITU-T P.56 measures it so), a quiet talker is about
# 10 dB below, and P.56 lets speech reach 15.9 dB under its active level: -52. Comfort noise (RFC 3389) is commonly sent
# at -60 and below. -50 stands between, nearer to the quiet talker.
SPEECH_DBFS: Final = -50.0
WINDOW_SECONDS: Final = 0.020  # one RTP packet of G.711: the usual frame of speech

# A-law has no zero: an idle line decodes to +8 or -8 of 32768 (ITU-T G.711, table 1a). That is silence, too.
DIGITAL_SILENCE: Final = 8
# The largest sample that mu-law can carry; A-law reaches 32256 (G.711). Only linear codecs ever see 32767.
FULL_SCALE: Final = 32124
CLIPPED_RUN: Final = 3  # adjacent full-scale samples: one or two are a peak that just fits

_WINDOWS: Final = 1600  # of a block: half a minute


def block_of(rate: int) -> int:
    """Return how many frames a `Meter` is fed at once: half a minute, in whole windows."""
    return _window(rate) * _WINDOWS


def _window(rate: int) -> int:
    return max(1, round(rate * WINDOW_SECONDS))


class Meter:
    """Listens to one side, fed block by block, each but the last as long as `block_of` says."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._window = _window(rate)
        self._loud = (10 ** (SPEECH_DBFS / 20) * 32768) ** 2 * self._window
        self._full_tail = np.zeros(CLIPPED_RUN - 1, dtype=np.bool_)
        self._energy = 0.0
        self._peak = 0
        self._loud_windows = 0
        self.frames = 0
        self.clipped = False

    def feed(self, samples: Samples) -> None:
        """Listen to more, of one dimension and not empty."""
        whole = len(samples) - len(samples) % self._window
        wide = samples.astype(np.float32)
        windows = wide[:whole].reshape(-1, self._window)
        energies = np.einsum("ij,ij->i", windows, windows)
        # the rest of the last window counts for the level; alone it is too short to be speech
        rest = wide[whole:]
        self.frames += len(samples)
        self._energy += float(energies.sum(dtype=np.float64)) + float(np.dot(rest, rest))
        self._loud_windows += int(np.count_nonzero(energies > self._loud))
        # abs(-32768) is no int16
        peak = max(int(samples.max()), -int(samples.min()))
        self._peak = max(self._peak, peak)
        if peak >= FULL_SCALE or self._full_tail.any():
            self._look_for_clipping(samples)

    def _look_for_clipping(self, samples: Samples) -> None:
        full = np.concatenate((self._full_tail, (samples >= FULL_SCALE) | (samples <= -FULL_SCALE)))
        self._full_tail = full[1 - CLIPPED_RUN :]
        if not self.clipped and full.any():
            runs = np.lib.stride_tricks.sliding_window_view(full, CLIPPED_RUN)
            self.clipped = bool(runs.all(axis=1).any())

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.frames / self._rate

    @property
    def speech_seconds(self) -> float:
        """For how long somebody spoke."""
        return self._loud_windows * self._window / self._rate

    @property
    def level_dbfs(self) -> float | None:
        """The RMS against a full-scale square wave (dBov, that is); None for digital silence."""
        if self._peak <= DIGITAL_SILENCE:
            return None
        return 10 * math.log10(self._energy / self.frames / 32768**2)
