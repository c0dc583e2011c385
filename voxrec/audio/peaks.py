"""Compute the peaks of a recording, from which its waveform is drawn."""

from pathlib import Path

import numpy as np

from voxrec.audio.formats import AudioFormat
from voxrec.audio.reader import open_audio, read_blocks


def compute_peaks(path: Path, buckets: int, audio_format: AudioFormat | None = None) -> list[list[tuple[int, int]]]:
    """Return, for each channel, the lowest and the highest sample of each of ``buckets`` equal parts, in -128 to 127.

    A file with fewer frames than ``buckets`` has one bucket for each frame. ``audio_format`` is required if the file
    has no header. Raises the same exceptions as `probe`.
    """
    with open_audio(path, audio_format) as reader:
        count = min(buckets, reader.frames)
        # the first frame of each bucket, and the end; strictly ascending, because count <= frames
        edges = np.arange(count + 1, dtype=np.int64) * reader.frames // max(count, 1)
        low = np.full((count, reader.channels), np.iinfo(np.int16).max, dtype=np.int16)
        high = np.full((count, reader.channels), np.iinfo(np.int16).min, dtype=np.int16)
        start = 0
        for block in read_blocks(reader, path):
            stop = start + len(block)
            first = int(np.searchsorted(edges, start, side="right")) - 1
            # a lossy file may decode to slightly more or fewer frames than its header says
            last = min(int(np.searchsorted(edges, stop, side="left")), count)
            # a bucket that began in an earlier block continues at the start of this one
            starts = np.maximum(edges[first:last] - start, 0)
            in_block = slice(first, last)
            low[in_block] = np.minimum(low[in_block], np.minimum.reduceat(block, starts))
            high[in_block] = np.maximum(high[in_block], np.maximum.reduceat(block, starts))
            start = stop
        empty = low > high
        low[empty] = high[empty] = 0
    return [
        list(zip((low[:, channel] >> 8).tolist(), (high[:, channel] >> 8).tolist(), strict=True))
        for channel in range(low.shape[1])
    ]
