"""Convert one audio file to another format, sample rate or number of channels, and measure uploaded files."""

import enum
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from voxrec.audio.formats import WAV, AudioFormat
from voxrec.audio.join import mix
from voxrec.audio.meter import Meter, whole_windows
from voxrec.audio.probe import AudioInfo, probe
from voxrec.audio.reader import BLOCK_FRAMES, AudioReader, Samples, open_audio, read_blocks
from voxrec.audio.resample import resample_blocks
from voxrec.audio.writer import write_audio
from voxrec.errors import AudioError

_MAX_SAMPLES: Final = 1 << 31  # 4 GiB of 16-bit samples, the limit of WAV; a few megabytes of FLAC can decode to more
_DURATION_TOLERANCE: Final = 0.1  # seconds by which the header of a lossy format may differ from the decoded length


class AudioChannel(enum.StrEnum):
    """Which part of a two-channel recording to return."""

    CALLER = "caller"
    CALLEE = "callee"
    MIX = "mix"


def convert(
    source: Path,
    output: Path,
    audio_format: AudioFormat,
    channel: AudioChannel | None = None,
    source_format: AudioFormat | None = None,
    check: Callable[[], None] = lambda: None,
) -> AudioInfo:
    """Write ``source`` to ``output`` in ``audio_format`` and return the properties of the new file.

    ``channel`` selects one side, or the mix, of a two-channel file; None keeps all channels. ``source_format`` is
    required if the source has no header. ``check`` is called for each block, and may raise to end the conversion. The
    sample rate is kept if the format supports it; see `AudioFormat.rate_for`.

    Raises AudioError if the source is not valid audio, if ``channel`` is given for a file that has not two channels,
    or if the format does not support the number of channels; OSError if the output cannot be written. ``output`` does
    not exist then.
    """
    conversion = Conversion.of(source, audio_format, channel, source_format)
    try:
        blocks = conversion.blocks(BLOCK_FRAMES, check)
        write_audio(blocks, output, conversion.rate, conversion.channels, audio_format)
        return probe(output, audio_format)
    except BaseException:
        output.unlink(missing_ok=True)
        raise


@dataclass(frozen=True, slots=True)
class Conversion:
    """What is converted to what: the part of ``source`` that ``channel`` selects to ``channels`` at ``rate`` (Hz)."""

    source: Path
    source_format: AudioFormat | None
    source_rate: int
    audio_format: AudioFormat
    channel: AudioChannel | None
    channels: int
    rate: int

    @classmethod
    def of(
        cls, source: Path, audio_format: AudioFormat, channel: AudioChannel | None, source_format: AudioFormat | None
    ) -> "Conversion":
        """Examine the source. For the parameters and exceptions, see `convert`."""
        info = probe(source, source_format)
        if channel is not None and info.channels != 2:
            raise AudioError(f"{source}: has {info.channels} channels; a side can only be selected from two channels")
        channels = 1 if channel else info.channels
        if channels > audio_format.channels:
            raise AudioError(
                f"{source}: has {channels} channels; {audio_format.name} supports at most {audio_format.channels}"
            )
        rate = audio_format.rate_for(info.rate)
        return cls(source, source_format, info.rate, audio_format, channel, channels, rate)

    def blocks(self, frames: int, check: Callable[[], None] = lambda: None) -> Iterator[Samples]:
        """Yield the converted samples, of blocks of at most ``frames`` of the source. ``check`` is called for each."""
        with open_audio(self.source, self.source_format) as reader:
            selected = (_select_channel(block, self.channel) for block in read_blocks(reader, self.source, frames))
            for block in resample_blocks(selected, self.source_rate, self.rate):
                check()
                yield block


def convert_for_playback(source: Path, output: Path, rate: int) -> None:
    """Write ``source`` to ``output`` as Asterisk plays it: a WAV file with one channel, 16 bits and ``rate`` Hz.

    Channels are averaged. The file is synchronized to disk before this returns, because Asterisk plays it for years and
    nothing checks it again. Raises the same exceptions as `convert`.
    """
    info = probe(source)
    try:
        with open_audio(source) as reader:
            mono = (
                np.rint(block.mean(axis=1, keepdims=True)).astype(np.int16)
                for block in _read_limited_blocks(reader, source)
            )
            write_audio(resample_blocks(mono, info.rate, rate), output, rate, 1, WAV)
        with output.open("rb") as file:
            os.fsync(file.fileno())
    except BaseException:
        output.unlink(missing_ok=True)
        raise


def measure_duration(path: Path, max_seconds: float, meters: Sequence[Meter] = ()) -> float:
    """Decode the whole file and return its duration in seconds. The duration in its header is not trusted.

    ``meters`` measure its channels, in order. Raises AudioError if the file is not audio, is damaged, is longer than
    ``max_seconds``, or decodes to more than a WAV file can hold; decoding stops at that limit. A truncated file of a
    compressed format is damaged; for others see `voxrec.audio.completeness`.
    """
    info = probe(path)
    limit = min(round(max_seconds * info.rate), _MAX_SAMPLES // info.channels)
    too_long = AudioError(f"{path}: is longer than {min(max_seconds, limit / info.rate):g} seconds")
    if info.frames > limit:
        raise too_long
    frames = 0
    with open_audio(path) as reader:
        for block in _read_limited_blocks(reader, path):
            frames += len(block)
            if frames > limit:
                raise too_long
            for channel, meter in enumerate(meters):
                meter.feed(block[:, channel])
    if frames == 0:
        raise AudioError(f"{path}: contains no audio")
    if frames < info.frames - _DURATION_TOLERANCE * info.rate:
        raise AudioError(f"{path}: is truncated after {frames / info.rate:.1f} of {info.duration:.1f} seconds")
    return frames / info.rate


def _read_limited_blocks(reader: AudioReader, path: Path) -> Iterator[Samples]:
    """Yield blocks of at most about BLOCK_FRAMES samples, whatever the number of channels, as a `Meter` needs them."""
    return read_blocks(reader, path, whole_windows(BLOCK_FRAMES // reader.channels, reader.samplerate))


def _select_channel(block: Samples, channel: AudioChannel | None) -> Samples:
    match channel:
        case None:
            return block
        case AudioChannel.MIX:
            left, right = block[:, 0].astype(np.int32), block[:, 1].astype(np.int32)
            return mix(left, right).astype(np.int16)[:, np.newaxis]
        case _:
            index = 0 if channel is AudioChannel.CALLER else 1
            return block[:, index : index + 1]
