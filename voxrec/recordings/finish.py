"""From leg files to a completed Recording: one job, repeatable without harm.

The order is the safety: the finished file is in the archive before the row says so, and the row says so before a leg
file goes. Whatever dies between two steps, the next attempt meets everything that it needs.
"""

import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol, Self
from uuid import UUID

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.archive.interface import Archive
from voxrec.audio import formats
from voxrec.audio.join import join
from voxrec.audio.meter import Meter
from voxrec.audio.pause_cuts import find_cuts, remove_cuts, skipped_spans
from voxrec.audio.probe import AudioInfo, probe
from voxrec.audio.repair import needs_repair, repair_header
from voxrec.audio.resample import resample_to_common_rate
from voxrec.audio.verdict import EMPTY, make_verdict, one_way_reason, too_short_reason, unreadable_reason
from voxrec.errors import AudioError, Conflict, NotFound, Unavailable
from voxrec.model import (
    LEG_SUFFIXES,
    Job,
    JobKind,
    RecordChannels,
    Recording,
    RecordingState,
    Side,
    Verdict,
    leg_name,
)
from voxrec.threads import DeferToThread

_FINAL: Final = frozenset({RecordingState.COMPLETED, RecordingState.FAILED, RecordingState.ABSENT})
_FIRST_SAMPLE_ENDS: Final = 46  # bytes: Asterisk's WAV header and one sample; a shorter file has nothing to lose


class Recordings(Protocol):
    """What finishing needs of the store."""

    async def get(self, recording_id: UUID, /) -> Recording:
        """Return the Recording; NotFound where there is none."""

    async def complete(self, recording: Recording, follow_up: Sequence[JobKind], /) -> object:
        """Write the final Recording and queue the jobs that follow, in one transaction. NotFound as ``get``."""


@dataclass(frozen=True, slots=True)
class _Leg:
    """One side as it was found: ``audio`` is None where the file holds no frame, or nothing that can be read.

    ``info`` is what the file says, where it says something.
    """

    audio: Path | None = None
    info: AudioInfo | None = None
    repaired: bool = False
    unreadable: bool = False


@dataclass(frozen=True, slots=True)
class _Heard:
    """What is left of the legs once their pauses are cut: at one rate, and by how much they are shorter than before."""

    legs: Mapping[Side, Path]
    rate: int
    seconds: float
    cut_seconds: float


class _WorkFiles:
    """The files that an attempt makes, under names that no other attempt has. None is left when it is over.

    So two attempts at once, where one of them has lost its lease, never write to one file.
    """

    def __init__(self, directory: Path, recording_id: UUID) -> None:
        self._start = f"{directory}/{_started(recording_id)}{secrets.token_hex(8)}-"
        self._made: list[Path] = []

    def new(self, name: str) -> Path:
        """Make an empty file that nobody else may read."""
        path = Path(self._start + name)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        self._made.append(path)
        return path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for path in self._made:
            path.unlink(missing_ok=True)  # the archive has moved what it took


