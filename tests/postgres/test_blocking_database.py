"""Tests of voxrec.postgres.blocking_database, and of how a command finds the embedded server."""

from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from voxrec.errors import StoreUnavailable
from voxrec.postgres.blocking_database import run_to_completion
from voxrec.postgres.cluster import dsn_of_running_server


class RunToCompletionTests(SynchronousTestCase):
    def test_the_result_of_a_coroutine(self) -> None:
        async def answer() -> int:
            return 42

        self.assertEqual(run_to_completion(answer()), 42)

    def test_a_coroutine_that_waits_is_an_error(self) -> None:
        async def wait() -> None:
            await Deferred()

        self.assertRaises(RuntimeError, run_to_completion, wait())


class DsnOfRunningServerTests(SynchronousTestCase):
    def test_a_server_that_is_still_starting_is_not_running(self) -> None:
        directory = Path(self.mktemp())
        (directory / "cluster").mkdir(parents=True)
        (directory / "cluster" / "postmaster.pid").write_text("4711\n")  # the other lines follow when it is ready
        with self.assertRaisesRegex(StoreUnavailable, "does not run"):
            dsn_of_running_server(directory)
