"""Tests of the directories of voxrec.sandbox.demo; the demo itself runs programs."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from voxrec.sandbox.demo import KEPT_RUNS, _new_run_directory
from voxrec.sandbox.directory_lock import lock_directory
from voxrec.sandbox.errors import SandboxError


class RunDirectoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.runs = Path(self.mktemp())

    def add_run(self, name: str) -> Path:
        directory = self.runs / name
        (directory / "data").mkdir(parents=True)
        (directory / "archive").mkdir()
        return directory

    def test_earlier_runs_keep_their_files_but_not_their_databases(self) -> None:
        earlier = [self.add_run(f"2026010{day}-120000-000") for day in range(1, 6)]
        new, lock = _new_run_directory(self.runs)
        self.addCleanup(lock.close)
        self.assertTrue(new.is_dir())
        kept = earlier[-(KEPT_RUNS - 1) :]
        self.assertEqual(sorted(self.runs.absolute().iterdir()), [*(each.absolute() for each in kept), new])
        self.assertEqual([(each / "data").exists() for each in kept], [False] * len(kept))
        self.assertEqual([(each / "archive").exists() for each in kept], [True] * len(kept))

    def test_a_run_in_progress_is_left_alone(self) -> None:
        directory, lock = _new_run_directory(self.runs)
        (directory / "data").mkdir()
        for _ in range(KEPT_RUNS + 1):
            self.addCleanup(_new_run_directory(self.runs)[1].close)
        self.assertTrue((directory / "data").is_dir())
        lock.close()

    def test_a_run_that_is_shown_is_left_alone(self) -> None:
        shown, *_ = [self.add_run(f"2026010{day}-120000-000") for day in range(1, 6)]
        with lock_directory(shown):
            _, lock = _new_run_directory(self.runs)
            self.addCleanup(lock.close)
            self.assertTrue((shown / "data").is_dir())
            self.assertRaises(SandboxError, lock_directory, shown)
