"""Finds DTMF tones (ITU-T Q.23) in a file: digits that a party has sent as audio instead of as events (RFC 4733)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from voxrec.audio.reader import Samples, open_audio, read_blocks

_ROWS: Final = (697.0, 770.0, 852.0, 941.0)
_COLUMNS: Final = (1209.0, 1336.0, 1477.0, 1633.0)
_DIGITS: Final = np.array(list("123A456B789C*0#D")).reshape(4, 4)
_WINDOW: Final = 0.0256  # seconds: rows are 73 Hz apart, and a window of this length tells 39 Hz apart
_STEP: Final = 0.01  # seconds
_MIN_STEPS: Final = 3  # successive windows with the same digit: tones of about 45 ms, ITU-T Q.24 requires 40 ms
_MIN_LEVEL: Final = 150.0  # amplitude of each tone, of 32,768: -47 dBFS
_MIN_SHARE: Final = 0.7  # of the energy of the window that is in the two tones; of speech it is less
_MIN_PEAK: Final = 6.3  # 8 dB over the other tones of the group, as in Asterisk (main/dsp.c)
_MAX_TWIST: Final = 6.3  # 8 dB between the two tones
_WINDOWS_PER_BLOCK: Final = 4096


class Digit(NamedTuple):
    """A digit, and the seconds from the beginning of the file between which its tones sound."""

    start: float
    end: float
    digit: str


def find_digits(path: Path) -> list[Digit]:
    """Return the digits in a file with one channel, in order. Raises as `open_audio`."""
    with open_audio(path) as reader:
        found: list[Digit] = []
        step = round(_STEP * reader.samplerate)
        detector = _Detector(reader.samplerate)
        digits = (
            digit
            for windows in _windows(read_blocks(reader, path), detector.size, step)
            for digit in detector.classify(windows)
        )
        current, count, index = "", 0, 0
        for index, digit in enumerate(_with_end(digits)):
            if digit == current:
                count += 1
                continue
            if current and count >= _MIN_STEPS:
                start = (index - count) * _STEP
                found.append(Digit(round(start, 3), round(start + (count - 1) * _STEP + _WINDOW, 3), current))
            current, count = digit, 1
    return found


def _with_end(digits: Iterator[str]) -> Iterator[str]:
    yield from digits
    yield ""  # what is no digit ends the last one


def _windows(blocks: Iterator[Samples], size: int, step: int) -> Iterator[NDArray[np.float32]]:
    """Yield overlapping windows of ``size`` samples, ``step`` samples apart, many at a time."""
    rest = np.zeros(0, dtype=np.float32)
    for block in blocks:
        rest = np.concatenate((rest, block[:, 0].astype(np.float32)))
        while len(rest) >= size:
            count = min(_WINDOWS_PER_BLOCK, (len(rest) - size) // step + 1)
            yield np.lib.stride_tricks.sliding_window_view(rest, size)[: count * step : step]
            rest = rest[count * step :]


class _Detector:
    """Classifies windows at one sample rate (Hz)."""

    def __init__(self, rate: int) -> None:
        self.size = round(_WINDOW * rate)
        angles = 2 * np.pi / rate * np.outer(np.arange(self.size), (*_ROWS, *_COLUMNS))
        self._projections = np.concatenate((np.cos(angles), np.sin(angles)), axis=1).astype(np.float32)

    def classify(self, windows: NDArray[np.float32]) -> list[str]:
        """Return the digit in each window, or an empty string."""
        energy = np.einsum("ij,ij->i", windows, windows)
        projected = windows @ self._projections
        # the energy of a tone in the window is size / 2 * amplitude²
        tones = (projected[:, :8] ** 2 + projected[:, 8:] ** 2) * np.float32(2 / self.size)
        rows, columns = tones[:, :4], tones[:, 4:]
        row, row_peak = _strongest(rows)
        column, column_peak = _strongest(columns)
        row_energy, column_energy = rows.max(axis=1), columns.max(axis=1)
        is_digit = (
            (np.minimum(row_energy, column_energy) >= self.size / 2 * _MIN_LEVEL**2)
            & (row_energy + column_energy >= _MIN_SHARE * energy)
            & row_peak
            & column_peak
            & (row_energy <= _MAX_TWIST * column_energy)
            & (column_energy <= _MAX_TWIST * row_energy)
        )
        digits: list[str] = np.where(is_digit, _DIGITS[row, column], "").tolist()
        return digits


def _strongest(tones: NDArray[np.floating]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the index of the strongest tone of each window, and whether it stands out."""
    ordered = np.sort(tones, axis=1)
    return tones.argmax(axis=1), ordered[:, -1] >= _MIN_PEAK * ordered[:, -2]
