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

    Only codecs without a state, such as G.711, produce such copies, and no natural sound contains them. Short tones and
    the constant values of quiet lines (A-law has no zero) do; they also repeat themselves within half of a packet.
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
    is_copy = (lengths >= lag) & (lengths <= _MAX_REPETITION * lag)
    copies = first[is_copy] + lag
    content = words[copies[:, np.newaxis] + np.arange(lag)]
    half = lag // 2
    is_tone = np.all(content[:, half:] == content[:, : lag - half], axis=1)
    found: NDArray[np.int64] = copies[~is_tone] * _WORD
    return found
