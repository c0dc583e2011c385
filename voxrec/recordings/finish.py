"""The ``finish`` job: makes a completed Recording of the leg files of a call.

The order of the steps makes every attempt repeatable: the finished file is in the archive before the row refers to it,
and the row is committed before a leg file is deleted. If the process dies between two steps, the next attempt still
finds everything that it needs.
"""

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol
from uuid import UUID

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.archive.interface import Archive
from voxrec.clock import utc_now
from voxrec.errors import Conflict, NotFound, Unavailable
from voxrec.model import ANNOUNCEMENT_FAILED, Job, JobKind, RecordChannels, Recording, RecordingState, Side, Verdict
from voxrec.model.reasons import EMPTY, too_short_reason, unreadable_reason
from voxrec.recordings.erase import erase_legs
from voxrec.recordings.joining import AlignedCall, JoinedAudio, join_call
from voxrec.recordings.legs import (
    Leg,
    delete_leg,
    examine_leg,
    find_leg,
    leg_paths,
    may_contain_audio,
    require_spool,
)
from voxrec.recordings.results import FinishedResults
from voxrec.recordings.suspensions import fill_suspensions
from voxrec.recordings.work_files import WorkFiles, WorkFilesUnavailable
from voxrec.threads import DeferToThread

_FINAL_STATES: Final = frozenset({RecordingState.COMPLETED, RecordingState.FAILED, RecordingState.ABSENT})


class Recordings(Protocol):
    """The repository methods that finishing needs."""

    async def get(self, recording_id: UUID, /) -> Recording:
        """Return the Recording. Raises NotFound if there is none."""

    async def complete(self, recording: Recording, follow_up: Sequence[JobKind], /) -> object:
        """Store the final Recording and enqueue follow-up jobs in one transaction. Raises NotFound as ``get``."""


async def _has_no_peers() -> bool:
    return False


