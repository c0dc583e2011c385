"""The outline of a recording, small enough to draw."""

from pathlib import Path

import numpy as np

from voxrec.audio.formats import Format
from voxrec.audio.source import blocks, opened


def peaks(path: Path, buckets: int, form: Format | None = None) -> list[list[tuple[int, int]]]:
    """Return, for each channel, the lowest and highest sample of ``buckets`` equal stretches, in -128 to 127.

    There are fewer buckets where the file has fewer frames, and none where it has no frame. ``form`` is needed where
    the file is headerless. Raises AudioFault as ``probe`` does.
    """
    with opened(path, form) as sound:
        count = min(buckets, sound.frames)
        # the first frame of every bucket, and the end; count <= frames keeps them strictly rising
        edges = np.arange(count + 1, dtype=np.int64) * sound.frames // max(count, 1)
        low = np.full((count, sound.channels), np.iinfo(np.int16).max, dtype=np.int16)
        high = np.full((count, sound.channels), np.iinfo(np.int16).min, dtype=np.int16)
        start = 0
        for block in blocks(sound, path):
            stop = start + len(block)
            first = int(np.searchsorted(edges, start, side="right")) - 1
            # a lossy file may hold a little more, or less, than its header counted
            last = min(int(np.searchsorted(edges, stop, side="left")), count)
            # a bucket that began in an earlier block goes on at this one's beginning
            starts = np.maximum(edges[first:last] - start, 0)
            touched = slice(first, last)
            low[touched] = np.minimum(low[touched], np.minimum.reduceat(block, starts))
            high[touched] = np.maximum(high[touched], np.maximum.reduceat(block, starts))
            start = stop
        unheard = low > high
        low[unheard] = high[unheard] = 0
    return [
        list(zip((low[:, channel] >> 8).tolist(), (high[:, channel] >> 8).tolist(), strict=True))
        for channel in range(low.shape[1])
    ]
