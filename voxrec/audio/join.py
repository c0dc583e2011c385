"""Two legs to one file: side by side, or mixed."""

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voxrec.audio.formats import WAV, Format
from voxrec.audio.probe import AudioInfo, probe
from voxrec.audio.sink import resampled, write
from voxrec.audio.source import Samples, blocks, opened
from voxrec.errors import AudioFault
from voxrec.model import RecordChannels, Side

_SILENT: Final = np.zeros(0, dtype=np.int16)
_KNEE: Final = 16384  # half of full scale
_CODEC_SLACK: Final = 0.1  # seconds that a lossy codec may count otherwise than the samples given to it


def join(
    caller: Path | None, callee: Path | None, output: Path, channels: RecordChannels, form: Format = WAV
) -> AudioInfo:
    """Write both sides to ``output`` and say what was written.

    DUAL puts the caller on the left and the callee on the right, MONO mixes them (see ``mixed``). The shorter side is
    silent to the end; a side that is None, missing or without a frame is silent throughout.

    The rate stays where ``form`` can have it; see `Format.rate_for`.

    Raises AudioFault where neither side has a frame, a side is not one channel, the rates differ (see
    `voxrec.audio.level.at_one_rate`), or ``form`` cannot hold both sides apart and DUAL is wanted. Raises OSError
    where the file cannot be written; then no part of it remains.
    """
    legs = {Side.CALLER: caller, Side.CALLEE: callee}
    audible = {side: leg for side, path in legs.items() if (leg := _audible(path))}
    rate = _common_rate(audible)
    wanted = form.rate_for(rate)
    dual = channels is RecordChannels.DUAL
    if dual and form.channels < 2:
        raise AudioFault(f"{output}: {form.name} holds one channel, so the sides cannot be kept apart in it")
    try:
        laid = _laid(_pairs(legs, audible), dual)
        write(resampled(laid, rate, wanted), output, wanted, 2 if dual else 1, form)
        return _verified(output, form, max(info.duration for info in audible.values()))
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
    size = np.abs(total)
    bent = np.where(size > _KNEE, _KNEE + (size - _KNEE) // 3, size)
    louder = np.maximum(np.abs(caller), np.abs(callee))
    mix = np.sign(total) * np.minimum(size, np.maximum(bent, louder))
    # +32768 is one more than a sample can say, -32768 is not
    result: NDArray[np.int32] = np.minimum(mix, np.iinfo(np.int16).max)
    return result


def _audible(path: Path | None) -> AudioInfo | None:
    if path is None or not path.exists() or path.stat().st_size == 0:
        return None
    info = probe(path)
    if info.channels != 1:
        raise AudioFault(f"{path}: has {info.channels} channels; one side of a call has one")
    return info if info.frames else None


def _common_rate(audible: Mapping[Side, AudioInfo]) -> int:
    rates = {info.rate for info in audible.values()}
    if not rates:
        raise AudioFault("neither side of the call has a sample: nothing to join")
    if len(rates) > 1:
        told = ", ".join(f"{side} {info.rate} Hz" for side, info in audible.items())
        raise AudioFault(f"the sides of one call differ in their rate: {told}")
    return rates.pop()


def _pairs(
    legs: Mapping[Side, Path | None], audible: Mapping[Side, AudioInfo]
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """Yield caller and callee block by block, both of one length."""
    left, right = (_samples(legs[side] if side in audible else None) for side in (Side.CALLER, Side.CALLEE))
    for caller, callee in zip_longest(left, right, fillvalue=_SILENT):
        length = max(len(caller), len(callee))
        yield _padded(caller, length), _padded(callee, length)


def _samples(path: Path | None) -> Iterator[Samples]:
    if path is None:
        return
    with opened(path) as sound:
        for block in blocks(sound, path):
            yield block[:, 0]


def _padded(block: Samples, length: int) -> NDArray[np.int32]:
    wide = np.zeros(length, dtype=np.int32)
    wide[: len(block)] = block
    return wide


def _laid(pairs: Iterator[tuple[NDArray[np.int32], NDArray[np.int32]]], dual: bool) -> Iterator[Samples]:
    """Caller and callee side by side, or mixed: shaped (frames, channels)."""
    for pair in pairs:
        block = np.stack(pair, axis=1) if dual else mixed(*pair)[:, np.newaxis]
        yield block.astype(np.int16)


def _verified(output: Path, form: Format, seconds: float) -> AudioInfo:
    """Read the file's length back: an error while libsndfile closes a file is told to nobody."""
    written = probe(output, form)
    if written.duration < seconds - _CODEC_SLACK:
        raise AudioFault(f"{output}: {written.duration:.2f} of {seconds:.2f} seconds were written")
    return written
