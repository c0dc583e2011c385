"""Tests of tests.temporary."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests import temporary

CREATE = """\
import sys
from pathlib import Path
from tests.temporary import temporary_directory
directory = temporary_directory("example", Path(sys.argv[1]))
(directory / "file").touch()
print(directory, flush=True)
sys.stdin.read()
"""


class TemporaryDirectoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.parent = Path(self.mktemp()).absolute()
        self.parent.mkdir()
        self.patch(temporary, "_MIN_AGE", -60.0)  # a file system's clock may be some milliseconds behind

    def start(self) -> tuple[subprocess.Popen[str], Path]:
        """Start a process that creates a directory, and return both; it ends with its standard input."""
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", CREATE, str(self.parent)],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(self.end, process)
        assert process.stdout is not None
        return process, Path(process.stdout.readline().strip())

    def end(self, process: subprocess.Popen[str]) -> None:
        process.kill()
        process.communicate()

    def next_process(self) -> None:
        """Do what the next process does that creates a directory."""
        temporary._remove_abandoned.cache_clear()
        temporary._remove_abandoned(self.parent)

    def test_it_is_removed_when_the_process_ends(self) -> None:
        process, directory = self.start()
        self.assertEqual(directory.stat().st_mode & 0o777, 0o755)
        process.communicate()
        self.assertEqual(process.returncode, 0)
        self.assertFalse(directory.exists())

    def test_that_of_a_process_that_was_killed_is_removed_by_the_next_one(self) -> None:
        process, directory = self.start()
        self.next_process()
        self.assertTrue((directory / "file").exists(), "the directory of a running process was removed")
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.assertTrue(directory.exists())
        self.next_process()
        self.assertFalse(directory.exists())

    def test_what_was_mounted_there_is_unmounted(self) -> None:
        if os.geteuid():
            raise SkipTest("mount(2) needs root")
        process, directory = self.start()
        (directory / "spool").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(directory / "spool")], check=True)  # noqa: S603, S607
        self.addCleanup(temporary._remove, directory)
        (directory / "spool" / "file").touch()
        process.kill()
        process.wait()
        self.next_process()
        self.assertFalse(directory.exists())
