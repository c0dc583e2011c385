"""The leg files of a call in Asterisk's recording directory (the spool): find, examine and align them."""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

from twisted.logger import Logger

from voxrec.audio.pause_cuts import find_cuts, remove_cuts, skipped_spans
from voxrec.audio.probe import AudioInfo, probe
from voxrec.audio.repair import needs_repair, repair_header
from voxrec.audio.resample import resample_to_common_rate
from voxrec.errors import AudioError, Unavailable
from voxrec.model import LEG_SUFFIXES, Side, TimelineEntry, leg_name
from voxrec.recordings.work_files import WorkFiles

_MIN_SIZE: Final = 46  # bytes: Asterisk's WAV header and one sample
_log = Logger()


@dataclass(frozen=True, slots=True)
class Leg:
    """The recorded audio of one side.

    ``audio`` is None if there is no file, or it has no frame, or it is not valid audio (``unreadable``). ``info`` has
    the properties of a valid file. ``audio`` is a work file if the header had to be repaired.
    """

    audio: Path | None = None
    info: AudioInfo | None = None
    repaired: bool = False
    unreadable: bool = False


@dataclass(frozen=True, slots=True)
class AlignedLegs:
    """Legs at one sample rate (Hz), without the pauses that were cut. ``duration`` is that of the longer leg."""

    files: Mapping[Side, Path]
    rate: int
    duration: float
    cut_seconds: float


def require_spool(spool: Path) -> None:
    """Raise Unavailable if the spool does not exist, usually because it is not mounted."""
    if not spool.is_dir():
        raise Unavailable(f"Asterisk's recording directory {spool} does not exist")


def leg_paths(spool: Path, recording_id: UUID, side: Side) -> list[Path]:
    """Return the paths at which Asterisk may have recorded a side, one for each suffix that it uses."""
    return [spool / f"{leg_name(recording_id, side)}.{suffix}" for suffix in LEG_SUFFIXES]


def find_leg(spool: Path, recording_id: UUID, side: Side) -> Path | None:
    """Return the file in which a side was recorded, or None if there is none or it is too short for a sample."""
    for path in reversed(leg_paths(spool, recording_id, side)):
        with suppress(FileNotFoundError):
            return path if path.stat().st_size >= _MIN_SIZE else None
    return None


def examine_leg(path: Path | None, work_files: WorkFiles) -> Leg:
    """Repair a copy of the file if its header is incomplete, and probe it."""
    if path is None:
        return Leg()
    audio = path
    repaired = needs_repair(path)
    if repaired:
        # the original is unchanged, so that another attempt makes the same findings
        audio = work_files.new(path.name)
        shutil.copyfile(path, audio)
        repair_header(audio)
    try:
        info = probe(audio)
    except AudioError as error:
        _log.error("leg file {path} is not valid audio and is kept: {error}", path=str(path), error=error.detail)
        return Leg(unreadable=True)
    return Leg(audio if info.frames else None, info, repaired)


def align_legs(legs: Mapping[Side, Leg], timeline: Sequence[TimelineEntry], work_files: WorkFiles) -> AlignedLegs:
    """Resample the legs to their highest sample rate, and cut pauses with behaviour ``skip``.

    At least one leg must have audio. Raises AudioError and OSError.
    """
    files = {side: leg.audio for side, leg in legs.items() if leg.audio is not None}
    infos = [leg.info for leg in legs.values() if leg.audio is not None and leg.info is not None]
    if len({info.rate for info in infos}) > 1:
        files = resample_to_common_rate(files, work_files.new)
        infos = [probe(leg) for leg in files.values()]
    rate, frames = infos[0].rate, max(info.frames for info in infos)
    pauses = skipped_spans(timeline)
    cuts = find_cuts(files, pauses) if pauses else []
    if cuts:
        outputs = {side: work_files.new(f"cut-{side}.wav") for side in files}
        for side, output in outputs.items():
            remove_cuts(files[side], output, cuts)
        files = outputs
    cut_frames = sum(cut.end - cut.start for cut in cuts)
    return AlignedLegs(files, rate, (frames - cut_frames) / rate, cut_frames / rate)


def may_contain_audio(path: Path) -> bool:
    """Return whether a leg file has a frame, or is not valid audio, so that it must not be deleted."""
    if not path.exists() or path.stat().st_size < _MIN_SIZE:
        return False
    try:
        # probe reports no frames for a header whose sizes were not written
        return needs_repair(path) or probe(path).frames > 0
    except AudioError:
        return True
