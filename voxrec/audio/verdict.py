"""Assess the audio of a finished call: measurements of both sides, and the reasons that follow from them."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from voxrec.audio.displacement import counters_of, displacement_ms, excess_seconds, has_jitter, surplus_seconds
from voxrec.audio.meter import Meter
from voxrec.model import RtpStatistics, Side, SideVerdict, Verdict
from voxrec.model.reasons import (
    EMPTY,
    SILENT,
    TRUNCATED,
    displaced_reason,
    gaps_reason,
    no_signal_reason,
    one_way_reason,
    packet_loss_reason,
)

MIN_SPEECH_SECONDS: Final = 0.1  # less is a click, a key or noise of the bridge; no syllable is shorter
TRUNCATED_SECONDS: Final = 1.0  # between hang-up and the end of a file some hundred milliseconds are usual

MIN_LOSS: Final = 0.01  # of the packets, or of the audio; speech with G.711 is audibly impaired from about 1 % on
MIN_LOST_PACKETS: Final = 5  # fewer are not worth a reason, however short the call
MIN_GAP_SECONDS: Final = 0.2
MIN_GAPS: Final = 5  # that are shorter; a machine that is busy for a moment causes one or two


def make_verdict(
    caller: Meter | None,
    callee: Meter | None,
    call_duration: float | None,
    rtp_statistics: RtpStatistics | None = None,
    *,
    observed_duration: float | None = None,
) -> Verdict:
    """Assess both sides of a call of ``call_duration`` seconds; None means the duration of the longer side.

    ``observed_duration`` is the same if the call ended while voxrec observed it, so that longer audio has a surplus.
    A side that is None or has no frame has no SideVerdict. Reasons, in this order: ``empty`` (neither side has a
    frame), ``silent`` (neither has speech), ``one-way audio: caller|callee silent|empty``, ``no signal:
    caller|callee`` (in addition, if the silent side is zeros from beginning to end: the party was muted, or its audio
    did not reach the recording), ``truncated`` (a side is more than a second shorter than the call), ``packet loss:
    caller|callee`` (at least 1 % of the packets, by ``rtp_statistics``), ``gaps: caller|callee`` (at least 1 % of the
    audio), ``displaced: caller|callee`` (more audio than the call had time for, or much jitter). Clipping is reported
    for each side, but is not a reason: the recording of a loud talker is usable.
    """
    sides = {Side.CALLER: caller, Side.CALLEE: callee}
    meters = {side: meter if meter and meter.frames else None for side, meter in sides.items()}
    truncated = _is_truncated([meter for meter in meters.values() if meter], call_duration)
    statistics = rtp_statistics or RtpStatistics()
    surplus = surplus_seconds(meters, observed_duration)
    reasons = _speech_reasons(meters) + ((TRUNCATED,) if truncated else ())
    reasons += _loss_reasons(statistics) + _gap_reasons(meters, surplus)
    reasons += _displacement_reasons(meters, surplus, statistics)
    return Verdict(
        ok=not reasons,
        reasons=reasons,
        caller=_side_verdict(meters[Side.CALLER]),
        callee=_side_verdict(meters[Side.CALLEE]),
        truncated=truncated,
        excess_seconds=round(excess_seconds(meters, observed_duration), 2),
        displacement_ms=displacement_ms(meters, statistics, observed_duration),
    )


def make_import_verdict(channels: Sequence[Meter], call_duration: float | None, *, truncated: bool) -> Verdict:
    """Assess imported audio: of two channels the first is the caller; one channel contains both sides.

    ``truncated``: the file ends before the end of its audio. Otherwise as `make_verdict`, but with one channel there is
    no SideVerdict.
    """
    if len(channels) == 2:
        verdict = make_verdict(channels[0], channels[1], call_duration)
    else:
        both_sides = make_verdict(channels[0], channels[0], call_duration)
        verdict = msgspec.structs.replace(both_sides, caller=None, callee=None)
    if not truncated or verdict.truncated:
        return verdict
    return msgspec.structs.replace(verdict, ok=False, reasons=(*verdict.reasons, TRUNCATED), truncated=True)


def _side_verdict(meter: Meter | None) -> SideVerdict | None:
    if meter is None:
        return None
    level = meter.level_dbfs
    return SideVerdict(
        speech_seconds=round(meter.speech_seconds, 2),
        level_dbfs=None if level is None else round(level, 1),
        clipped=meter.clipped,
        gap_seconds=round(meter.gap_seconds, 2),
        duplicate_seconds=round(meter.duplicate_seconds, 2),
    )


def _loss_reasons(statistics: RtpStatistics) -> tuple[str, ...]:
    return tuple(
        packet_loss_reason(side)
        for side, of_side in counters_of(statistics).items()
        if of_side and of_side.loss >= MIN_LOSS and of_side.packets_lost >= MIN_LOST_PACKETS
    )


def _gap_reasons(meters: Mapping[Side, Meter | None], surplus: Mapping[Side, float]) -> tuple[str, ...]:
    """Return the reasons for gaps. Those that MixMonitor wrote beside the surplus of the other side miss nothing."""
    return tuple(
        gaps_reason(side)
        for side, meter in meters.items()
        if meter and _has_gaps(meter, meter.gap_seconds - surplus.get(side.other, 0.0))
    )


def _has_gaps(meter: Meter, seconds: float) -> bool:
    return seconds >= MIN_LOSS * meter.duration and (seconds >= MIN_GAP_SECONDS or meter.gaps >= MIN_GAPS)


def _displacement_reasons(
    meters: Mapping[Side, Meter | None], surplus: Mapping[Side, float], statistics: RtpStatistics
) -> tuple[str, ...]:
    return tuple(
        displaced_reason(side)
        for side, counters in counters_of(statistics).items()
        if side in surplus or has_jitter(counters, meters[side])
    )


def _is_truncated(meters: Sequence[Meter], call_duration: float | None) -> bool:
    if not meters:
        return False
    durations = [meter.duration for meter in meters]
    expected = max(durations) if call_duration is None else call_duration
    return min(durations) < expected - TRUNCATED_SECONDS


def _speech_reasons(meters: Mapping[Side, Meter | None]) -> tuple[str, ...]:
    if not any(meters.values()):
        return (EMPTY,)
    mute = {side: meter for side, meter in meters.items() if not meter or meter.speech_seconds < MIN_SPEECH_SECONDS}
    if len(mute) == len(meters):
        return (SILENT,)
    reasons = [one_way_reason(side, SILENT if meter else EMPTY) for side, meter in mute.items()]
    return (*reasons, *(no_signal_reason(side) for side, meter in mute.items() if meter and not meter.has_signal))
