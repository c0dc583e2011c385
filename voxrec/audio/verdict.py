"""Is this what a recorded call should sound like? What was measured of its sides, and reasons in stable words."""

from collections.abc import Mapping, Sequence
from typing import Final

from voxrec.audio.meter import Meter
from voxrec.model import Side, SideVerdict, Verdict

MIN_SPEECH_SECONDS: Final = 0.1  # below it: a click, a key, the crackle of a bridge; no syllable is shorter
TRUNCATED_SECONDS: Final = 1.0  # between hang-up and the end of a file some hundred milliseconds are usual

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


def judge(caller: Meter | None, callee: Meter | None, call_duration: float | None) -> Verdict:
    """Judge by both sides of a call that took ``call_duration`` seconds (None: as long as its longer side).

    A side that is None or without a frame has no SideVerdict. Reasons, in this order: ``empty`` (neither side has a
    frame), ``silent`` (neither has speech), ``one-way audio: caller|callee silent|empty``, ``truncated`` (a side is
    more than a second shorter than the call). Clipping is told for each side and is no reason: a loud talker is still
    a sound recording.
    """
    sides = {Side.CALLER: caller, Side.CALLEE: callee}
    meters = {side: meter if meter and meter.frames else None for side, meter in sides.items()}
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


def _told(meter: Meter | None) -> SideVerdict | None:
    if meter is None:
        return None
    level = meter.level_dbfs
    return SideVerdict(
        speech_seconds=round(meter.speech_seconds, 2),
        level_dbfs=None if level is None else round(level, 1),
        clipped=meter.clipped,
    )


def _truncated(heard: Sequence[Meter], call_duration: float | None) -> bool:
    if not heard:
        return False
    durations = [meter.duration for meter in heard]
    expected = max(durations) if call_duration is None else call_duration
    return min(durations) < expected - TRUNCATED_SECONDS


def _speech_reasons(meters: Mapping[Side, Meter | None]) -> tuple[str, ...]:
    if not any(meters.values()):
        return (EMPTY,)
    mute = {side: meter for side, meter in meters.items() if not meter or meter.speech_seconds < MIN_SPEECH_SECONDS}
    if len(mute) == len(meters):
        return (SILENT,)
    return tuple(one_way(side, SILENT if meter else EMPTY) for side, meter in mute.items())