class Finisher:
    """Does the ``finish`` job.

    ``spool`` is Asterisk's recording directory as voxrec sees it; ``work`` is for files on their way, best on the
    archive's file system, so that archiving is a rename.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        recordings: Recordings,
        archive: Archive,
        spool: Path,
        work: Path,
        defer_to_thread: DeferToThread,
    ) -> None:
        self._clock = clock
        self._recordings = recordings
        self._archive = archive
        self._spool = spool
        self._work = work
        self._defer_to_thread = defer_to_thread

    async def __call__(self, job: Job) -> None:
        """Do the job: see `finish`. NotFound where its Recording was deleted."""
        await self.finish(await self._recordings.get(job.recording_id))

    async def finish(self, recording: Recording) -> None:
        """Finish a Recording, or, where that is done, only clear away its leg files.

        Raises what another attempt may cure: Conflict while the call goes on, Unavailable without the spool or the
        archive, OSError, and AudioFault where the legs contradict each other. Leg files stay then.
        """
        if recording.state not in _FINAL:
            if recording.ended_at is None:
                raise Conflict(f"recording {recording.id} has not ended")
            recording = await self._defer_to_thread(self._finished, recording)
            follow_up = [JobKind.MAIL] if recording.state is RecordingState.COMPLETED else []
            await self._settle(recording, follow_up)
        await self._defer_to_thread(self._clear_legs, recording)

    async def _settle(self, recording: Recording, follow_up: Sequence[JobKind]) -> None:
        try:
            await self._recordings.complete(recording, follow_up)
        except NotFound:
            # deleted while it was being finished: without its row nobody would ever find the file to delete it
            if recording.path is not None:
                await self._defer_to_thread(self._archive.delete, recording.path)
            raise

    def _finished(self, recording: Recording) -> Recording:
        """Return the Recording as it ends; its audio, if there is any, is in the archive by then."""
        if recording.verdict is not None and recording.verdict.reasons:
            # whoever had the call says that it must not be kept
            return self._absent(recording, recording.verdict.reasons)
        if not self._spool.is_dir():
            raise Unavailable(f"Asterisk's recording directory {self._spool} is not there")
        self._clear_work(recording.id)
        with _WorkFiles(self._work, recording.id) as files:
            legs = {side: self._examined(self._leg_path(recording, side), files) for side in Side}
            if not any(leg.audio for leg in legs.values()):
                return self._stamped(msgspec.structs.replace(recording, **_nothing(legs)))
            heard = _heard(recording, legs, files)
            # of a leg that nobody can read nobody knows how short it is
            whole = not any(leg.unreadable for leg in legs.values())
            if whole and heard.seconds < recording.min_duration_seconds:
                return self._absent(recording, (too_short_reason(recording.min_duration_seconds),))
            return self._stamped(self._archived(recording, legs, heard, files))

    def _clear_work(self, recording_id: UUID) -> None:
        """See that there is a directory for files on their way, without those of an attempt whose process died."""
        try:
            self._work.mkdir(mode=0o750, exist_ok=True)
        except FileNotFoundError as error:
            raise Unavailable(f"the directory for files on their way, {self._work}, cannot be made: {error}") from error
        start = _started(recording_id)
        for leftover in self._work.iterdir():
            if not leftover.name.startswith(start):
                continue
            if leftover.is_dir():  # as an earlier voxrec made them
                shutil.rmtree(leftover)
            else:
                leftover.unlink(missing_ok=True)

    def _absent(self, recording: Recording, reasons: tuple[str, ...]) -> Recording:
        """A Recording that must not be kept; its leg files are deleted once its row says so."""
        verdict = Verdict(ok=False, reasons=reasons)
        return self._stamped(msgspec.structs.replace(recording, state=RecordingState.ABSENT, verdict=verdict))

    def _stamped(self, recording: Recording) -> Recording:
        return msgspec.structs.replace(recording, updated_at=datetime.fromtimestamp(self._clock.seconds(), UTC))

    def _leg_paths(self, recording: Recording, side: Side) -> list[Path]:
        return [self._spool / f"{leg_name(recording.id, side)}.{suffix}" for suffix in LEG_SUFFIXES]

    def _leg_path(self, recording: Recording, side: Side) -> Path | None:
        """Where a side was recorded; None where there is no file, or one that can hold no sample."""
        for path in reversed(self._leg_paths(recording, side)):
            with suppress(FileNotFoundError):
                return path if path.stat().st_size >= _FIRST_SAMPLE_ENDS else None
        return None

    def _examined(self, path: Path | None, files: _WorkFiles) -> _Leg:
        if path is None:
            return _Leg()
        audio = path
        repaired = needs_repair(path)
        if repaired:
            # a copy, so that the next attempt, if there must be one, finds what this one found and says so
            audio = files.new(path.name)
            shutil.copyfile(path, audio)
            repair_header(audio)
        try:
            info = probe(audio)
        except AudioError as fault:
            self._log.error("{path} cannot be read and is kept: {fault}", path=str(path), fault=fault.detail)
            return _Leg(unreadable=True)
        return _Leg(audio if info.frames else None, info, repaired)

    def _archived(self, recording: Recording, legs: Mapping[Side, _Leg], heard: _Heard, files: _WorkFiles) -> Recording:
        form = formats.get_format(recording.format)
        # a Profile can be older than its format's rules: both sides in one channel are better than none
        dual = recording.channels == 2 and form.channels == 2
        output = files.new(f"joined.{form.suffix}")
        channels = RecordChannels.DUAL if dual else RecordChannels.MONO
        caller, callee = (heard.legs.get(side) for side in (Side.CALLER, Side.CALLEE))
        meters = {side: Meter(heard.rate) for side in heard.legs}
        written = join(caller, callee, output, channels, form, meters)
        call_seconds = _call_seconds(recording)
        expected = None if call_seconds is None else call_seconds - heard.cut_seconds
        verdict = _with_findings(make_verdict(meters.get(Side.CALLER), meters.get(Side.CALLEE), expected), legs)
        began = recording.started_at or recording.created_at
        stored = self._archive.put(output, recording.id, began, form.suffix)
        return msgspec.structs.replace(
            recording,
            channels=2 if dual else 1,
            state=RecordingState.COMPLETED if _worth_hearing(verdict, legs) else RecordingState.ABSENT,
            duration=written.duration,
            size=stored.size,
            sha256=stored.sha256,
            path=stored.path,
            verdict=verdict,
        )

    def _clear_legs(self, recording: Recording) -> None:
        """Delete the leg files that the archived file replaces, and those that hold nothing."""
        if recording.path is not None:
            try:
                self._archive.locate(recording.path)
            except NotFound:
                self._log.error("Recording {id} is not in the archive; its leg files are kept", id=str(recording.id))
                return
        reasons = recording.verdict.reasons if recording.verdict else ()
        replaced = recording.path is not None or _unwanted(recording)
        for side in Side:
            if unreadable_reason(side) in reasons:
                continue
            for path in self._leg_paths(recording, side):
                if replaced or not _holds_something(path):
                    path.unlink(missing_ok=True)


def _started(recording_id: UUID) -> str:
    """How the names of its files on their way begin."""
    return f"{recording_id}-"


def _heard(recording: Recording, legs: Mapping[Side, _Leg], files: _WorkFiles) -> _Heard:
    """Bring the legs to one rate, and cut out of them where the Recording was paused without a trace."""
    found = {side: leg.audio for side, leg in legs.items() if leg.audio is not None}
    infos = [leg.info for leg in legs.values() if leg.audio is not None and leg.info is not None]
    if len({info.rate for info in infos}) > 1:
        found = resample_to_common_rate(found, files.new)
        infos = [probe(leg) for leg in found.values()]
    rate, frames = infos[0].rate, max(info.frames for info in infos)
    pauses = skipped_spans(recording.timeline)
    gone = find_cuts(found, pauses) if pauses else []
    if gone:
        shorter = {side: files.new(f"cut-{side}.wav") for side in found}
        for side, output in shorter.items():
            remove_cuts(found[side], output, gone)
        found = shorter
    less = sum(cut.end - cut.start for cut in gone)
    return _Heard(found, rate, (frames - less) / rate, less / rate)


def _unwanted(recording: Recording) -> bool:
    """Whether it was decided that the audio must not be kept, and not merely found that there is none."""
    reasons = recording.verdict.reasons if recording.verdict else ()
    return recording.state is RecordingState.ABSENT and bool(set(reasons) - {EMPTY})


def _holds_something(path: Path) -> bool:
    if not path.exists() or path.stat().st_size < _FIRST_SAMPLE_ENDS:
        return False
    try:
        # libsndfile takes a header that was never finished at its word: no frames
        return needs_repair(path) or probe(path).frames > 0
    except AudioError:
        return True


def _nothing(legs: Mapping[Side, _Leg]) -> dict[str, object]:
    """How a Recording without a frame ends: absent, or failed where there are bytes that nobody can read."""
    unread = tuple(unreadable_reason(side) for side, leg in legs.items() if leg.unreadable)
    return {
        "state": RecordingState.FAILED if unread else RecordingState.ABSENT,
        "duration": 0.0,
        "verdict": Verdict(ok=False, reasons=unread or (EMPTY,)),
    }


def _with_findings(verdict: Verdict, legs: Mapping[Side, _Leg]) -> Verdict:
    """Put into the verdict what only the look at the leg files could tell."""
    reasons = list(verdict.reasons)
    for side, leg in legs.items():
        if leg.unreadable:
            reasons = [unreadable_reason(side), *(r for r in reasons if r != one_way_reason(side, EMPTY))]
    repaired = any(leg.repaired for leg in legs.values())
    return msgspec.structs.replace(verdict, ok=not reasons, reasons=tuple(reasons), repaired=repaired)


def _worth_hearing(verdict: Verdict, legs: Mapping[Side, _Leg]) -> bool:
    """Whether there is more than digital silence, or may be, in a file that nobody could read.

    Noise without speech is kept and told, not judged away.
    """
    levels = [side.level_dbfs for side in (verdict.caller, verdict.callee) if side]
    return any(level is not None for level in levels) or any(leg.unreadable for leg in legs.values())


def _call_seconds(recording: Recording) -> float | None:
    if recording.started_at is None or recording.ended_at is None:
        return None
    return (recording.ended_at - recording.started_at).total_seconds()
