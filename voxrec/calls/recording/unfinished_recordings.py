"""Finds Recordings whose end no process has seen, because voxrec or Asterisk was not running.

They are found by the files in Asterisk's recording directory: a file whose Recording has not ended, although it belongs
to no live call and Asterisk does not write to it any more, is passed to the finish job as it is. So is a Recording
without a file, because Asterisk could not be told to record (AMI was not connected) before voxrec died.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Protocol
from uuid import UUID

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.calls.channels.ids import owner_of
from voxrec.calls.recording.leg_files import duration_of, is_closed
from voxrec.calls.recording.recording_log import RecordingSink
from voxrec.clock import utc_now
from voxrec.errors import NotFound
from voxrec.model import NOT_BEGUN, RECORDING_FAILED, Recording, RecordingState, TimelineEntry
from voxrec.threads import DeferToThread

# Asterisk writes to an open file about every 2 s, unless no party sends audio
_OPEN_TIME: Final = timedelta(seconds=30)
# Calls that are taken over are live long before, and the journal has applied what it contains.
_ABANDONED_TIME: Final = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class FoundFiles:
    """The files of one Recording: when Asterisk began to write them, and last wrote, and whether it closed them."""

    began: datetime
    written: datetime
    closed: bool

    def __or__(self, other: "FoundFiles") -> "FoundFiles":
        """Return what holds for the files of both."""
        return FoundFiles(min(self.began, other.began), max(self.written, other.written), self.closed and other.closed)

    def in_progress(self, now: datetime) -> bool:
        """Return whether Asterisk may still write to a file."""
        return not self.closed and now - self.written < _OPEN_TIME


class Recordings(Protocol):
    """The repository of Recordings."""

    async def get(self, recording_id: UUID) -> Recording:
        """Return one Recording. Raises NotFound."""
        ...

    async def live_since_before(self, time: datetime, node: str) -> Sequence[Recording]:
        """Return the live Recordings of a node of which nothing has been reported since ``time``."""
        ...


class UnfinishedRecordings:
    """Finds unfinished Recordings by the files in ``directory``.

    ``is_live`` returns whether a live call of this process has a Recording. ``node`` is the name of this node.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        recordings: Recordings,
        sink: RecordingSink,
        directory: Path,
        is_live: Callable[[UUID], bool],
        defer_to_thread: DeferToThread,
        node: str | None = None,
    ) -> None:
        self._clock = clock
        self._recordings = recordings
        self._sink = sink
        self._directory = directory
        self._is_live = is_live
        self._defer_to_thread = defer_to_thread
        self._node = node

    async def finish_all(self) -> None:
        """Pass each unfinished Recording to the finish job. Raises a VoxrecError if one cannot be looked up."""
        found = await self._defer_to_thread(self._find_files)
        for recording_id, files in found.items():
            if self._is_live(recording_id) or files.in_progress(utc_now(self._clock)):
                continue
            try:
                recording = await self._recordings.get(recording_id)
            except NotFound:
                self._log.warn("Recording {id} does not exist; its files are left where they are", id=recording_id)
                continue
            if recording.node not in (None, self._node):
                self._log.debug(
                    "Recording {id} belongs to node {node}; its files are left where they are",
                    id=recording_id,
                    node=recording.node,
                )
                continue
            if recording.state.live:
                self._finish(recording, files.written)
        await self._finish_without_files(found)

    async def _finish_without_files(self, found: Mapping[UUID, FoundFiles]) -> None:
        if self._node is None:
            return
        before = utc_now(self._clock) - _ABANDONED_TIME
        for recording in await self._recordings.live_since_before(before, self._node):
            if recording.id not in found and not self._is_live(recording.id):
                self._finish(_with_failure(recording), recording.updated_at)

    def _finish(self, recording: Recording, ended_at: datetime) -> None:
        self._log.warn("Recording {id} was not ended by its call; finishing it now", id=recording.id)
        self._sink.append(
            msgspec.structs.replace(
                recording,
                state=RecordingState.PROCESSING,
                ended_at=ended_at,
                updated_at=max(ended_at, recording.updated_at + timedelta(microseconds=1)),
            )
        )

    async def find_files(self) -> Mapping[UUID, datetime]:
        """Return the ids of the Recordings that have files in the directory, and when Asterisk began to write them."""
        found = await self._defer_to_thread(self._find_files)
        return {recording_id: files.began for recording_id, files in found.items()}

    def _find_files(self) -> dict[UUID, FoundFiles]:
        """Return the files of each Recording."""
        found: dict[UUID, FoundFiles] = {}
        for recording_id, path in _recording_files(self._directory):
            try:
                file = _examine(path)
            except FileNotFoundError:
                continue
            found[recording_id] = found[recording_id] | file if recording_id in found else file
        return found


def _with_failure(recording: Recording) -> Recording:
    """Add to the timeline that nothing was recorded, unless the process that was to record has done so."""
    if recording.reports_failure or recording.started_at is None:
        return recording
    at = round((recording.updated_at - recording.started_at).total_seconds(), 3)
    entry = TimelineEntry(at=at, event=RECORDING_FAILED, detail=NOT_BEGUN)
    return msgspec.structs.replace(recording, timeline=(*recording.timeline, entry))


def _examine(path: Path) -> FoundFiles:
    written = datetime.fromtimestamp(path.lstat().st_mtime, UTC)
    return FoundFiles(written - timedelta(seconds=duration_of(path)), written, is_closed(path))


def _recording_files(directory: Path) -> Iterable[tuple[UUID, Path]]:
    if not directory.is_dir():
        return
    for path in directory.iterdir():
        if (owner := owner_of(path.stem)) is not None:
            yield owner[0], path