class Finisher:
    """Handles ``finish`` jobs.

    ``spool`` is Asterisk's recording directory, at the path at which voxrec sees it. ``work_directory`` is for
    temporary files; on the archive's file system, archiving needs no copy. ``node`` is the name of this node, and
    ``has_peers`` returns whether other nodes use the same database. ``results`` remembers what was committed.
    ``uploads``: the archive is to be uploaded to S3.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        recordings: Recordings,
        archive: Archive,
        spool: Path,
        work_directory: Path,
        defer_to_thread: DeferToThread,
        *,
        node: str | None = None,
        has_peers: Callable[[], Awaitable[bool]] = _has_no_peers,
        results: FinishedResults | None = None,
        uploads: bool = False,
    ) -> None:
        self._clock = clock
        self._recordings = recordings
        self._archive = archive
        self._spool = spool
        self._work_directory = work_directory
        self._defer_to_thread = defer_to_thread
        self._node = node
        self._has_peers = has_peers
        self._results = results
        self._uploads = uploads
        self._disk_failed = False

    async def __call__(self, job: Job) -> None:
        """Finish the job's Recording; see `finish`. Raises NotFound if the Recording was deleted."""
        await self.finish(await self._recordings.get(job.recording_id))

    async def _require_own_files(self, recording: Recording) -> None:
        """Raise Unavailable if the files of a Recording are, or may be, in the spool of another node.

        Earlier versions did not store which node recorded a call.
        """
        if recording.node is None:
            if await self._has_peers() and not await self._defer_to_thread(self._has_legs, recording.id):
                raise Unavailable(
                    f"there are no files of recording {recording.id} in {self._spool}, and it is not known which of "
                    "the nodes recorded the call"
                )
        elif self._node is not None and recording.node != self._node:
            raise Unavailable(f"the files of recording {recording.id} are on node {recording.node}, not {self._node}")

    def _has_legs(self, recording_id: UUID) -> bool:
        require_spool(self._spool)
        return any(os.path.lexists(path) for side in Side for path in leg_paths(self._spool, recording_id, side))

    async def finish(self, recording: Recording) -> None:
        """Finish a Recording. If it is finished already, only delete its leg files.

        Raises an exception if another attempt may succeed, and keeps the leg files then: Conflict while the call is in
        progress, Unavailable without the spool or the archive, if the disk is full, or if another node has the legs,
        OSError, and AudioError if the legs do not fit together.
        """
        if recording.state not in _FINAL_STATES:
            if recording.ended_at is None:
                raise Conflict(f"recording {recording.id} has not ended")
            await self._require_own_files(recording)
            recording = await self._recall_or_produce_reporting(recording)
            await self._store(recording)
            deleted = await self._defer_to_thread(self._remember_and_delete_legs, recording)
        else:
            deleted = await self._defer_to_thread(self._delete_legs, recording)
        if not deleted:
            await self._delete_uploaded_legs(recording.id)

    async def _delete_uploaded_legs(self, recording_id: UUID) -> None:
        """Delete the leg files of a Recording whose archived file was not found, if it has been uploaded meanwhile.

        As soon as the Recording is stored, another job uploads the archived file, and then deletes it.
        """
        recording = await self._recordings.get(recording_id)
        if not await self._defer_to_thread(self._delete_legs, recording):
            self._log.error(
                "recording {id}: the archive has no file {path}, so the leg files are kept",
                id=str(recording_id),
                path=recording.path,
            )

    async def _recall_or_produce_reporting(self, recording: Recording) -> Recording:
        """Do as `_recall_or_produce`; log once when the disk is full, and once when it is not any more."""
        try:
            produced: Recording = await self._defer_to_thread(self._recall_or_produce, recording)
        except WorkFilesUnavailable as error:
            if not self._disk_failed:
                self._disk_failed = True
                self._log.error(
                    "recordings cannot be finished; their files are kept in {spool}, and finishing is retried: {error}",
                    spool=self._spool,
                    error=error,
                )
            raise
        if self._disk_failed:
            self._disk_failed = False
            self._log.info("{directory} can be written again; recordings are finished", directory=self._work_directory)
        return produced

    def _recall_or_produce(self, recording: Recording) -> Recording:
        """Return the Recording in its final state: as it was finished before, if a failover has lost that."""
        if self._results is not None and not self._has_legs(recording.id):
            finished = self._results.recall(recording)
            if finished is not None:
                self._log.info("recording {id} is as it was before PostgreSQL failed over", id=str(recording.id))
                return self._finished(finished)
        return self._produce(recording)

    async def _store(self, recording: Recording) -> None:
        follow_up = [JobKind.MAIL] if recording.state is RecordingState.COMPLETED else []
        if self._uploads and recording.path is not None:
            follow_up.append(JobKind.UPLOAD)
        try:
            await self._recordings.complete(recording, follow_up)
        except NotFound:
            # it was deleted in the meantime; without a row nothing else would ever delete the archived file
            if recording.path is not None:
                await self._defer_to_thread(self._archive.delete, recording.path)
            raise

    def _produce(self, recording: Recording) -> Recording:
        """Return the Recording in its final state. If it has audio, the archive has it, too."""
        if recording.verdict is not None and recording.verdict.reasons:
            # the call decided that the audio must not be kept
            return self._absent(recording, recording.verdict.reasons)
        if recording.lacks_required_prompt:  # no process saw the end of the call
            return self._absent(recording, (ANNOUNCEMENT_FAILED,))
        require_spool(self._spool)
        with WorkFiles(self._work_directory, recording.id) as work_files:
            legs: Mapping[Side, Leg] = {
                side: examine_leg(find_leg(self._spool, recording.id, side), work_files) for side in Side
            }
            if not any(leg.audio for leg in legs.values()):
                return self._without_audio(recording, legs)
            legs = fill_suspensions(recording, legs, work_files)
            call = AlignedCall.of(recording, legs, work_files)
            if call.duration is not None and call.duration < recording.min_duration_seconds:
                return self._absent(call.recording, (too_short_reason(recording.min_duration_seconds),))
            return self._archive_audio(join_call(call, recording, legs, work_files))

    def _absent(self, recording: Recording, reasons: tuple[str, ...]) -> Recording:
        """Return a Recording that must not be kept; its leg files are deleted once this is stored."""
        return self._finished(recording, state=RecordingState.ABSENT, verdict=Verdict(ok=False, reasons=reasons))

    def _without_audio(self, recording: Recording, legs: Mapping[Side, Leg]) -> Recording:
        """Return a Recording without a frame: absent, or failed if a leg file is not valid audio."""
        reasons = tuple(unreadable_reason(side) for side, leg in legs.items() if leg.unreadable)
        return self._finished(
            recording,
            state=RecordingState.FAILED if reasons else RecordingState.ABSENT,
            duration=0.0,
            verdict=Verdict(ok=False, reasons=reasons or (EMPTY,)),
        )

    def _archive_audio(self, joined: JoinedAudio) -> Recording:
        """Put the file into the archive, and return the final Recording."""
        recording = joined.call.recording
        started_at = recording.started_at or recording.created_at
        stored = self._archive.put(joined.file, recording.id, started_at, joined.format.suffix)
        return self._finished(
            recording,
            channels=2 if joined.channels is RecordChannels.DUAL else 1,
            state=RecordingState.COMPLETED if joined.is_audible else RecordingState.ABSENT,
            duration=joined.info.duration,
            size=stored.size,
            sha256=stored.sha256,
            path=stored.path,
            verdict=joined.verdict,
        )

    def _finished(self, recording: Recording, **fields: object) -> Recording:
        updated_at = utc_now(self._clock)
        return msgspec.structs.replace(recording, updated_at=updated_at, **fields)

    def _remember_and_delete_legs(self, recording: Recording) -> bool:
        if self._results is not None:
            self._results.remember(recording)
        return self._delete_legs(recording)

    def _delete_legs(self, recording: Recording) -> bool:
        """Delete the leg files that the archived file replaces, and those without audio or that must not be kept.

        Return False, and keep them all, if neither the archive nor an S3 store has the file.
        """
        if _must_not_be_kept(recording):
            erase_legs(self._archive, self._spool, self._work_directory, recording.id)
            return True
        if recording.path is not None and not recording.uploaded:
            try:
                self._archive.locate(recording.path)
            except NotFound:
                return False
        reasons = recording.verdict.reasons if recording.verdict else ()
        for side in Side:
            if unreadable_reason(side) in reasons:
                continue
            for path in leg_paths(self._spool, recording.id, side):
                if recording.path is not None or not may_contain_audio(path):
                    delete_leg(path)
        return True


def _must_not_be_kept(recording: Recording) -> bool:
    """Return whether the audio of an absent Recording must be deleted; otherwise no audio was found, or silence."""
    reasons = recording.verdict.reasons if recording.verdict else ()
    return recording.state is RecordingState.ABSENT and recording.path is None and bool(set(reasons) - {EMPTY})
