"""Finds what MixMonitor writes when packets do not arrive one by one: silence in audio, and packets twice.

Both are searched within a block; what is at its ends is left out.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from voxrec.audio.reader import Samples

MIXMONITOR_FRAME: Final = 160
"""Samples that MixMonitor writes at a time; where it has none, it writes zeros (app_mixmonitor.c)."""
MAX_GAP_SECONDS: Final = 0.1  # longer zeros are rather those of a telephone that is muted or suppresses silence
PACKET_SECONDS: Final = (0.01, 0.02, 0.03, 0.04, 0.06)
"""The durations of packets that are recognised if they are recorded twice."""
_MAX_REPETITION: Final = 1.25  # packets: what is repeated for longer is a tone whose period divides a packet
_WORD: Final = 4  # samples that are compared at a time: 64 bits
_MIN_WORDS: Final = 8  # that differ: fewer are the few values of a quiet line, which repeat themselves by chance
_VICINITY: Final = 120  # words before and after a packet and its copy: 60 ms at 8 kHz, three frames of MixMonitor
_DIVISORS: Final = (2, 3, 5)  # the prime factors of all durations of packets, in words
# Linear prediction, each sample from those before it: eight predict up to four sinusoids.
_PREDICTORS: Final = 8
_TONE_GAIN: Final = 1000.0  # 30 dB, which tones have, and 1 % of the packets of speech
_MIN_GAIN: Final = 100.0  # 20 dB, which soft tones have, and a third of the packets of speech
# Error at the beginning of a copy, relative to that within it. Of soft tones it is up to 4. That of 3 % of the packets
# of speech that arrive twice is less than this, and they are not recognised.
_MAX_STEP: Final = 6.0
_QUANTIZATION_NOISE: Final = 16**2 / 12  # of the smallest interval of A-law (ITU-T G.711), which is 16 of 32768


class Spans(NamedTuple):
    """Spans of a block, in ascending order: their first frames, and their lengths in frames."""

    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]


def find_gaps(samples: Samples, rate: int) -> Spans:
    """Return the gaps of a block at ``rate`` Hz: whole frames of zeros, at most 0.1 s, in the middle of audio."""
    frames = samples[: len(samples) - len(samples) % MIXMONITOR_FRAME].reshape(-1, MIXMONITOR_FRAME)
    changes = np.diff(np.concatenate(([0], (~frames.any(axis=1)).astype(np.int8), [0])))
    starts, ends = np.flatnonzero(changes == 1), np.flatnonzero(changes == -1)
    inside = (starts > 0) & (ends < len(frames))
    starts, ends = starts[inside], ends[inside]
    is_gap = (frames[starts - 1, -1] != 0) & (frames[ends, 0] != 0)
    is_gap &= (ends - starts) * MIXMONITOR_FRAME <= round(MAX_GAP_SECONDS * rate)
    return Spans(starts[is_gap] * MIXMONITOR_FRAME, (ends - starts)[is_gap] * MIXMONITOR_FRAME)


def find_duplicates(samples: Samples, rate: int) -> Spans:
    """Return the packets of a block at ``rate`` Hz that are bit-exact copies of the packet before them.

    Only codecs without a state, such as G.711, produce such copies. Tones and quiet lines (A-law has no zero) also
    repeat themselves, if only for two periods. They are no copies: they have a shorter period, consist of a few values,
    or continue at the beginning of a copy, where a packet that arrives twice begins anew; or more of them is nearby.
    """
    lengths = [round(seconds * rate) for seconds in PACKET_SECONDS]
    copies = [(int(start), packet) for packet in lengths for start in _find_copies(samples, packet)]
    copies.sort()
    return Spans(*np.array(copies, dtype=np.int64).reshape(-1, 2).T)


def _find_copies(samples: Samples, packet: int) -> NDArray[np.int64]:
    """Return the first frames of the copies of this length. Packets consist of whole words, and begin at them."""
    words = np.ascontiguousarray(samples[: len(samples) - len(samples) % _WORD]).view(np.int64)
    lag = packet // _WORD
    if packet % _WORD or len(words) <= lag:
        return np.zeros(0, dtype=np.int64)
    later, earlier = words[lag:], words[:-lag]
    # A repetition contains one of these words; comparing them first saves most of the work, also for idle lines.
    probes = later[1::lag]
    if not ((probes == earlier[1::lag]) & (probes != later[::lag][: len(probes)])).any():
        return np.zeros(0, dtype=np.int64)
    repeated = np.flatnonzero((later == earlier) & (later != 0))
    last = np.flatnonzero(np.diff(repeated, append=-1) != 1)
    lengths = np.diff(last, prepend=-1)
    first = repeated[last] - lengths + 1
    copies = first[(lengths >= lag) & (lengths <= _MAX_REPETITION * lag)] + lag
    content = words[copies[:, np.newaxis] + np.arange(lag)]
    own_period = ~_has_shorter_period(content)
    copies, content = copies[own_period], content[own_period]
    copies = copies[_is_varied(content)]
    if not len(copies):
        return np.zeros(0, dtype=np.int64)
    copies = copies[~_is_repeated_nearby(words, copies, lag)]
    found: NDArray[np.int64] = copies[~_is_tone(samples, copies * _WORD, packet)] * _WORD
    return found


def _is_varied(content: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which packets, one per row, contain enough different words."""
    different: NDArray[np.bool_] = np.count_nonzero(np.diff(np.sort(content, axis=1), axis=1), axis=1) >= _MIN_WORDS - 1
    return different


