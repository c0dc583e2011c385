"""Is this what a recorded call should sound like? Levels, speech, clipping, and reasons in stable words."""

import math
from pathlib import Path
from typing import Final

import numpy as np

from voxrec.audio.source import Samples, blocks, opened
from voxrec.model import Side, SideVerdict, Verdict

# Speech on a telephone line is adjusted to -26 dBov while active (ITU-T P.56 measures it so), a quiet talker is about
# 10 dB below, and P.56 lets speech reach 15.9 dB under its active level: -52. Comfort noise (RFC 3389) is commonly sent
# at -60 and below. -50 stands between, nearer to the quiet talker.
SPEECH_DBFS: Final = -50.0
WINDOW_SECONDS: Final = 0.020  # one RTP packet of G.711: the usual frame of speech
MIN_SPEECH_SECONDS: Final = 0.1  # below it: a click, a key, the crackle of a bridge; no syllable is shorter

# A-law has no zero: an idle line decodes to +8 or -8 of 32768 (ITU-T G.711, table 1a). That is silence, too.
DIGITAL_SILENCE: Final = 8
# The largest sample that mu-law can carry; A-law reaches 32256 (G.711). Only linear codecs ever see 32767.
FULL_SCALE: Final = 32124
CLIPPED_RUN: Final = 3  # adjacent full-scale samples: one or two are a peak that just fits

TRUNCATED_SECONDS: Final = 1.0  # between hang-up and the end of a file some hundred milliseconds are usual
_WINDOWS_PER_BLOCK: Final = 1600  # half a minute

EMPTY: Final = "empty"
SILENT: Final = "silent"
TRUNCATED: Final = "truncated"


def one_way(side: Side, why: str) -> str:
    """Word the reason that one side alone has no speech: ``why`` is ``silent`` or ``empty``."""
    return f"one-way audio: {side} {why}"


def too_short(least: int) -> str:
    """Word the reason that a Recording lasts less than its Profile's ``least`` seconds."""
    return f"shorter than minDurationSeconds ({least} s)"


def unreadable(side: Side) -> str:
    """Word the reason that a side's file holds bytes which are no audio."""
    return f"unreadable: {side}"


def judge(caller: Path | None, callee: Path | None, call_duration: float | None) -> Verdict:
    """Listen to both legs of a call that took ``call_duration`` seconds (None: as long as its longer leg).

    A side that is None or without a frame has no SideVerdict. A level is the RMS against a full-scale square wave
    (dBov, that is), None for digital silence. Reasons, in this order: ``empty`` (neither side has a frame), ``silent``
    (neither has speech), ``one-way audio: caller|callee silent|empty``, ``truncated`` (a side is more than a second
    shorter than the call). Clipping is told for each side and is no reason: a loud talker is still a sound recording.
    """
    meters = {side: _measured(path) for side, path in ((Side.CALLER, caller), (Side.CALLEE, callee))}
    heard = [meter for meter in meters.values() if meter]
    truncated = _truncated(heard, call_duration)
    reasons = _speech_reasons(meters) + ((TRUNCATED,) if truncated else ())
    return Verdict(
        ok=not reasons,
        reasons=reasons,
        caller=_told(meters[Side.CALLER]),
        callee=_told(meters[Side.CALLEE]),
        truncated=truncated,
    )


class _Meter:
    """What one leg measures, fed block by block; every block but the last is whole windows."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self.window = max(1, round(rate * WINDOW_SECONDS))
        self._loud = (10 ** (SPEECH_DBFS / 20) * 32768) ** 2 * self.window
        self._full_tail = np.zeros(CLIPPED_RUN - 1, dtype=np.bool_)
        self.frames = 0
        self.energy = 0.0
        self.peak = 0
        self.loud_windows = 0
        self.clipped = False

    def feed(self, samples: Samples) -> None:
        whole = len(samples) - len(samples) % self.window
        wide = samples.astype(np.float32)
        windows = wide[:whole].reshape(-1, self.window)
        energies = np.einsum("ij,ij->i", windows, windows)
        # the rest of the last window counts for the level; alone it is too short to be speech
        rest = wide[whole:]
        self.frames += len(samples)
        self.energy += float(energies.sum(dtype=np.float64)) + float(np.dot(rest, rest))
        self.loud_windows += int(np.count_nonzero(energies > self._loud))
        # abs(-32768) is no int16
        self.peak = max(self.peak, int(samples.max()), -int(samples.min()))
        self._look_for_clipping(samples)

    def _look_for_clipping(self, samples: Samples) -> None:
        full = np.concatenate((self._full_tail, (samples >= FULL_SCALE) | (samples <= -FULL_SCALE)))
        self._full_tail = full[1 - CLIPPED_RUN :]
        if not self.clipped and full.any():
            runs = np.lib.stride_tricks.sliding_window_view(full, CLIPPED_RUN)
            self.clipped = bool(runs.all(axis=1).any())

    @property
    def duration(self) -> float:
        return self.frames / self._rate

    @property
    def speech_seconds(self) -> float:
        return self.loud_windows * self.window / self._rate

    @property
    def level_dbfs(self) -> float | None:
        if self.peak <= DIGITAL_SILENCE:
            return None
        return 10 * math.log10(self.energy / self.frames / 32768**2)


def _measured(path: Path | None) -> _Meter | None:
    if path is None or not path.exists() or path.stat().st_size == 0:
        return None
    with opened(path) as sound:
        meter = _Meter(sound.samplerate)
        for block in blocks(sound, path, meter.window * _WINDOWS_PER_BLOCK):
            meter.feed(block[:, 0])
    return meter if meter.frames else None


def _told(meter: _Meter | None) -> SideVerdict | None:
    if meter is None:
        return None
    level = meter.level_dbfs
    return SideVerdict(
        speech_seconds=round(meter.speech_seconds, 2),
        level_dbfs=None if level is None else round(level, 1),
        clipped=meter.clipped,
    )


def _truncated(heard: list[_Meter], call_duration: float | None) -> bool:
    if not heard:
        return False
    durations = [meter.duration for meter in heard]
    expected = max(durations) if call_duration is None else call_duration
    return min(durations) < expected - TRUNCATED_SECONDS


def _speech_reasons(meters: dict[Side, _Meter | None]) -> tuple[str, ...]:
    if not any(meters.values()):
        return (EMPTY,)
    mute = {side: meter for side, meter in meters.items() if not meter or meter.speech_seconds < MIN_SPEECH_SECONDS}
    if len(mute) == len(meters):
        return (SILENT,)
    return tuple(one_way(side, SILENT if meter else EMPTY) for side, meter in mute.items())
