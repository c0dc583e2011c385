"""Tests of voxrec.recordings.results: a failover of PostgreSQL does not make a finished Recording an empty one."""

import os
import time
from pathlib import Path

from tests.audio.fixtures import silence, tone
from tests.recordings.finish_fixtures import ENDED_CALL, ID, FinishTestCase, call_directly
from voxrec.model import RecordingState
from voxrec.recordings.finish import Finisher
from voxrec.recordings.results import FinishedResults


class FailoverTests(FinishTestCase):
    """The standby has the Recording as it was before it was finished, and its job is done again."""

    def setUp(self) -> None:
        super().setUp()
        self.results = self.base / "finished"
        self.use(300.0)

    def use(self, retention: float) -> None:
        fixture = self.fixture
        self.fixture.finisher = Finisher(
            fixture.clock,
            fixture.recordings,
            fixture.archive,
            fixture.spool,
            fixture.work,
            call_directly,
            results=FinishedResults(self.results, retention),
        )

    def fail_over(self) -> None:
        self.fixture.recordings.write(ENDED_CALL)

    def test_a_completed_recording(self) -> None:
        self.fixture.write_legs(tone(440, 3), tone(880, 3))
        before = self.run_job()
        self.assertEqual(list(self.fixture.spool.iterdir()), [])
        self.fail_over()
        self.assertEqual(self.run_job(), before)
        self.assertEqual(before.state, RecordingState.COMPLETED)
        self.assertTrue((self.fixture.root / str(before.path)).exists())

    def test_a_recording_that_must_not_be_kept(self) -> None:
        self.fixture.update_recording(min_duration_seconds=60)
        self.fixture.write_legs(tone(440, 3), tone(880, 3))
        before = self.run_job()
        self.fixture.recordings.write(before)
        self.fixture.update_recording(state=RecordingState.PROCESSING, verdict=None)
        self.assertEqual(self.run_job(), before)
        self.assertEqual(before.state, RecordingState.ABSENT)

    def test_without_a_standby_nothing_is_remembered(self) -> None:
        self.use(0.0)
        self.fixture.write_legs(tone(440, 3), silence(3))
        self.run_job()
        self.assertFalse(self.results.exists())

    def test_legs_that_are_there_are_used(self) -> None:
        """The process died, or the failover happened, before the legs were deleted."""
        self.fixture.write_legs(tone(440, 3), tone(880, 3))
        self.run_job()
        self.fail_over()
        self.fixture.write_legs(tone(440, 5), tone(880, 5))
        self.assertEqual(self.run_job().duration, 5.0)

    def test_files_are_private_contain_no_numbers_and_expire(self) -> None:
        self.fixture.update_recording(from_="+4930123", to="+4930456")
        self.fixture.write_legs(tone(440, 3), tone(880, 3))
        self.run_job()
        (file,) = self.results.iterdir()
        self.assertEqual(file.stat().st_mode & 0o777, 0o600)
        self.assertNotIn(b"4930", file.read_bytes())
        old = time.time() - 301
        os.utime(file, (old, old))
        FinishedResults(self.results, 300.0).remember(ENDED_CALL)
        self.assertEqual([path.stem for path in self.results.iterdir()], [str(ID)])
        FinishedResults(self.results, 300.0).forget(ID)
        self.assertEqual(list(self.results.iterdir()), [])

    def test_a_damaged_file_is_ignored(self) -> None:
        self.results.mkdir()
        Path(self.results, f"{ID}.json").write_text("{")
        self.fixture.write_legs(tone(440, 3), tone(880, 3))
        self.assertEqual(self.run_job().state, RecordingState.COMPLETED)
