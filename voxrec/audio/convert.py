"""One audio file to another: other format, other rate, fewer channels. In blocks, whatever the length."""

import enum
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from voxrec.audio.formats import WAV, Format
from voxrec.audio.join import mixed
from voxrec.audio.probe import AudioInfo, probe
from voxrec.audio.sink import resampled, write
from voxrec.audio.source import BLOCK, Samples, Sound, blocks, opened
from voxrec.errors import AudioError

_MOST: Final = 1 << 31  # samples of 16 bits, which a WAV can hold: a few megabytes of FLAC can unfold to any number
_SLACK: Final = 0.1  # seconds that a lossy codec may count otherwise than it gives


class Channel(enum.StrEnum):
    """What of a two-channel recording is wanted."""

    CALLER = "caller"
    CALLEE = "callee"
    MIX = "mix"


def convert(
    source: Path, output: Path, form: Format, channel: Channel | None = None, source_form: Format | None = None
) -> AudioInfo:
    """Write ``source`` to ``output`` as ``form``, all of it or one ``channel`` of two, and say what was written.

    ``source_form`` is what the source is, and needed where that is headerless. The rate stays where the format can have
    it, is the next higher one where it cannot, and its highest where that is lower. Raises AudioFault where the source
    is at fault, a channel is wanted of what has one, or ``form`` cannot hold both; OSError where the output cannot be
    written. Then no part of it remains.
    """
    info = probe(source, source_form)
    if channel is not None and info.channels != 2:
        raise AudioError(f"{source}: has {info.channels} channels; a side can be told from two only")
    channels = 1 if channel else info.channels
    if channels > form.channels:
        raise AudioError(f"{source}: has {channels} channels; {form.name} holds {form.channels}")
    rate = form.rate_for(info.rate)
    try:
        with opened(source, source_form) as sound:
            wanted = (_chosen(block, channel) for block in blocks(sound, source))
            write(resampled(wanted, info.rate, rate), output, rate, channels, form)
        return probe(output, form)
    except BaseException:
        output.unlink(missing_ok=True)
        raise


def telephone(source: Path, output: Path, rate: int) -> None:
    """Write ``source`` to ``output`` as Asterisk plays it: a WAV of one channel, 16 bits and ``rate`` Hz.

    Channels are averaged. It is on the disk when this returns: Asterisk plays it for years, and nobody looks again
    whether it is whole. Raises as `convert`.
    """
    info = probe(source)
    try:
        with opened(source) as sound:
            mono = (np.rint(block.mean(axis=1, keepdims=True)).astype(np.int16) for block in _small(sound, source))
            write(resampled(mono, info.rate, rate), output, rate, 1, WAV)
        with output.open("rb") as file:
            os.fsync(file.fileno())
    except BaseException:
        output.unlink(missing_ok=True)
        raise


def measured(path: Path, most: float) -> float:
    """Read all of a file and return its seconds: what its header says is not believed.

    Raises AudioFault where it is not audio, is broken off or damaged on the way, is longer than ``most`` seconds, or
    unfolds to more than a WAV could hold; it is read no further than that.
    """
    info = probe(path)
    limit = min(round(most * info.rate), _MOST // info.channels)
    too_long = AudioError(f"{path}: is longer than {min(most, limit / info.rate):g} seconds")
    if info.frames > limit:
        raise too_long
    frames = 0
    with opened(path) as sound:
        for block in _small(sound, path):
            frames += len(block)
            if frames > limit:
                raise too_long
    if frames == 0:
        raise AudioError(f"{path}: holds no sound")
    if frames < info.frames - _SLACK * info.rate:
        raise AudioError(f"{path}: breaks off after {frames / info.rate:.1f} of {info.duration:.1f} seconds")
    return frames / info.rate


def _small(sound: Sound, path: Path) -> Iterator[Samples]:
    """Blocks that stay small also where there are many channels."""
    return blocks(sound, path, max(1, BLOCK // sound.channels))


def _chosen(block: Samples, channel: Channel | None) -> Samples:
    match channel:
        case None:
            return block
        case Channel.MIX:
            left, right = block[:, 0].astype(np.int32), block[:, 1].astype(np.int32)
            return mixed(left, right).astype(np.int16)[:, np.newaxis]
        case _:
            side = 0 if channel is Channel.CALLER else 1
            return block[:, side : side + 1]
