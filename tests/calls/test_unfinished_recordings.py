"""Tests of voxrec.calls.unfinished_recordings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from msgspec.structs import replace
from twisted.internet.defer import Deferred, execute
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import NOW, FakeAsterisk, InMemorySink
from voxrec.ari.client import AriClient
from voxrec.calls.unfinished_recordings import UnfinishedRecordings
from voxrec.errors import NotFound
from voxrec.model import Recording, RecordingState, Side, leg_name


class InMemoryRecordings:
    """A repository of Recordings in memory."""

    def __init__(self) -> None:
        self.rows: dict[UUID, Recording] = {}

    async def get(self, recording_id: UUID) -> Recording:
        if recording_id not in self.rows:
            raise NotFound("unknown")
        return self.rows[recording_id]


def run_at_once(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
    return execute(function, *args)


class UnfinishedRecordingsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.recordings = InMemoryRecordings()
        self.sink = InMemorySink()
        self.asterisk = FakeAsterisk()
        self.asterisk.errors = {"-caller": 404, "-callee": 404}
        self.live: set[UUID] = set()

    def make_recording(self, state: RecordingState) -> UUID:
        """Make a Recording with this state and a file of the caller."""
        recording = Recording(
            id=uuid4(), profile_id=uuid4(), state=state, started_at=NOW, created_at=NOW, updated_at=NOW
        )
        self.recordings.rows[recording.id] = recording
        (self.directory / f"{leg_name(recording.id, Side.CALLER)}.wav").write_bytes(b"RIFF")
        return recording.id

    def finished(self, directory: Path | None = None, node: str | None = None) -> list[UUID]:
        """Finish all unfinished Recordings, and return their ids."""
        unfinished = UnfinishedRecordings(
            AriClient(self.asterisk, "voxrec"),
            self.recordings,
            self.sink,
            directory or self.directory,
            self.live.__contains__,
            run_at_once,
            node,
        )
        self.successResultOf(Deferred.fromCoroutine(unfinished.finish_all()))
        return [recording.id for recording in self.sink.recordings]

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

    def test_recording_in_progress_is_not_changed(self) -> None:
        recording = self.make_recording(RecordingState.RECORDING)
        self.asterisk.errors = {"-callee": 404}
        name = leg_name(recording, Side.CALLER)
        self.asterisk.responses[f"GET recordings/live/{name}"] = b'{"name": "x"}'
        self.assertEqual(self.finished(), [])

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
