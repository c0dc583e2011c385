"""Tests of voxrec.calls.recording.unfinished_recordings."""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from msgspec.structs import replace
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import NOW, InMemorySink
from voxrec.calls.recording.unfinished_recordings import UnfinishedRecordings
from voxrec.errors import NotFound
from voxrec.model import Recording, RecordingState, Side, TimelineEntry, leg_name

HEADER = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\0\0\0\0"
CLOSED = HEADER[:4] + b"\x44\0\0\0" + HEADER[8:40] + b"\x20\0\0\0" + b"\1" * 32
OPEN = HEADER + b"\1" * 32


class InMemoryRecordings:
    """A repository of Recordings in memory."""

    def __init__(self) -> None:
        self.rows: dict[UUID, Recording] = {}

    async def get(self, recording_id: UUID) -> Recording:
        if recording_id not in self.rows:
            raise NotFound("unknown")
        return self.rows[recording_id]

    async def live_since_before(self, time: datetime, node: str) -> list[Recording]:
        return [each for each in self.rows.values() if each.state.live and each.updated_at < time and each.node == node]


def run_at_once(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
    return execute(function, *args)


class UnfinishedRecordingsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.recordings = InMemoryRecordings()
        self.sink = InMemorySink()
        self.later = 0.0  # seconds since the files were written
        self.live: set[UUID] = set()

    def make_recording(self, state: RecordingState) -> UUID:
        """Make a Recording with this state and a file of the caller."""
        recording = Recording(
            id=uuid4(), profile_id=uuid4(), state=state, started_at=NOW, created_at=NOW, updated_at=NOW
        )
        self.recordings.rows[recording.id] = recording
        (self.directory / f"{leg_name(recording.id, Side.CALLER)}.wav").write_bytes(CLOSED)
        return recording.id

    def finished(self, directory: Path | None = None, node: str | None = None) -> list[UUID]:
        """Finish all unfinished Recordings, and return their ids."""
        self.successResultOf(Deferred.fromCoroutine(self.unfinished(directory, node).finish_all()))
        return [recording.id for recording in self.sink.recordings]

    def unfinished(self, directory: Path | None = None, node: str | None = None) -> UnfinishedRecordings:
        clock = Clock()
        clock.advance(time.time() + self.later)
        return UnfinishedRecordings(
            clock,
            self.recordings,
            self.sink,
            directory or self.directory,
            self.live.__contains__,
            run_at_once,
            node,
        )

    def test_link_to_itself_does_not_prevent_the_others(self) -> None:
        made = self.make_recording(RecordingState.RECORDING)
        link = self.directory / f"{leg_name(uuid4(), Side.CALLER)}.wav"
        link.symlink_to(link)
        self.assertEqual(self.finished(), [made])

    def test_recording_ended_when_its_file_was_last_written(self) -> None:
        for state in (RecordingState.RECORDING, RecordingState.PAUSED):
            self.make_recording(state)
        self.assertEqual(sorted(self.finished()), sorted(self.recordings.rows))
        for recording in self.sink.recordings:
            self.assertEqual(recording.state, RecordingState.PROCESSING)
            path = self.directory / f"{leg_name(recording.id, Side.CALLER)}.wav"
            assert recording.ended_at is not None
            self.assertApproximates(recording.ended_at.timestamp(), path.stat().st_mtime, 0.001)
            self.assertGreater(recording.updated_at, NOW)

    def test_recording_that_ended_is_not_changed(self) -> None:
        for state in (RecordingState.PROCESSING, RecordingState.COMPLETED, RecordingState.FAILED):
            self.make_recording(state)
        self.assertEqual(self.finished(), [])

    def test_recording_of_a_live_call_is_not_changed(self) -> None:
        self.live.add(self.make_recording(RecordingState.RECORDING))
        self.assertEqual(self.finished(), [])

    def test_recording_without_a_file_is_finished_when_nothing_has_been_reported_for_a_minute(self) -> None:
        abandoned, live, recent, of_another_node = [self.make_recording(RecordingState.RECORDING) for _ in range(4)]
        self.live.add(live)
        for id_ in self.recordings.rows:
            (self.directory / f"{leg_name(id_, Side.CALLER)}.wav").unlink()
            node = "b" if id_ == of_another_node else "a"
            self.recordings.rows[id_] = replace(self.recordings.rows[id_], node=node)
        now = datetime.fromtimestamp(time.time(), UTC)
        self.recordings.rows[recent] = replace(self.recordings.rows[recent], updated_at=now - timedelta(seconds=50))
        self.assertEqual(self.finished(node="a"), [abandoned])
        (recording,) = self.sink.recordings
        self.assertEqual((recording.state, recording.ended_at), (RecordingState.PROCESSING, NOW))
        self.assertGreater(recording.updated_at, NOW)
        (entry,) = recording.timeline
        self.assertEqual((entry.event, entry.by), ("recording.failed", None))
        assert recording.started_at is not None
        self.assertEqual(entry.at, (NOW - recording.started_at).total_seconds())

    def test_failure_that_was_reported_is_not_reported_twice(self) -> None:
        abandoned = self.make_recording(RecordingState.RECORDING)
        (self.directory / f"{leg_name(abandoned, Side.CALLER)}.wav").unlink()
        reported = (TimelineEntry(at=0.1, event="recording.failed", detail="AMI is away"),)
        self.recordings.rows[abandoned] = replace(self.recordings.rows[abandoned], node="a", timeline=reported)
        self.assertEqual(self.finished(node="a"), [abandoned])
        self.assertEqual(self.sink.recordings[0].timeline, reported)

    def test_file_that_is_being_written_is_not_finished(self) -> None:
        recording = self.make_recording(RecordingState.RECORDING)
        path = self.directory / f"{leg_name(recording, Side.CALLEE)}.wav"
        path.write_bytes(OPEN)
        self.assertEqual(self.finished(), [])
        self.later = 31
        self.assertEqual(self.finished(), [recording])

    def test_beginning_of_the_files(self) -> None:
        recording = uuid4()
        for side, seconds in ((Side.CALLER, 3), (Side.CALLEE, 1)):
            path = self.directory / f"{leg_name(recording, side)}.wav16"
            path.write_bytes(OPEN[:44] + bytes(seconds * 32_000))
            os.utime(path, (NOW.timestamp(), NOW.timestamp()))
        found = self.successResultOf(Deferred.fromCoroutine(self.unfinished().find_files()))
        self.assertEqual(found, {recording: NOW - timedelta(seconds=3)})

    def test_files_without_recording_and_other_files_are_kept(self) -> None:
        self.recordings.rows.pop(self.make_recording(RecordingState.RECORDING))
        (self.directory / "voicemail.wav").write_bytes(b"")
        (self.directory / "voxrec-nonsense-caller.wav").write_bytes(b"")
        self.assertEqual(self.finished(), [])
        self.assertEqual(len(list(self.directory.iterdir())), 3)

    def test_missing_directory(self) -> None:
        self.assertEqual(self.finished(self.directory / "missing"), [])

    def test_recording_of_another_node_is_not_changed(self) -> None:
        """The disk of a node that had another name: an operator decides (``voxrec nodes rename``)."""
        of_other, own = (self.make_recording(RecordingState.RECORDING) for _ in range(2))
        self.recordings.rows[of_other] = replace(self.recordings.rows[of_other], node="munich")
        self.recordings.rows[own] = replace(self.recordings.rows[own], node="berlin")
        self.assertEqual(self.finished(node="berlin"), [own])
