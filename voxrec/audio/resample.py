"""Change the sample rate of audio: of blocks on their way, and of legs that were recorded at different rates."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import soxr

from voxrec.audio.formats import WAV
from voxrec.audio.probe import probe
from voxrec.audio.reader import Samples, open_audio, read_blocks
from voxrec.audio.writer import write_audio
from voxrec.model import Side


def resample_blocks(blocks: Iterable[Samples], rate: int, target_rate: int) -> Iterator[Samples]:
    """Yield the samples at ``target_rate`` (Hz), low-pass filtered, without discontinuities between the blocks."""
    if rate == target_rate:
        yield from blocks
        return
    stream: soxr.ResampleStream | None = None
    last_block: Samples | None = None
    for block in blocks:
        if stream is None:
            stream = soxr.ResampleStream(rate, target_rate, block.shape[1], dtype="int16")
        yield stream.resample_chunk(np.ascontiguousarray(block))
        last_block = block
    if stream is not None and last_block is not None:
        yield stream.resample_chunk(last_block[:0], last=True)


def resample_to_common_rate(legs: Mapping[Side, Path], new_file: Callable[[str], Path]) -> dict[Side, Path]:
    """Return the legs at the highest of their sample rates.

    A leg with a lower rate is written to a WAV file at the path that ``new_file`` returns for its name. Legs differ if
    a call changes its codec (by a re-INVITE); wide-band audio stays wide-band. Raises the same exceptions as `probe`,
    and OSError.
    """
    rates = {side: probe(leg).rate for side, leg in legs.items()}
    highest = max(rates.values(), default=0)
    return {
        side: leg
        if rates[side] == highest
        else _resample_file(leg, rates[side], highest, new_file(f"resampled-{side}.wav"))
        for side, leg in legs.items()
    }


def _resample_file(leg: Path, rate: int, target_rate: int, output: Path) -> Path:
    with open_audio(leg) as reader:
        blocks = resample_blocks(read_blocks(reader, leg), rate, target_rate)
        write_audio(blocks, output, target_rate, reader.channels, WAV)
    return output
