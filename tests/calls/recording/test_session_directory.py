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
from voxrec.errors import Unavailable
from voxrec.threads import DeferToThread, run_in_this_thread


class SessionDirectoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.spool = Path(self.mktemp())
        self.spool.mkdir()
        self.clock = Clock()
        self.active = True
        self.closed: list[str] = []  # the reasons why the AMI session was closed
        self.directory = self.make()
        self.links = self.spool / f"{DIRECTORY}-voxrec"

    def make(self, app: str = "voxrec", defer_to_thread: DeferToThread = run_in_this_thread) -> SessionDirectory:
        directory = SessionDirectory(self.clock, self.spool, app, lambda: self.active, defer_to_thread)
        directory.set_close_session(self.closed.append)
        return directory

    def renew(self, directory: SessionDirectory) -> str:
        self.successResultOf(Deferred.fromCoroutine(directory.renew()))
        return directory.path

    def revoke_others(self, directory: SessionDirectory) -> None:
        self.successResultOf(Deferred.fromCoroutine(directory.revoke_others()))

    def fail_to_renew(self, directory: SessionDirectory, reason: str = "cannot replace the link") -> None:
        error = self.failureResultOf(Deferred.fromCoroutine(directory.renew()), Unavailable).value
        self.assertIn(reason, error.detail)

    def break_file_system(self) -> Callable[[], None]:
        """Let no name be revoked; return what repairs it."""

        def replace(path: Path, _target: Path) -> None:
            raise OSError(28, "No space left on device", str(path))

        restore: Callable[[], None] = self.patch(Path, "replace", replace).restore
        return restore

    def assert_revoked(self, path: str) -> None:
        with self.assertRaises(OSError):
            self.open(path)

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

    def test_an_ami_session_does_not_begin_until_the_former_name_is_revoked(self) -> None:
        former = self.renew(self.directory)
        repair = self.break_file_system()
        for _ in range(2):
            self.fail_to_renew(self.directory, "No space left on device")
        self.open(former)  # what a late command would do
        repair()
        path = self.renew(self.directory)
        self.assert_revoked(former)
        self.open(path)

    def test_an_ami_session_does_not_begin_without_a_name(self) -> None:
        self.spool.rmdir()
        self.fail_to_renew(self.directory, "No such file or directory")
        self.assertFalse(self.spool.exists())  # it may be a mount point
        self.spool.mkdir()
        self.open(self.renew(self.directory))

    def test_a_name_whose_link_could_not_be_created_at_once_is_revoked(self) -> None:
        former = self.renew(self.directory)

        def symlink_to(_path: Path, _target: str) -> None:
            raise PermissionError(1, "Operation not permitted")

        patch = self.patch(Path, "symlink_to", symlink_to)
        self.fail_to_renew(self.directory, "Operation not permitted")
        self.assert_revoked(former)
        patch.restore()
        self.open(self.renew(self.directory))

    def test_an_ami_session_does_not_begin_while_the_file_system_does_not_respond(self) -> None:
        former = self.renew(self.directory)
        responses: list[Deferred[None]] = []

        async def blocked(function: Callable[..., Any], *args: object) -> Any:
            responses.append(Deferred())
            await responses[-1]
            return function(*args)

        self.patch(self.directory, "_defer_to_thread", blocked)
        for _ in range(2):
            renewed = Deferred.fromCoroutine(self.directory.renew())
            self.clock.advance(4.9)
            self.assertNoResult(renewed)
            self.clock.advance(0.1)
            self.assertIn("not respond within 5 s", self.failureResultOf(renewed, Unavailable).value.detail)
        renewed = Deferred.fromCoroutine(self.directory.renew())
        names = []
        for number in range(3):  # the attempts that were given up have their effect, too
            responses[number].callback(None)
            names.append(self.directory.path)
        self.successResultOf(renewed)
        for path in (former, *names[:2]):
            self.assert_revoked(path)
        self.open(names[2])

    def test_the_ami_session_is_closed_if_the_names_of_others_cannot_be_revoked(self) -> None:
        other = self.renew(self.make())
        self.renew(self.directory)
        repair = self.break_file_system()
        self.active = False  # not connected to ARI yet
        self.revoke_others(self.directory)
        self.assertEqual(len(self.closed), 1)
        self.assertIn("No space left on device", self.closed[0])
        self.fail_to_renew(self.directory)
        self.active = True
        self.fail_to_renew(self.directory)
        repair()
        self.renew(self.directory)
        self.assert_revoked(other)
        self.open(self.directory.path)

    def test_the_names_of_others_stay_valid_if_another_process_has_the_application_meanwhile(self) -> None:
        other = self.renew(self.make())
        repair = self.break_file_system()
        self.revoke_others(self.directory)
        repair()
        self.active = False
        self.fail_to_renew(self.directory, "not replaced yet")
        self.open(other)
        self.revoke_others(self.directory)  # it has the application again
        self.assert_revoked(other)
        self.open(self.renew(self.directory))

    def test_the_ami_session_is_closed_if_a_deleted_name_cannot_be_replaced(self) -> None:
        self.renew(self.directory)
        self.directory.startService()
        shutil.rmtree(self.spool)
        with capturedLogs() as logs:
            self.clock.advance(5)
            self.clock.advance(5)
        self.assertEqual((len(logs), len(self.closed)), (1, 1))
        self.spool.mkdir()
        self.open(self.renew(self.directory))
        self.successResultOf(self.directory.stopService())

    def test_a_deleted_name_that_asterisk_has_created_as_a_directory_is_no_obstacle(self) -> None:
        former = self.renew(self.directory)
        (self.spool / former).unlink()
        self.open(former)
        self.open(self.renew(self.directory))
        self.revoke_others(self.directory)
        self.assertTrue((self.spool / former / "leg.wav").exists())

    def test_a_file_system_that_does_not_respond_stops_no_calls(self) -> None:
        async def blocked(*_args: object) -> Any:
            await Deferred()

        directory = self.make(defer_to_thread=blocked)
        revoked = Deferred.fromCoroutine(directory.revoke_others())
        self.clock.advance(4.9)
        self.assertNoResult(revoked)
        self.clock.advance(0.1)
        self.assertIsNone(self.successResultOf(revoked))
        self.assertIn("not respond", self.closed[0])
