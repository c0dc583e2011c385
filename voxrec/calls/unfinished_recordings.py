"""Finds Recordings whose end no process has seen, because voxrec or Asterisk was not running.

They are found by the files in Asterisk's recording directory: a file whose Recording has not ended, although neither a
live call nor Asterisk records to it, is passed to the finish job as it is.
"""

from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol
from uuid import UUID

import msgspec
from twisted.logger import Logger

from voxrec.ari.client import AriClient
from voxrec.calls.ids import owner_of
from voxrec.calls.recording_log import RecordingSink
from voxrec.errors import NotFound
from voxrec.model import Recording, RecordingState, Side, leg_name
from voxrec.threads import DeferToThread


class Recordings(Protocol):
    """The repository of Recordings."""

    async def get(self, recording_id: UUID) -> Recording:
        """Return one Recording. Raises NotFound."""
        ...


class UnfinishedRecordings:
    """Finds unfinished Recordings by the files in ``directory``.

    ``is_live`` returns whether a live call of this process has a Recording. ``node`` is the name of this node.
    """

    _log = Logger()

    def __init__(
        self,
        asterisk: AriClient,
        recordings: Recordings,
        sink: RecordingSink,
        directory: Path,
        is_live: Callable[[UUID], bool],
        defer_to_thread: DeferToThread,
        node: str | None = None,
    ) -> None:
        self._asterisk = asterisk
        self._recordings = recordings
        self._sink = sink
        self._directory = directory
        self._is_live = is_live
        self._defer_to_thread = defer_to_thread
        self._node = node

    async def finish_all(self) -> None:
        """Pass each unfinished Recording to the finish job. Raises a VoxrecError if one cannot be looked up."""
        files = await self._defer_to_thread(self._find_files)
        for recording_id, last_written in files.items():
            if self._is_live(recording_id) or await self._is_in_progress(recording_id):
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
                self._log.warn("Recording {id} was not ended by its call; finishing it now", id=recording_id)
                self._sink.append(
                    msgspec.structs.replace(
                        recording,
                        state=RecordingState.PROCESSING,
                        ended_at=last_written,
                        updated_at=max(last_written, recording.updated_at + timedelta(microseconds=1)),
                    )
                )

    async def find_files(self) -> Collection[UUID]:
        """Return the ids of the Recordings that have files in the directory."""
        return frozenset(await self._defer_to_thread(self._find_files))

    async def _is_in_progress(self, recording_id: UUID) -> bool:
        return bool(await self._asterisk.live_recordings(leg_name(recording_id, side) for side in Side))

    def _find_files(self) -> dict[UUID, datetime]:
        """Return the ids of the Recordings that have files, and the time of the last write to them."""
        found: dict[UUID, datetime] = {}
        for recording_id, path in _recording_files(self._directory):
            try:
                written = datetime.fromtimestamp(path.lstat().st_mtime, UTC)
            except FileNotFoundError:
                continue
            found[recording_id] = max(written, found.get(recording_id, written))
        return found


def _recording_files(directory: Path) -> Iterable[tuple[UUID, Path]]:
    if not directory.is_dir():
        return
    for path in directory.iterdir():
        if (owner := owner_of(path.stem)) is not None:
            yield owner[0], path
