"""Tests of voxrec.calls.recording.session_directory."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from voxrec.calls.recording.session_directory import DIRECTORY, SessionDirectory
from voxrec.threads import DeferToThread, run_in_this_thread


class SessionDirectoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.spool = Path(self.mktemp())
        self.spool.mkdir()
        self.clock = Clock()
        self.active = True
        self.directory = self.make()
        self.links = self.spool / f"{DIRECTORY}-voxrec"

    def make(self, app: str = "voxrec", defer_to_thread: DeferToThread = run_in_this_thread) -> SessionDirectory:
        return SessionDirectory(self.clock, self.spool, app, lambda: self.active, defer_to_thread)

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
        self.assertTrue(path.startswith(f"{DIRECTORY}-voxrec/"))
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

    def test_the_names_of_other_applications_stay_valid(self) -> None:
        for app in ("test", "voxrec-2"):
            other = self.renew(self.make(app))
            self.renew(self.directory)
            self.revoke_others(self.directory)
            self.open(other)

    def test_other_users_may_follow_the_link(self) -> None:
        umask = os.umask(0o077)
        self.addCleanup(os.umask, umask)
        self.renew(self.directory)
        self.assertEqual(self.links.stat().st_mode & 0o777, 0o755)

    def test_other_users_may_follow_the_link_if_a_process_was_killed_while_it_created_the_directory(self) -> None:
        self.links.mkdir(0o700)
        self.renew(self.directory)
        self.assertEqual(self.links.stat().st_mode & 0o777, 0o755)

    def test_names_that_were_revoked_long_ago_are_removed(self) -> None:
        for age in (6, 8):
            former = self.renew(self.directory)
            self.renew(self.directory)
            moment = time.time() - age * 86_400
            os.utime(self.spool / former, (moment, moment))
        self.assertEqual(len(list(self.links.iterdir())), 4)
        self.renew(self.directory)
        self.assertEqual(len(list(self.links.iterdir())), 4)  # one was added
        self.open(self.directory.path)

    def test_a_name_that_was_deleted_is_replaced(self) -> None:
        former = self.renew(self.directory)
        self.directory.startService()
        for delete in ((self.spool / former).unlink, lambda: shutil.rmtree(self.links)):
            delete()
            with capturedLogs() as logs:
                self.clock.advance(5)
            self.assertIn("was deleted", logs[0]["log_format"])
            self.open(self.directory.path)
        former = self.directory.path
        (self.spool / former).unlink()
        (self.spool / former).mkdir()  # as MixMonitor does
        self.clock.advance(5)
        self.assertNotEqual(self.directory.path, former)
        self.open(self.directory.path)
        former = self.directory.path
        self.clock.advance(5)
        self.assertEqual(self.directory.path, former)
        self.successResultOf(self.directory.stopService())

    def test_a_name_that_was_revoked_is_not_replaced_until_the_process_has_the_application(self) -> None:
        former = self.renew(self.directory)
        other = self.make()
        self.renew(other)
        self.directory.startService()
        self.revoke_others(other)
        self.clock.advance(5)  # it does not know yet that another one has the application
        self.assertEqual(self.directory.path, former)
        self.active = False
        (self.spool / former).unlink()  # after a week
        with capturedLogs() as logs:
            self.clock.advance(5)
        self.assertEqual((self.directory.path, logs), (former, []))
        self.successResultOf(self.directory.stopService())

    def test_a_file_system_that_does_not_respond_stops_no_calls(self) -> None:
        response: Deferred[None] = Deferred()

        async def blocked(function: Callable[..., Any], *args: object) -> Any:
            await response
            return function(*args)

        directory = self.make(defer_to_thread=blocked)
        renewed = Deferred.fromCoroutine(directory.renew())
        self.clock.advance(4.9)
        self.assertNoResult(renewed)
        with capturedLogs() as logs:
            self.clock.advance(0.1)
        self.assertIsNone(self.successResultOf(renewed))
        self.assertIn("cannot link", logs[0]["log_format"])
        self.assertEqual(directory.path, "")
        response.callback(None)
        self.open(directory.path)
        self.assertNotEqual(directory.path, "")

    def test_without_a_link_files_are_created_by_their_own_name(self) -> None:
        self.spool.rmdir()
        with capturedLogs() as logs:
            self.assertEqual(self.renew(self.directory), "")
        self.assertIn("cannot link to the recording directory", logs[0]["log_format"])
        self.assertFalse(self.spool.exists())  # it may be a mount point
        self.spool.mkdir()
        self.revoke_others(self.directory)
        self.open(self.directory.path)
