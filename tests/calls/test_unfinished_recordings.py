"""Recordings that nobody ended are handed to the finish, and no others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from twisted.internet.defer import Deferred, execute
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.double import NOW, Notebook, WillingAsterisk
from voxrec.ari.client import AriClient
from voxrec.calls.unfinished_recordings import UnfinishedRecordings
from voxrec.errors import NotFound
from voxrec.model import Recording, RecordingState, Side, leg_name


class Rows:
    """Recordings by id."""

    def __init__(self) -> None:
        self.rows: dict[UUID, Recording] = {}

    async def get(self, recording_id: UUID) -> Recording:
        if recording_id not in self.rows:
            raise NotFound("no such Recording")
        return self.rows[recording_id]


def at_once(work: Callable[..., Any], *args: Any) -> Deferred[Any]:
    return execute(work, *args)


class LeftoverTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.rows = Rows()
        self.ledger = Notebook()
        self.asterisk = WillingAsterisk()
        self.asterisk.refuse = {"-caller": 404, "-callee": 404}
        self.live: set[UUID] = set()

    def file_of(self, state: RecordingState) -> UUID:
        """A Recording in this state, with a file of the caller's."""
        recording = Recording(
            id=uuid4(), profile_id=uuid4(), state=state, started_at=NOW, created_at=NOW, updated_at=NOW
        )
        self.rows.rows[recording.id] = recording
        (self.directory / f"{leg_name(recording.id, Side.CALLER)}.wav").write_bytes(b"RIFF")
        return recording.id

    def taken_up(self, directory: Path | None = None) -> list[UUID]:
        leftovers = UnfinishedRecordings(
            AriClient(self.asterisk, "voxrec"),
            self.rows,
            self.ledger,
            directory or self.directory,
            self.live.__contains__,
            at_once,
        )
        self.successResultOf(Deferred.fromCoroutine(leftovers.take_up()))
        return [recording.id for recording in self.ledger.entries]

    def test_one_that_was_being_recorded_ended_when_its_file_was_last_written(self) -> None:
        for state in (RecordingState.RECORDING, RecordingState.PAUSED):
            self.file_of(state)
        self.assertEqual(sorted(self.taken_up()), sorted(self.rows.rows))
        for recording in self.ledger.entries:
            self.assertEqual(recording.state, RecordingState.PROCESSING)
            path = self.directory / f"{leg_name(recording.id, Side.CALLER)}.wav"
            assert recording.ended_at is not None
            self.assertApproximates(recording.ended_at.timestamp(), path.stat().st_mtime, 0.001)
            self.assertGreater(recording.updated_at, NOW)

    def test_one_that_was_ended_is_left_to_the_queue(self) -> None:
        for state in (RecordingState.PROCESSING, RecordingState.COMPLETED, RecordingState.FAILED):
            self.file_of(state)
        self.assertEqual(self.taken_up(), [])

    def test_one_of_a_live_call_is_left_alone(self) -> None:
        self.live.add(self.file_of(RecordingState.RECORDING))
        self.assertEqual(self.taken_up(), [])

    def test_one_that_asterisk_still_records_is_left_alone(self) -> None:
        recording = self.file_of(RecordingState.RECORDING)
        self.asterisk.refuse = {"-callee": 404}
        name = leg_name(recording, Side.CALLER)
        self.asterisk.answers[f"GET recordings/live/{name}"] = b'{"name": "x"}'
        self.assertEqual(self.taken_up(), [])

    def test_files_without_a_row_and_other_files_stay(self) -> None:
        self.rows.rows.pop(self.file_of(RecordingState.RECORDING))
        (self.directory / "voicemail.wav").write_bytes(b"")
        (self.directory / "voxrec-nonsense-caller.wav").write_bytes(b"")
        self.assertEqual(self.taken_up(), [])
        self.assertEqual(len(list(self.directory.iterdir())), 3)

    def test_a_directory_that_is_not_there(self) -> None:
        self.assertEqual(self.taken_up(self.directory / "nowhere"), [])
