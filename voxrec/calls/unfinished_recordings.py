"""Recordings that nobody ended: this process or Asterisk was not there when their calls did.

What tells is the files in Asterisk's recording directory. A file whose Recording says that it is being recorded, though
no call of ours and nothing in Asterisk feeds it, is handed to the finish as it is.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol
from uuid import UUID

import msgspec
from twisted.logger import Logger

from voxrec.ari.client import AriClient
from voxrec.calls.ids import owner_of
from voxrec.calls.recorder import RecordingSink
from voxrec.errors import NotFound
from voxrec.model import Recording, RecordingState, Side, leg_name
from voxrec.threads import DeferToThread


class Recordings(Protocol):
    """Where Recordings are read."""

    async def get(self, recording_id: UUID) -> Recording:
        """One Recording; `NotFound` where there is none."""
        ...


class UnfinishedRecordings:
    """Finds them; ``is_live`` says whether a live call of this process feeds a Recording."""

    _log = Logger()

    def __init__(
        self,
        asterisk: AriClient,
        recordings: Recordings,
        ledger: RecordingSink,
        directory: Path,
        is_live: Callable[[UUID], bool],
        defer_to_thread: DeferToThread,
    ) -> None:
        self._asterisk = asterisk
        self._recordings = recordings
        self._ledger = ledger
        self._directory = directory
        self._is_live = is_live
        self._defer_to_thread = defer_to_thread

    async def take_up(self) -> None:
        """Hand each Recording that nobody feeds any more to the finish."""
        found = await self._defer_to_thread(self._found)
        for recording_id, last_written in found.items():
            if self._is_live(recording_id) or await self._is_fed(recording_id):
                continue
            try:
                recording = await self._recordings.get(recording_id)
            except NotFound:
                self._log.warn("the files of Recording {id} have no row; they stay where they are", id=recording_id)
                continue
            if recording.state.live:
                self._log.warn("Recording {id} was left over: finishing it", id=recording_id)
                self._ledger.append(
                    msgspec.structs.replace(
                        recording,
                        state=RecordingState.PROCESSING,
                        ended_at=last_written,
                        updated_at=max(last_written, recording.updated_at + timedelta(microseconds=1)),
                    )
                )

    async def _is_fed(self, recording_id: UUID) -> bool:
        return bool(await self._asterisk.live_recordings(leg_name(recording_id, side) for side in Side))

    def _found(self) -> dict[UUID, datetime]:
        """The Recordings that have files here, and when each was last written to."""
        found: dict[UUID, datetime] = {}
        for recording_id, path in _leg_files(self._directory):
            try:
                written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            except FileNotFoundError:
                continue
            found[recording_id] = max(written, found.get(recording_id, written))
        return found


def _leg_files(directory: Path) -> Iterable[tuple[UUID, Path]]:
    if not directory.is_dir():
        return
    for path in directory.iterdir():
        if (owner := owner_of(path.stem)) is not None:
            yield owner[0], path
