"""Join the two legs of a call into one file: caller left and callee right, or mixed."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voxrec.audio import pcm_wav
from voxrec.audio.formats import WAV, AudioFormat
from voxrec.audio.meter import Meter, frames_per_block
from voxrec.audio.probe import AudioInfo, probe
from voxrec.audio.reader import AudioReader, Samples, open_audio, read_blocks
from voxrec.audio.resample import resample_blocks
from voxrec.audio.writer import write_audio
from voxrec.errors import AudioError
from voxrec.model import RecordChannels, Side

_RESAMPLING_MARGIN: Final = 1 << 20  # bytes
_NO_SAMPLES: Final = np.zeros(0, dtype=np.int16)
_KNEE: Final = 16384  # half of full scale
_DURATION_TOLERANCE: Final = 0.1  # seconds by which the length of a lossy file may differ from the samples written
_NO_METERS: Final[Mapping[Side, Meter]] = MappingProxyType({})


def join(
    caller: Path | None,
    callee: Path | None,
    output: Path,
    channels: RecordChannels,
    audio_format: AudioFormat = WAV,
    meters: Mapping[Side, Meter] = _NO_METERS,
) -> AudioInfo:
    """Write both legs to ``output`` and return the properties of the new file.

    DUAL puts the caller on the left and the callee on the right channel, MONO mixes them (see `mix`). The shorter leg
    is padded with silence; a leg that is None, missing or without frames is silent throughout. The sample rate is kept
    if the format supports it; see `AudioFormat.rate_for`.

    ``meters`` are fed with the samples of their side on the way, so that each leg is read only once.

    Raises AudioError if neither leg has a frame, a leg has more than one channel, the sample rates differ (see
    `voxrec.audio.resample.resample_to_common_rate`), or DUAL is requested and the format supports one channel only.
    Raises OSError if the output cannot be written. ``output`` does not exist then.
    """
    legs = {Side.CALLER: caller, Side.CALLEE: callee}
    with ExitStack() as stack:
        readers = {side: reader for side, path in legs.items() if path and (reader := _open_leg(path, stack))}
        rate = _common_rate(readers)
        output_rate = audio_format.rate_for(rate)
        dual = channels is RecordChannels.DUAL
        if dual and audio_format.channels < 2:
            raise AudioError(f"{output}: {audio_format.name} supports one channel only, so DUAL cannot be written")
        left, right = (_read_leg(legs[side], readers.get(side), meters.get(side)) for side in legs)
        channel_count = 2 if dual else 1
        seconds = max(reader.frames for reader in readers.values()) / rate
        audio_format = _format_for_length(audio_format, seconds * output_rate * channel_count)
        try:
            joined = resample_blocks(_join_blocks(left, right, dual), rate, output_rate)
            write_audio(joined, output, output_rate, channel_count, audio_format)
            return _verify(output, audio_format, seconds)
        except BaseException:
            output.unlink(missing_ok=True)
            raise


def _format_for_length(audio_format: AudioFormat, samples: float) -> AudioFormat:
    """Return RF64 (EBU Tech 3306) instead of WAV for samples that a WAV file cannot hold, else the format itself.

    Two channels at 16 kHz exceed the 4 GiB of a WAV file after 18.6 hours, at 8 kHz after 37 hours.
    """
    is_wav = (audio_format.container, audio_format.subtype) == (WAV.container, WAV.subtype)
    # resampling may add a few frames
    if is_wav and 2 * samples > pcm_wav.MAX_DATA_SIZE - _RESAMPLING_MARGIN:
        return replace(audio_format, container="RF64")
    return audio_format


def mix(caller: NDArray[np.int32], callee: NDArray[np.int32]) -> NDArray[np.int32]:
    """Mix 16-bit samples, passed as int32: their sum, compressed where it would exceed the range.

    A sum up to half of full scale is unchanged; above that it grows by a third of the excess, so that two voices at
    full scale do not clip; and the result is never softer than the louder voice. A single talker is unchanged to the
    bit, without the 6 dB that halving would cost, and two talkers at usual levels (-26 dBov, ITU-T P.56) are a pure
    sum. Each sample is computed independently: blocks need no overlap, and the gain does not pump as a limiter's does.
    """
    total = caller + callee
    # few samples or none are above the knee, and compressing takes longer than all the rest
    above_knee = np.flatnonzero(np.abs(total) > _KNEE)
    if len(above_knee):
        louder = np.maximum(np.abs(caller[above_knee]), np.abs(callee[above_knee]))
        total[above_knee] = _compress(total[above_knee], louder)
    return total


def _compress(total: NDArray[np.int32], louder: NDArray[np.int32]) -> NDArray[np.int32]:
    magnitude = np.abs(total)
    compressed = np.maximum(_KNEE + (magnitude - _KNEE) // 3, louder)
    mixed = np.sign(total) * np.minimum(magnitude, compressed)
    # +32768 exceeds int16, -32768 does not
    result: NDArray[np.int32] = np.minimum(mixed, np.iinfo(np.int16).max)
    return result


def _open_leg(path: Path, stack: ExitStack) -> AudioReader | None:
    """Open a leg until ``stack`` is closed. Return None if it has no frame."""
    if not _has_content(path):
        return None
    reader = stack.enter_context(open_audio(path))
    if reader.channels != 1:
        raise AudioError(f"{path}: has {reader.channels} channels; a leg must have one")
    return reader if reader.frames else None


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def _common_rate(readers: Mapping[Side, AudioReader]) -> int:
    rates = {reader.samplerate for reader in readers.values()}
    if not rates:
        raise AudioError("neither leg of the call contains audio")
    if len(rates) > 1:
        sides = ", ".join(f"{side} {reader.samplerate} Hz" for side, reader in readers.items())
        raise AudioError(f"the legs have different sample rates: {sides}")
    return rates.pop()


def _read_leg(path: Path | None, reader: AudioReader | None, meter: Meter | None) -> Iterator[Samples]:
    if path is None or reader is None:
        return
    for block in read_blocks(reader, path, frames_per_block(reader.samplerate)):
        samples = block[:, 0]
        if meter is not None:
            meter.feed(samples)
        yield samples


def _join_blocks(callers: Iterator[Samples], callees: Iterator[Samples], dual: bool) -> Iterator[Samples]:
    """Yield blocks shaped (frames, channels): both sides next to each other, or mixed."""
    for caller, callee in zip_longest(callers, callees, fillvalue=_NO_SAMPLES):
        frames = max(len(caller), len(callee))
        if dual:
            block = np.zeros((frames, 2), dtype=np.int16)
            block[: len(caller), 0] = caller
            block[: len(callee), 1] = callee
            yield block
        else:
            mixed = mix(_pad(caller, frames), _pad(callee, frames))
            yield mixed.astype(np.int16)[:, np.newaxis]


def _pad(block: Samples, frames: int) -> NDArray[np.int32]:
    padded = np.zeros(frames, dtype=np.int32)
    padded[: len(block)] = block
    return padded


def _verify(output: Path, audio_format: AudioFormat, seconds: float) -> AudioInfo:
    """Check the length of the file written, because libsndfile does not report an error while closing it."""
    written = probe(output, audio_format)
    if written.duration < seconds - _DURATION_TOLERANCE:
        raise AudioError(f"{output}: only {written.duration:.2f} of {seconds:.2f} seconds were written")
    return written