def _has_shorter_period(content: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which packets, one per row, repeat themselves with a period that divides their length."""
    length = content.shape[1]
    periodic = np.zeros(len(content), dtype=np.bool_)
    for period in (length // divisor for divisor in _DIVISORS if length % divisor == 0):
        periodic |= np.all(content[:, period:] == content[:, :-period], axis=1)
    return periodic


def _is_repeated_nearby(words: NDArray[np.int64], copies: NDArray[np.int64], lag: int) -> NDArray[np.bool_]:
    """Return which copies are parts of a periodic sound that lost packets or silence interrupt.

    Most of the words of such a part are also before or after it.
    """
    before = np.arange(-lag - _VICINITY, -lag)
    vicinity = copies[:, np.newaxis] + np.concatenate((before, np.arange(lag, lag + _VICINITY)))
    inside = (vicinity >= 0) & (vicinity < len(words))
    near = np.where(inside, words[vicinity.clip(0, len(words) - 1)], 0)
    content = words[copies[:, np.newaxis] + np.arange(lag)]
    recurs = (content[:, :, np.newaxis] == near[:, np.newaxis, :]).any(axis=2) & (content != 0)
    repeated: NDArray[np.bool_] = np.count_nonzero(recurs, axis=1) >= lag / 2
    return repeated


def _is_tone(samples: Samples, starts: NDArray[np.int64], packet: int) -> NDArray[np.bool_]:
    """Return which copies are parts of a tone whose period is the length of a packet.

    The samples of a tone follow from those before them, also at the beginning of a copy.
    """
    spans = samples[starts[:, np.newaxis] + np.arange(-_PREDICTORS, packet)].astype(np.float64)
    rows = np.lib.stride_tricks.sliding_window_view(spans, _PREDICTORS + 1, axis=1)
    within = rows[:, _PREDICTORS:]  # without the samples before the copy
    products = within.transpose(0, 2, 1) @ within
    # a little noise, so that there is a solution for exact sinusoids
    squares = products[:, :-1, :-1] + packet * np.eye(_PREDICTORS)
    coefficients = np.linalg.solve(squares, products[:, :-1, -1:])
    errors = (rows[:, :, -1:] - rows[:, :, :-1] @ coefficients)[:, :, 0] ** 2
    step, usual = errors[:, :_PREDICTORS].mean(axis=1), errors[:, _PREDICTORS:].mean(axis=1)
    power = products[:, -1, -1] / within.shape[1]
    noise = usual - _QUANTIZATION_NOISE
    continues = (power >= _MIN_GAIN * noise) & (step <= _MAX_STEP * np.maximum(usual, _QUANTIZATION_NOISE))
    tone: NDArray[np.bool_] = continues | (power >= _TONE_GAIN * np.maximum(usual, 1.0))
    return tone
