"""The leg files of a call in Asterisk's recording directory (the spool): find, examine and align them."""

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

from twisted.logger import Logger

from voxrec.audio.pause_cuts import cut_pauses, skipped_spans
from voxrec.audio.probe import AudioInfo, probe
from voxrec.audio.repair import needs_repair, repair_header
from voxrec.audio.resample import resample_to_common_rate
from voxrec.errors import AudioError, Unavailable
from voxrec.files import NotARegularFile, is_regular, open_regular
from voxrec.model import LEG_SUFFIXES, Side, TimelineEntry, leg_name
from voxrec.recordings.work_files import WorkFiles

_COPY_BLOCK: Final = 1 << 20  # bytes
_MIN_SIZE: Final = 46  # bytes: Asterisk's WAV header and one sample
_SUBTYPE: Final = "PCM_16"
_RATES: Final = frozenset({8000, 12_000, 16_000, 24_000, 32_000, 44_100, 48_000})  # Hz; Asterisk records at 8 or 16
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
    """Return the file in which a side was recorded, or None if there is none or it is too short for a sample.

    What is not a regular file (a link, a FIFO) is only returned if there is no regular file.
    """
    paths = [path for path in reversed(leg_paths(spool, recording_id, side)) if os.path.lexists(path)]
    for path in (*filter(is_regular, paths), *paths):
        with suppress(FileNotFoundError):
            return path if not is_regular(path) or path.lstat().st_size >= _MIN_SIZE else None
    return None


def examine_leg(path: Path | None, work_files: WorkFiles) -> Leg:
    """Repair a copy of the file if its header is incomplete, and probe it."""
    if path is None:
        return Leg()
    audio = path
    try:
        _refuse_foreign_hard_link(path)
        repaired = needs_repair(path)
        if repaired:
            # the original is unchanged, so that another attempt makes the same findings
            audio = work_files.new(path.name)
            _copy(path, audio)
            repair_header(audio)
        info = probe(audio)
        _require_telephone_audio(path, info)
    except (AudioError, NotARegularFile) as error:
        _log.error("leg file {path} is not valid audio and is kept: {error}", path=str(path), error=error)
        return Leg(unreadable=True)
    return Leg(audio if info.frames else None, info, repaired)


def _refuse_foreign_hard_link(path: Path) -> None:
    """Raise AudioError if the file may have been linked into the spool to have voxrec read it.

    A backup may link the files that Asterisk recorded, which belong to the same account as the spool.
    """
    status = path.lstat()
    if status.st_nlink > 1 and status.st_uid != path.parent.stat().st_uid:
        raise AudioError(f"{path}: is a hard link to a file of another account")


def _require_telephone_audio(path: Path, info: AudioInfo) -> None:
    """Raise AudioError for what Asterisk does not record, because the header is damaged.

    Otherwise the other leg could not be finished, or a leg would be resampled to gigabytes.
    """
    if info.channels != 1 or info.subtype != _SUBTYPE or info.rate not in _RATES:
        raise AudioError(
            f"{path}: {info.subtype} with {info.channels} channels at {info.rate} Hz is no telephone audio"
        )


def _copy(source: Path, target: Path) -> None:
    with os.fdopen(open_regular(source), "rb") as file, target.open("wb") as copy:
        shutil.copyfileobj(file, copy, _COPY_BLOCK)


def delete_leg(path: Path) -> None:
    """Delete what is at the path of a leg: a link, and not what it refers to. A directory is kept."""
    try:
        path.unlink(missing_ok=True)
    except IsADirectoryError:
        _log.error("{path} is a directory and not a leg file; it is kept", path=str(path))


def align_legs(legs: Mapping[Side, Leg], timeline: Sequence[TimelineEntry], work_files: WorkFiles) -> AlignedLegs:
    """Cut pauses with behaviour ``skip`` out of the legs, and resample them to their highest sample rate.

    At least one leg must have audio. Raises AudioError and OSError.
    """
    files = {side: leg.audio for side, leg in legs.items() if leg.audio is not None}
    infos = [leg.info for leg in legs.values() if leg.audio is not None and leg.info is not None]
    files, cut_seconds = cut_pauses(files, skipped_spans(timeline), work_files.new)
    resampled = len({info.rate for info in infos}) > 1
    if resampled:
        files = resample_to_common_rate(files, work_files.new)
    if cut_seconds or resampled:
        infos = [probe(leg) for leg in files.values()]
    rate = infos[0].rate
    return AlignedLegs(files, rate, max(info.frames for info in infos) / rate, cut_seconds)


def may_contain_audio(path: Path) -> bool:
    """Return whether a leg file has a frame, or is not valid audio, so that it must not be deleted."""
    if not is_regular(path):
        return os.path.lexists(path)
    if path.lstat().st_size < _MIN_SIZE:
        return False
    try:
        # probe reports no frames for a header whose sizes were not written
        return needs_repair(path) or probe(path).frames > 0
    except AudioError:
        return True
