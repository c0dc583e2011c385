"""Tests of voxrec.doctor.directories; tests/live/test_doctor.py tests them with an installation."""

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from voxrec.doctor.directories import check_space
from voxrec.doctor.finding import Status

GB = 250_000  # blocks

# Makes the directory a read-only file system, in mounts of its own, and prints the finding about the archive in it.
READ_ONLY = """\
mount -t tmpfs -o ro tmpfs "$1" && exec "$0" -c '
import sys
from voxrec.config import Archive, Config
from voxrec.doctor.directories import check_directories
config = Config(archive=Archive(directory=sys.argv[1]))
print(*(each.detail for each in check_directories(config) if each.check == "archive"))
' "$1"
"""


def file_system(*, size: int, free: int, files: int = 0, free_files: int = 0) -> os.statvfs_result:
    """Return the status of a file system; ``size`` and ``free`` in blocks of 4 KB (GB)."""
    return os.statvfs_result((4096, 4000, size, free, free, files, free_files, free_files, 0, 255))


class SpaceTests(SynchronousTestCase):
    def check(self, status: os.statvfs_result) -> tuple[Status, str]:
        finding = check_space("archive", Path("/srv"), status, 100_000_000)
        return (Status.OK, "") if finding is None else (finding.status, finding.detail)

    def test_space(self) -> None:
        for status, expected, words in (
            (file_system(size=100 * GB, free=6 * GB), Status.OK, ""),
            (file_system(size=100 * GB, free=4 * GB), Status.WARNING, "nearly full: 4.0 of 100.0 GB"),
            (file_system(size=10_000 * GB, free=30 * GB), Status.OK, ""),
            (file_system(size=10_000 * GB, free=19 * GB), Status.WARNING, "nearly full"),
            (file_system(size=100 * GB, free=24_999), Status.FAILED, "99,996,000 bytes free"),
        ):
            found, detail = self.check(status)
            self.assertIs(found, expected, detail)
            self.assertIn(words, detail)

    def test_files(self) -> None:
        found, detail = self.check(file_system(size=100 * GB, free=50 * GB, files=1_000_000, free_files=10))
        self.assertIs(found, Status.FAILED)
        self.assertIn("room for 10 more files", detail)
        found, _ = self.check(file_system(size=100 * GB, free=50 * GB, files=0, free_files=0))
        self.assertIs(found, Status.OK)


class ReadOnlyTests(SynchronousTestCase):
    def test_a_read_only_file_system(self) -> None:
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        namespaces = ("--mount",) if os.geteuid() == 0 else ("--user", "--map-root-user", "--mount")
        if subprocess.run(["unshare", *namespaces, "true"], check=False).returncode:  # noqa: S603, S607
            self.skipTest("this user may not create a mount namespace")
        command = ["unshare", *namespaces, "sh", "-c", READ_ONLY, sys.executable, str(directory)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        self.assertEqual(done.stdout, f"the file system of {directory} is read-only\n", done.stderr)
