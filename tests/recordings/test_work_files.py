"""Tests of voxrec.recordings.work_files."""

import tempfile
from pathlib import Path
from uuid import UUID

from twisted.trial.unittest import SynchronousTestCase

from voxrec.errors import Unavailable
from voxrec.recordings.work_files import WorkFiles

ID = UUID(int=1)


class WorkFilesTests(SynchronousTestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.directory = Path(temporary.name) / "work"

    def test_files_are_private_and_deleted_on_exit(self) -> None:
        with WorkFiles(self.directory, ID) as work_files:
            file = work_files.new("a.wav")
            self.assertEqual(file.stat().st_mode & 0o777, 0o600)
            self.assertTrue(file.name.startswith(f"{ID}-"))
            self.assertTrue(file.name.endswith("-a.wav"))
        self.assertEqual(list(self.directory.iterdir()), [])

    def test_moved_file_is_kept(self) -> None:
        with WorkFiles(self.directory, ID) as work_files:
            work_files.new("a.wav").rename(self.directory / "archived.wav")
        self.assertEqual(list(self.directory.iterdir()), [self.directory / "archived.wav"])

    def test_files_are_deleted_after_an_exception(self) -> None:
        with self.assertRaises(ZeroDivisionError), WorkFiles(self.directory, ID) as work_files:
            work_files.new("a.wav").write_bytes(b"%d" % (1 // 0))
        self.assertEqual(list(self.directory.iterdir()), [])

    def test_two_attempts_use_different_names(self) -> None:
        with WorkFiles(self.directory, ID) as first:
            first_file = first.new("a.wav")
            with WorkFiles(self.directory, UUID(int=2)) as second:
                self.assertNotEqual(second.new("a.wav"), first_file)
            self.assertNotEqual(WorkFiles(self.directory, ID).new("a.wav"), first_file)

    def test_leftovers_of_the_same_recording_are_deleted(self) -> None:
        self.directory.mkdir()
        other = self.directory / f"{UUID(int=2)}-0123456789abcdef-joined.wav"
        for leftover in (self.directory / f"{ID}-0123456789abcdef-joined.wav", other):
            leftover.write_bytes(b"incomplete")
        (self.directory / f"{ID}-0123456789abcdef").mkdir()
        with WorkFiles(self.directory, ID):
            self.assertEqual(list(self.directory.iterdir()), [other])

    def test_missing_parent_directory(self) -> None:
        work_files = WorkFiles(self.directory / "missing" / "work", ID)
        self.assertRaises(Unavailable, work_files.__enter__)
