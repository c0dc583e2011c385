"""One audio file to another: other format, other rate, fewer channels. In blocks, whatever the length."""

import enum
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from voxrec.audio.formats import Format
from voxrec.audio.join import mixed
from voxrec.audio.probe import AudioInfo, probe
from voxrec.audio.source import BLOCK, Samples, blocks, explained, opened
from voxrec.errors import AudioFault

# What libsndfile's encoders take, in Hz; the other formats take any rate.
_RATES: Final = {
    "opus": (8000, 12000, 16000, 24000, 48000),  # RFC 6716 section 2
    "mp3": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),  # MPEG-1, 2 and 2.5 layer III
}
_SLACK: Final = 0.1  # seconds that a lossy codec may count otherwise than it gives


class Channel(enum.StrEnum):
    """What of a two-channel recording is wanted."""

    CALLER = "caller"
    CALLEE = "callee"
    MIX = "mix"


def convert(source: Path, output: Path, form: Format, channel: Channel | None = None) -> AudioInfo:
    """Write ``source`` to ``output`` as ``form``, all of it or one ``channel`` of two, and say what was written.

    The rate stays where the format can have it, and is the next higher one where it cannot. Raises AudioFault where
    the source is at fault, or a channel is wanted of what has one; OSError where the output cannot be written. Then no
    part of it remains.
    """
    info = probe(source)
    if channel is not None and info.channels != 2:
        raise AudioFault(f"{source}: has {info.channels} channels; a side can be told from two only")
    rate = _rate_for(form, info.rate)
    try:
        with opened(source) as sound:
            wanted = (_chosen(block, channel) for block in blocks(sound, source))
            _write(_resampled(wanted, info.rate, rate), output, rate, form, 1 if channel else info.channels)
        return probe(output)
    except BaseException:
        output.unlink(missing_ok=True)
        raise


def telephone(source: Path, output: Path, rate: int) -> None:
    """Write ``source`` to ``output`` as Asterisk plays it: a WAV of one channel, 16 bits and ``rate`` Hz.

    Channels are averaged. Raises as `convert`.
    """
    info = probe(source)
    try:
        with opened(source) as sound:
            mono = (np.rint(block.mean(axis=1, keepdims=True)).astype(np.int16) for block in _small(sound, source))
            try:
                with soundfile.SoundFile(output, "w", rate, 1, subtype="PCM_16", format="WAV") as target:
                    for block in _resampled(mono, info.rate, rate):
                        target.write(block)
            except soundfile.LibsndfileError as error:
                raise explained(output, error) from error
    except BaseException:
        output.unlink(missing_ok=True)
        raise


def measured(path: Path, most: float) -> float:
    """Read all of a file and return its seconds: what its header says is not believed.

    Raises AudioFault where it is not audio, is broken off or damaged on the way, or is longer than ``most`` seconds;
    it is read no further than that.
    """
    info = probe(path)
    limit = round(most * info.rate)
    too_long = AudioFault(f"{path}: is longer than {most:g} seconds")
    if info.frames > limit:
        raise too_long
    frames = 0
    with opened(path) as sound:
        for block in _small(sound, path):
            frames += len(block)
            if frames > limit:
                raise too_long
    if frames == 0:
        raise AudioFault(f"{path}: holds no sound")
    if frames < info.frames - _SLACK * info.rate:
        raise AudioFault(f"{path}: breaks off after {frames / info.rate:.1f} of {info.duration:.1f} seconds")
    return frames / info.rate


def _small(sound: soundfile.SoundFile, path: Path) -> Iterator[Samples]:
    """Blocks that stay small also where there are many channels."""
    return blocks(sound, path, max(1, BLOCK // sound.channels))


def _rate_for(form: Format, rate: int) -> int:
    rates = _RATES.get(form.name, (rate,))
    return next((known for known in rates if known >= rate), rates[-1])


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


def _resampled(given: Iterator[Samples], rate: int, wanted: int) -> Iterator[Samples]:
    """The same at another rate, low-passed below half of the lower one, without a seam between the blocks."""
    if rate == wanted:
        yield from given
        return
    stream: soxr.ResampleStream | None = None
    last: Samples | None = None
    for block in given:
        if stream is None:
            stream = soxr.ResampleStream(rate, wanted, block.shape[1], dtype="int16")
        yield stream.resample_chunk(np.ascontiguousarray(block))
        last = block
    if stream is not None and last is not None:
        yield stream.resample_chunk(last[:0], last=True)


def _write(given: Iterator[Samples], output: Path, rate: int, form: Format, channels: int) -> None:
    try:
        with soundfile.SoundFile(output, "w", rate, channels, subtype=form.subtype, format=form.container) as sound:
            for block in given:
                wide: NDArray[np.int32] = block.astype(np.int32) << 16  # 32 bits: see join
                sound.write(wide)
    except soundfile.LibsndfileError as error:
        raise explained(output, error) from error
