"""Recognisable audio: noise of which every 10 ms is unique, and the search for these pieces in other audio.

Pure functions over samples. A piece is found wherever it was moved to, also after companding or another codec, by
normalised correlation. Bit-exact copies are counted apart from those that were coded again.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import soxr
from numpy.typing import NDArray

PIECE_SECONDS: Final = 0.01
MIN_SCORE: Final = 0.7
"""Correlation (0 to 1) above which a piece counts as found; unrelated noise reaches about 0.5 in a minute of audio."""
_NEIGHBOURHOOD_SECONDS: Final = 0.2  # around the position of the piece before, which is searched first
_LEVEL: Final = 6000.0  # standard deviation of the samples of 16 bits
_PEAK: Final = 30000.0

Samples16 = NDArray[np.int16]
"""Samples of 16 bits of one channel."""


@dataclass(frozen=True, slots=True)
class FoundPiece:
    """A piece that was found: its index, its position in seconds, the correlation, and the signal-to-noise ratio.

    ``snr_db`` is infinite for a bit-exact copy.
    """

    index: int
    seconds: float
    score: float
    snr_db: float

    @property
    def exact(self) -> bool:
        """Whether the copy is bit-exact."""
        return bool(np.isinf(self.snr_db))


def make_noise(seconds: float, rate: int, seed: int) -> Samples16:
    """Return white noise of 16 bits at ``rate`` Hz, the same for the same ``seed``."""
    noise = np.random.default_rng(seed).standard_normal(round(seconds * rate)) * _LEVEL
    return np.clip(noise, -_PEAK, _PEAK).astype(np.int16)


def find_pieces(noise: Samples16, noise_rate: int, audio: Samples16, rate: int) -> list[FoundPiece]:
    """Find the pieces of ``noise`` in ``audio``, which may have another rate; those that are not found are left out.

    Both rates are in Hz. Silent pieces are left out.
    """
    if noise_rate != rate:
        noise = soxr.resample(noise, noise_rate, rate)
    return _Search(audio, rate).find_all(noise)


class _Search:
    def __init__(self, audio: Samples16, rate: int) -> None:
        self._rate = rate
        self._audio = audio.astype(np.float64)
        self._length = round(PIECE_SECONDS * rate)
        sums = np.concatenate([[0.0], np.cumsum(self._audio**2)])
        positions = max(0, len(audio) - self._length + 1)
        self._norms = np.sqrt(np.maximum(sums[self._length : self._length + positions] - sums[:positions], 1.0))
        self._size = 1 << (len(audio) + self._length).bit_length()
        self._spectrum: NDArray[np.complex128] | None = None

    def find_all(self, noise: Samples16) -> list[FoundPiece]:
        found: list[FoundPiece] = []
        if not len(self._norms):
            return found
        for index in range(len(noise) // self._length):
            piece = noise[index * self._length : (index + 1) * self._length].astype(np.float64)
            if not piece.any():
                continue
            expected = None
            if found:
                expected = round(found[-1].seconds * self._rate) + (index - found[-1].index) * self._length
            match = self._find(index, piece, expected)
            if match is not None:
                found.append(match)
        return found

    def _find(self, index: int, piece: NDArray[np.float64], expected: int | None) -> FoundPiece | None:
        if expected is not None:
            radius = round(_NEIGHBOURHOOD_SECONDS * self._rate)
            start, end = max(0, expected - radius), min(len(self._norms), expected + radius)
            if start < end:
                nearby = np.correlate(self._audio[start : end + self._length - 1], piece, "valid")
                if (match := self._best(index, piece, nearby, start)) is not None:
                    return match
        return self._best(index, piece, self._correlate_everywhere(piece), 0)

    def _correlate_everywhere(self, piece: NDArray[np.float64]) -> NDArray[np.float64]:
        if self._spectrum is None:
            self._spectrum = np.fft.rfft(self._audio, self._size)
        correlation = np.fft.irfft(self._spectrum * np.conj(np.fft.rfft(piece, self._size)), self._size)
        everywhere: NDArray[np.float64] = correlation[: len(self._norms)]
        return everywhere

    def _best(
        self, index: int, piece: NDArray[np.float64], correlation: NDArray[np.float64], start: int
    ) -> FoundPiece | None:
        scores = correlation / (self._norms[start : start + len(correlation)] * np.linalg.norm(piece))
        best = int(np.argmax(scores))
        if scores[best] < MIN_SCORE:
            return None
        position = start + best
        copy = self._audio[position : position + self._length]
        error = float(np.sum((copy - piece) ** 2))
        snr_db = float("inf") if error == 0 else 10 * np.log10(float(np.sum(piece**2)) / error)
        return FoundPiece(index, position / self._rate, float(scores[best]), float(snr_db))
