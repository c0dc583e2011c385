"""Two legs to one file: side by side, or mixed."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voxrec.audio.formats import WAV, Format
from voxrec.audio.meter import Meter, block_of
from voxrec.audio.probe import AudioInfo, probe
from voxrec.audio.sink import resampled, write
from voxrec.audio.source import Samples, Sound, blocks, opened
from voxrec.errors import AudioError
from voxrec.model import RecordChannels, Side

_SILENT: Final = np.zeros(0, dtype=np.int16)
_KNEE: Final = 16384  # half of full scale
_CODEC_SLACK: Final = 0.1  # seconds that a lossy codec may count otherwise than the samples given to it
_DEAF: Final[Mapping[Side, Meter]] = MappingProxyType({})


def join(
    caller: Path | None,
    callee: Path | None,
    output: Path,
    channels: RecordChannels,
    form: Format = WAV,
    meters: Mapping[Side, Meter] = _DEAF,
) -> AudioInfo:
    """Write both sides to ``output`` and say what was written.

    DUAL puts the caller on the left and the callee on the right, MONO mixes them (see ``mixed``). The shorter side is
    silent to the end; a side that is None, missing or without a frame is silent throughout.

    The rate stays where ``form`` can have it; see `Format.rate_for`.

    ``meters`` listen to the sides meanwhile, so that each is read once.

    Raises AudioFault where neither side has a frame, a side is not one channel, the rates differ (see
    `voxrec.audio.resample.at_one_rate`), or ``form`` cannot hold both sides apart and DUAL is wanted. Raises OSError
    where the file cannot be written; then no part of it remains.
    """
    legs = {Side.CALLER: caller, Side.CALLEE: callee}
    with ExitStack() as stack:
        audible = {side: sound for side, path in legs.items() if path and (sound := _audible(path, stack))}
        rate = _common_rate(audible)
        wanted = form.rate_for(rate)
        dual = channels is RecordChannels.DUAL
        if dual and form.channels < 2:
            raise AudioError(f"{output}: {form.name} holds one channel, so the sides cannot be kept apart in it")
        left, right = (_samples(legs[side], audible.get(side), meters.get(side)) for side in legs)
        try:
            write(resampled(_laid(left, right, dual), rate, wanted), output, wanted, 2 if dual else 1, form)
            return _verified(output, form, max(sound.frames for sound in audible.values()) / rate)
        except BaseException:
            output.unlink(missing_ok=True)
            raise


def mixed(caller: NDArray[np.int32], callee: NDArray[np.int32]) -> NDArray[np.int32]:
    """Mix 16-bit samples, given as int32: their sum, bent where it would leave the range.

    Up to half scale the sum stays as it is; what passes it counts a third, so that two voices at full scale end at full
    scale instead of clipping; and the mix is never softer than the louder voice. So a single talker passes unchanged to
    the bit, without the 6 dB that halving would take, and two at usual levels (-26 dBov, ITU-T P.56) are a pure sum.
    Each sample stands for itself: blocks need no overlap, and nothing pumps as a limiter's gain would.
    """
    total = caller + callee
    # usually few samples, or none, and the bending takes longer than all the rest
    high = np.flatnonzero(np.abs(total) > _KNEE)
    if len(high):
        total[high] = _bent(total[high], np.maximum(np.abs(caller[high]), np.abs(callee[high])))
    return total


def _bent(total: NDArray[np.int32], louder: NDArray[np.int32]) -> NDArray[np.int32]:
    size = np.abs(total)
    bent = np.maximum(_KNEE + (size - _KNEE) // 3, louder)
    mix = np.sign(total) * np.minimum(size, bent)
    # +32768 is one more than a sample can say, -32768 is not
    result: NDArray[np.int32] = np.minimum(mix, np.iinfo(np.int16).max)
    return result


def _audible(path: Path, stack: ExitStack) -> Sound | None:
    """Open a side for as long as the stack is; None where there is nothing to hear."""
    if not _has_content(path):
        return None
    sound = stack.enter_context(opened(path))
    if sound.channels != 1:
        raise AudioError(f"{path}: has {sound.channels} channels; one side of a call has one")
    return sound if sound.frames else None


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def _common_rate(audible: Mapping[Side, Sound]) -> int:
    rates = {sound.samplerate for sound in audible.values()}
    if not rates:
        raise AudioError("neither side of the call has a sample: nothing to join")
    if len(rates) > 1:
        told = ", ".join(f"{side} {sound.samplerate} Hz" for side, sound in audible.items())
        raise AudioError(f"the sides of one call differ in their rate: {told}")
    return rates.pop()


def _samples(path: Path | None, sound: Sound | None, meter: Meter | None) -> Iterator[Samples]:
    if path is None or sound is None:
        return
    for block in blocks(sound, path, block_of(sound.samplerate)):
        samples = block[:, 0]
        if meter is not None:
            meter.feed(samples)
        yield samples


def _laid(callers: Iterator[Samples], callees: Iterator[Samples], dual: bool) -> Iterator[Samples]:
    """Caller and callee side by side, or mixed: shaped (frames, channels)."""
    for caller, callee in zip_longest(callers, callees, fillvalue=_SILENT):
        frames = max(len(caller), len(callee))
        if dual:
            block = np.zeros((frames, 2), dtype=np.int16)
            block[: len(caller), 0] = caller
            block[: len(callee), 1] = callee
            yield block
        else:
            mix = mixed(_padded(caller, frames), _padded(callee, frames))
            yield mix.astype(np.int16)[:, np.newaxis]


def _padded(block: Samples, frames: int) -> NDArray[np.int32]:
    wide = np.zeros(frames, dtype=np.int32)
    wide[: len(block)] = block
    return wide


def _verified(output: Path, form: Format, seconds: float) -> AudioInfo:
    """Read the file's length back: an error while libsndfile closes a file is told to nobody."""
    written = probe(output, form)
    if written.duration < seconds - _CODEC_SLACK:
        raise AudioError(f"{output}: {written.duration:.2f} of {seconds:.2f} seconds were written")
    return written
