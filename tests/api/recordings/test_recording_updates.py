"""Tests of voxrec.api.recordings.recording_updates: which updates pause or resume a live Recording."""

from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from twisted.trial.unittest import SynchronousTestCase

from tests.subtest import subtest
from voxrec.api.recordings.recording_updates import PauseRequest
from voxrec.errors import InvalidInput
from voxrec.model import PauseBehavior, Recording, RecordingState

CREATED_AT: Final = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


def make_recording(state: RecordingState) -> Recording:
    return Recording(id=UUID(int=1), profile_id=UUID(int=2), state=state, created_at=CREATED_AT, updated_at=CREATED_AT)


class PauseRequestTests(SynchronousTestCase):
    def test_only_its_keys_are_removed(self) -> None:
        document: dict[str, Any] = {"state": "paused", "pauseBehavior": "skip", "resumeAfter": 5, "legalHold": True}
        pause = PauseRequest.pop_from(document)
        self.assertEqual(pause, PauseRequest(state="paused", pause_behavior=PauseBehavior.SKIP, resume_after=5))
        self.assertEqual(document, {"legalHold": True})

    def test_other_states_are_left_to_the_check_of_read_only_fields(self) -> None:
        document: dict[str, Any] = {"state": "completed"}
        self.assertIsNone(PauseRequest.pop_from(document).state)
        self.assertEqual(document, {"state": "completed"})

    def test_invalid_requests(self) -> None:
        rows: tuple[tuple[dict[str, Any], list[str]], ...] = (
            ({"pauseBehavior": "skip"}, ["pauseBehavior"]),
            ({"state": "recording", "resumeAfter": 5}, ["resumeAfter"]),
            ({"state": "paused", "resumeAfter": 0}, ["resumeAfter"]),
            ({"state": "paused", "pauseBehavior": "loud"}, ["pauseBehavior"]),
        )
        for document, fields in rows:
            with subtest(document):
                with self.assertRaises(InvalidInput) as caught:
                    PauseRequest.pop_from(dict(document))
                self.assertEqual([error.field for error in caught.exception.field_errors], fields)

    def test_changes(self) -> None:
        recording, paused = make_recording(RecordingState.RECORDING), make_recording(RecordingState.PAUSED)
        for pause, current, changes in (
            (PauseRequest(), recording, False),
            (PauseRequest(state="paused"), recording, True),
            (PauseRequest(state="paused"), paused, False),
            (PauseRequest(state="paused", resume_after=5), paused, True),
            (PauseRequest(state="recording"), paused, True),
            (PauseRequest(state="recording"), recording, False),
        ):
            with subtest((pause, current.state)):
                self.assertEqual(pause.changes(current), changes)
