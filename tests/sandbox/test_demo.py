"""Tests of the directories and the repetition of voxrec.sandbox.demo; the demo itself runs programs."""

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase, TestCase

from voxrec.sandbox import demo
from voxrec.sandbox.demo import KEPT_RUNS, MAX_CALLS, IncompleteRecording, _new_run_directory, _repeat_incomplete
from voxrec.sandbox.directory_lock import lock_directory
from voxrec.sandbox.errors import SandboxError


class RepetitionTests(TestCase):
    def setUp(self) -> None:
        self.calls: list[int] = []

    async def repeat(self, *errors: Exception) -> dict[str, Any]:
        async def record_call(number: int) -> dict[str, Any]:
            self.calls.append(number)
            if number <= len(errors):
                raise errors[number - 1]
            return {"call": number}

        return await _repeat_incomplete(record_call)

    async def test_a_call_whose_recording_is_incomplete_is_repeated(self) -> None:
        self.assertEqual(await self.repeat(), {"call": 1})
        incomplete = IncompleteRecording("80 ms of the caller are missing")
        self.assertEqual(await self.repeat(incomplete), {"call": 2})
        self.assertEqual(await self.repeat(*[incomplete] * (MAX_CALLS - 1)), {"call": MAX_CALLS})

    async def test_recordings_that_are_always_incomplete_fail(self) -> None:
        with self.assertRaises(IncompleteRecording):
            await self.repeat(*[IncompleteRecording("the announcement is not in the recording")] * MAX_CALLS)
        self.assertEqual(self.calls, [*range(1, MAX_CALLS + 1)])

    async def test_each_repetition_is_announced_with_its_reason(self) -> None:
        steps: list[str] = []
        self.patch(demo, "print_step", steps.append)
        await self.repeat(IncompleteRecording("80 ms of the caller are missing"))
        self.assertEqual(len(steps), 2)
        self.assertRegex(steps[0], "^80 ms of the caller are missing; .* meanwhile")
        self.assertEqual(steps[1], f"calling again: call 2 of at most {MAX_CALLS}")

    async def test_another_difference_fails_at_once(self) -> None:
        with self.assertRaises(SandboxError):
            await self.repeat(SandboxError("the SHA-256 differs"))
        self.assertEqual(self.calls, [1])


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
