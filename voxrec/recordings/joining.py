"""Makes one audio file of the leg files of a call, and assesses it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import msgspec

from voxrec.audio.formats import AudioFormat, get_format
from voxrec.audio.join import join
from voxrec.audio.meter import Meter
from voxrec.audio.probe import AudioInfo
from voxrec.audio.verdict import make_verdict
from voxrec.model import ANNOUNCEMENT_FAILED, RecordChannels, Recording, Side, SideVerdict, Verdict
from voxrec.model.reasons import EMPTY, one_way_reason, unreadable_reason
from voxrec.recordings.duplicates import remove_duplicates
from voxrec.recordings.inband_codes import silence_inband_pauses
from voxrec.recordings.legs import AlignedLegs, Leg, align_legs
from voxrec.recordings.work_files import WorkFiles


@dataclass(frozen=True, slots=True)
class AlignedCall:
    """The legs of a call without what was said in pauses, and the Recording with all pauses in its timeline."""

    recording: Recording
    legs: Mapping[Side, Leg]
    aligned: AlignedLegs

    @classmethod
    def of(cls, recording: Recording, legs: Mapping[Side, Leg], work_files: WorkFiles) -> Self:
        """Silence pauses by tones, and align the legs, of which one must have audio. Raises AudioError and OSError."""
        recording, legs = silence_inband_pauses(recording, legs, work_files)
        return cls(recording, legs, align_legs(legs, recording.timeline, work_files))

    @property
    def duration(self) -> float | None:
        """Duration in seconds; None if a leg is unreadable, so that its duration is not known."""
        return None if any(leg.unreadable for leg in self.legs.values()) else self.aligned.duration


@dataclass(frozen=True, slots=True)
class JoinedAudio:
    """The file with both sides of a call, a work file, and what is known about it."""

    call: AlignedCall
    file: Path
    info: AudioInfo
    format: AudioFormat
    channels: RecordChannels
    meters: Mapping[Side, Meter]
    verdict: Verdict

    @property
    def is_audible(self) -> bool:
        """Whether a side is more than digital silence, or unreadable. Noise without speech is audible, too."""
        levels = [side.level_dbfs for side in (self.verdict.caller, self.verdict.callee) if side]
        unreadable = any(leg.unreadable for leg in self.call.legs.values())
        return unreadable or any(level is not None for level in levels)


def join_call(call: AlignedCall, recording: Recording, legs: Mapping[Side, Leg], work_files: WorkFiles) -> JoinedAudio:
    """Join a call that was aligned from these legs of a Recording, without packets that were recorded twice.

    Packets that arrive twice make the audio longer than the call. If it is shorter without them, they have replaced
    packets that were lost, and are kept. Raises AudioError and OSError.
    """
    joined = _join(call, work_files)
    cleaned = remove_duplicates(legs, joined.meters, work_files)
    if cleaned is None:
        return joined
    without = _join(AlignedCall.of(recording, cleaned, work_files), work_files)
    if without.verdict.truncated and not joined.verdict.truncated:
        return joined
    return replace(without, verdict=_with_duplicates(without.verdict, joined.verdict))


def _join(call: AlignedCall, work_files: WorkFiles) -> JoinedAudio:
    recording, aligned = call.recording, call.aligned
    audio_format = get_format(recording.format)
    # the Profile may be older than the rule that a mono format needs recordChannels mono
    dual = recording.channels == 2 and audio_format.channels == 2
    channels = RecordChannels.DUAL if dual else RecordChannels.MONO
    output = work_files.new(f"joined.{audio_format.suffix}")
    caller, callee = (aligned.files.get(side) for side in (Side.CALLER, Side.CALLEE))
    meters = {side: Meter(aligned.rate) for side in aligned.files}
    info = join(caller, callee, output, channels, audio_format, meters)
    return JoinedAudio(call, output, info, audio_format, channels, meters, _assess(call, meters))


def _assess(call: AlignedCall, meters: Mapping[Side, Meter]) -> Verdict:
    recording = call.recording
    call_seconds = recording.call_seconds
    expected = None if call_seconds is None else call_seconds - call.aligned.cut_seconds
    verdict = make_verdict(
        meters.get(Side.CALLER),
        meters.get(Side.CALLEE),
        expected,
        recording.rtp_statistics,
        observed_duration=expected if recording.end_observed else None,
    )
    return _add_announcement_finding(_add_leg_findings(verdict, call.legs), recording)


def _with_duplicates(verdict: Verdict, before: Verdict) -> Verdict:
    """Return the verdict with the durations of the packets that were recorded twice before these were removed."""

    def merge(side: SideVerdict | None, side_before: SideVerdict | None) -> SideVerdict | None:
        if side is None or side_before is None:
            return side
        return msgspec.structs.replace(side, duplicate_seconds=side_before.duplicate_seconds)

    return msgspec.structs.replace(
        verdict, caller=merge(verdict.caller, before.caller), callee=merge(verdict.callee, before.callee)
    )


def _add_leg_findings(verdict: Verdict, legs: Mapping[Side, Leg]) -> Verdict:
    """Add to the verdict that legs were repaired or are unreadable."""
    reasons = list(verdict.reasons)
    for side, leg in legs.items():
        if leg.unreadable:
            reasons = [unreadable_reason(side), *(r for r in reasons if r != one_way_reason(side, EMPTY))]
    repaired = any(leg.repaired for leg in legs.values())
    return msgspec.structs.replace(verdict, ok=not reasons, reasons=tuple(reasons), repaired=repaired)


def _add_announcement_finding(verdict: Verdict, recording: Recording) -> Verdict:
    """Add to the verdict that the announcement was not played: the law may forbid to use the Recording."""
    if all(entry.event != ANNOUNCEMENT_FAILED for entry in recording.timeline):
        return verdict
    return msgspec.structs.replace(verdict, ok=False, reasons=(*verdict.reasons, ANNOUNCEMENT_FAILED))
