"""Tests of voxrec.log_file: what logrotate does to a file that is open."""

import os
import shutil
from pathlib import Path

from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from voxrec.log_file import LogFile
from voxrec.log_output import LogOutput


class LogFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.path, self.renamed = directory / "voxrec.log", directory / "voxrec.log.1"
        self.file = LogFile(self.path)
        self.file.write("first\n")

    def test_a_name_that_is_not_utf8(self) -> None:
        self.file.write("\udcff\n")
        self.assertEqual(self.path.read_bytes(), b"first\n\\udcff\n")

    def test_another_start_appends(self) -> None:
        LogFile(self.path).write("second\n")
        self.assertEqual(self.path.read_text(), "first\nsecond\n")

    def test_rename_and_create(self) -> None:
        """``create`` and ``postrotate`` with SIGUSR1, of logrotate."""
        self.path.rename(self.renamed)
        self.path.touch()
        self.file.write("second\n")
        self.file.reopen()
        self.file.write("third\n")
        self.assertEqual(self.renamed.read_text(), "first\nsecond\n")
        self.assertEqual(self.path.read_text(), "third\n")
        self.assertEqual(sorted(each.name for each in self.path.parent.iterdir()), ["voxrec.log", "voxrec.log.1"])

    def test_rename_without_create(self) -> None:
        self.path.rename(self.renamed)
        self.file.reopen()
        self.file.write("second\n")
        self.assertEqual((self.renamed.read_text(), self.path.read_text()), ("first\n", "second\n"))

    def test_copy_and_truncate(self) -> None:
        """``copytruncate`` of logrotate: the file has no hole of zeros."""
        shutil.copy(self.path, self.renamed)
        os.truncate(self.path, 0)
        self.file.write("second\n")
        self.assertEqual((self.renamed.read_bytes(), self.path.read_bytes()), (b"first\n", b"second\n"))

    def test_a_file_that_cannot_be_opened(self) -> None:
        self.path.rename(self.renamed)
        self.path.mkdir()
        self.patch(LogFile, "_log", Logger(observer=LogOutput(self.file)))
        self.file.reopen()
        self.file.write("second\n")
        self.assertIn("cannot be opened again", self.renamed.read_text())
        self.assertTrue(self.renamed.read_text().endswith("\nsecond\n"))

    def test_a_full_file_system(self) -> None:
        """What cannot be written is lost, and nothing of it is written later."""
        file = LogFile(Path("/dev/full"))
        self.assertRaises(OSError, file.write, "lost\n")
        file.flush()
