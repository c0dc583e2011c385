"""Tests of voxrec.calls.recording.session_directory."""

import os
import time
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from voxrec.calls.recording.session_directory import DIRECTORY, SessionDirectory
from voxrec.threads import run_in_this_thread


class SessionDirectoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.spool = Path(self.mktemp())
        self.spool.mkdir()
        self.directory = self.make()

    def make(self) -> SessionDirectory:
        return SessionDirectory(self.spool, run_in_this_thread)

    def renew(self, directory: SessionDirectory) -> str:
        self.successResultOf(Deferred.fromCoroutine(directory.renew()))
        return directory.path

    def revoke_others(self, directory: SessionDirectory) -> None:
        self.successResultOf(Deferred.fromCoroutine(directory.revoke_others()))

    def open(self, path: str) -> None:
        """Open a file as MixMonitor does: create missing directories, then the file."""
        (self.spool / path).mkdir(parents=True, exist_ok=(self.spool / path).is_dir())
        (self.spool / path / "leg.wav").touch()

    def test_files_are_created_in_the_recording_directory(self) -> None:
        path = self.renew(self.directory)
        self.assertTrue(path.startswith(f"{DIRECTORY}/"))
        self.open(path)
        self.assertTrue((self.spool / "leg.wav").is_file())

    def test_after_another_session_has_begun_no_file_is_created(self) -> None:
        former = self.renew(self.directory)
        path = self.renew(self.directory)
        with self.assertRaises(OSError):
            self.open(former)
        with self.assertRaises(NotADirectoryError):
            (self.spool / former / "leg.wav").touch()
        self.open(path)

    def test_the_process_that_has_the_application_revokes_the_names_of_others(self) -> None:
        former = self.renew(self.directory)
        other = self.make()
        path = self.renew(other)
        self.open(former)  # both are valid until one has the application
        self.revoke_others(other)
        self.assertEqual(other.path, path)
        with self.assertRaises(OSError):
            self.open(former)
        self.revoke_others(self.directory)  # it has the application again
        self.assertNotEqual(self.directory.path, former)
        self.open(self.directory.path)
        with self.assertRaises(OSError):
            self.open(path)

    def test_other_users_may_follow_the_link(self) -> None:
        umask = os.umask(0o077)
        self.addCleanup(os.umask, umask)
        self.renew(self.directory)
        self.assertEqual((self.spool / DIRECTORY).stat().st_mode & 0o777, 0o755)

    def test_names_that_were_revoked_long_ago_are_removed(self) -> None:
        for age in (6, 8):
            former = self.renew(self.directory)
            self.renew(self.directory)
            moment = time.time() - age * 86_400
            os.utime(self.spool / former, (moment, moment))
        self.assertEqual(len(list((self.spool / DIRECTORY).iterdir())), 4)
        self.revoke_others(self.directory)
        self.assertEqual(len(list((self.spool / DIRECTORY).iterdir())), 3)
        self.open(self.directory.path)

    def test_without_a_link_files_are_created_by_their_own_name(self) -> None:
        self.spool.rmdir()
        with capturedLogs() as logs:
            self.assertEqual(self.renew(self.directory), "")
        self.assertIn("cannot link to the recording directory", logs[0]["log_format"])
        self.assertFalse(self.spool.exists())  # it may be a mount point
        self.spool.mkdir()
        self.revoke_others(self.directory)
        self.open(self.directory.path)
