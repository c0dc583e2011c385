"""Tests of voxrec.archive.local."""

import contextlib
import errno
import hashlib
import os
import tempfile
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voxrec.archive.interface import Archive, ArchiveUnavailable, StoredFile
from voxrec.archive.local import LocalArchive
from voxrec.errors import NotFound

ID = UUID("0b8b7c1e-6a52-4f6e-9d0c-3f6f1a2b3c4d")
STARTED_AT = datetime(2026, 3, 1, 0, 30, tzinfo=timezone(timedelta(hours=2)))
RELATIVE = f"2026/02/28/{ID}.wav"


class LocalArchiveTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.base = Path(temporary.name)
        self.root = self.base / "archive"
        self.root.mkdir()
        self.archive: Archive = LocalArchive(self.root)
        self.source = self.base / "source.wav"

    def put(self, content: bytes = b"first") -> StoredFile:
        self.source.write_bytes(content)
        return self.archive.put(self.source, ID, STARTED_AT, "wav")

    def files(self) -> list[str]:
        """Return the paths of all files below the root."""
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*") if not path.is_dir())


class PutTests(LocalArchiveTestCase):
    """Source and archive are on one file system."""

    def test_stored_file_is_returned(self) -> None:
        stored = self.put(b"some audio")
        self.assertEqual(stored, StoredFile(RELATIVE, 10, hashlib.sha256(b"some audio").hexdigest()))
        self.assertEqual((self.root / RELATIVE).read_bytes(), b"some audio")

    def test_source_is_removed(self) -> None:
        self.put()
        self.assertFalse(self.source.exists())

    def test_repeated_put_replaces_the_file(self) -> None:
        self.put(b"first")
        stored = self.put(b"second")
        self.assertEqual(stored.size, 6)
        self.assertEqual(self.files(), [RELATIVE])
        self.assertEqual((self.root / RELATIVE).read_bytes(), b"second")

    def test_modes_do_not_depend_on_the_umask(self) -> None:
        for mask in (0o077, 0o000):
            with self.subTest(mask):
                old = os.umask(mask)
                try:
                    stored = self.archive.put(
                        self.write_source(), UUID(int=mask), STARTED_AT.replace(year=2000 + mask), "wav"
                    )
                finally:
                    os.umask(old)
                path = self.root / stored.path
                self.assertEqual(path.stat().st_mode & 0o777, 0o640)
                for directory in list(path.parents)[:3]:
                    self.assertEqual(directory.stat().st_mode & 0o777, 0o750, directory)

    def write_source(self) -> Path:
        self.source.write_bytes(b"content")
        return self.source

    def test_digest_of_a_file_of_several_blocks(self) -> None:
        content = bytes(range(256)) * 12000
        self.assertEqual(self.put(content).sha256, hashlib.sha256(content).hexdigest())

    def test_file_and_directories_are_synchronized(self) -> None:
        """The file is synchronized before its rename, and then every directory with a new name."""
        synced: list[str] = []

        def fsync(descriptor: int) -> None:
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            renamed = (self.root / RELATIVE).exists()
            kind = "directory" if path.is_dir() else "file"
            where = path.relative_to(self.root) if path.is_relative_to(self.root) else ""
            synced.append(f"{kind} {where if kind == 'directory' else ''} {'after' if renamed else 'before'}")

        self.patch(os, "fsync", fsync)
        self.put()
        self.assertEqual(
            synced,
            [
                "directory . before",
                "directory 2026 before",
                "directory 2026/02 before",
                "file  before",
                "directory 2026/02/28 after",
            ],
        )

    def test_full_disk_leaves_the_source_and_no_other_file(self) -> None:
        self.patch(os, "fsync", self._raise_disk_full)
        with self.assertRaisesRegex(ArchiveUnavailable, "No space left"):
            self.put()
        self.assertTrue(self.source.exists())
        self.assertEqual(self.files(), [])

    def _raise_disk_full(self, _: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def test_failure_keeps_the_earlier_file(self) -> None:
        self.put(b"first")
        self.patch(os, "fsync", self._raise_disk_full)
        self.assertRaises(ArchiveUnavailable, self.put, b"second")
        self.assertEqual((self.root / RELATIVE).read_bytes(), b"first")
        self.assertEqual(self.files(), [RELATIVE])

    def test_missing_root_is_not_created(self) -> None:
        """It is usually a missing mount, which would hide the files when it is mounted again."""
        self.root.rmdir()
        self.assertRaisesRegex(ArchiveUnavailable, "root directory is missing", self.put)
        self.assertFalse(self.root.exists())

    def test_missing_source(self) -> None:
        with self.assertRaises(ArchiveUnavailable):
            self.archive.put(self.source, ID, STARTED_AT, "wav")
        self.assertEqual(self.files(), [])

    def test_invalid_start_time_or_suffix_is_refused(self) -> None:
        self.source.write_bytes(b"x")
        naive = datetime(2026, 3, 1)
        for started_at, suffix in (
            (naive, "wav"),
            (STARTED_AT, ""),
            (STARTED_AT, "../x"),
            (STARTED_AT, "-wav"),
            (STARTED_AT, "wav\n"),
        ):
            with self.subTest(suffix):
                self.assertRaises(ValueError, self.archive.put, self.source, ID, started_at, suffix)


class PutAcrossFileSystemsTests(PutTests):
    """Source and archive are on different file systems, so the file is copied."""

    def setUp(self) -> None:
        super().setUp()
        rename = Path.rename

        def fail_for_source(path: Path, target: Path) -> Path:
            if path == self.source:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            return rename(path, target)

        self.patch(Path, "rename", fail_for_source)

    def test_file_and_directories_are_synchronized(self) -> None:
        calls: list[str] = []
        rename = Path.rename
        self.patch(os, "fsync", lambda descriptor: calls.append(self._kind(descriptor)))

        def record_rename(path: Path, target: Path) -> Path:
            calls.append("rename" if path != self.source else "failed rename")
            return rename(path, target)

        self.patch(Path, "rename", record_rename)
        self.put()
        self.assertEqual(calls[-4:], ["failed rename", "file", "rename", "directory"])

    def _kind(self, descriptor: int) -> str:
        return "directory" if Path(f"/proc/self/fd/{descriptor}").readlink().is_dir() else "file"

    def test_full_disk_while_copying(self) -> None:
        """Only the fsync of the copy fails."""
        fsync = os.fsync

        def fail_for_copy(descriptor: int) -> None:
            if Path(f"/proc/self/fd/{descriptor}").readlink().name.startswith("."):
                self._raise_disk_full(descriptor)
            fsync(descriptor)

        self.patch(os, "fsync", fail_for_copy)
        self.assertRaisesRegex(ArchiveUnavailable, "No space left", self.put)
        self.assertTrue(self.source.exists())
        self.assertEqual(self.files(), [])

    def test_incomplete_copies_of_the_same_recording_are_deleted(self) -> None:
        directory = (self.root / RELATIVE).parent
        directory.mkdir(parents=True)
        (directory / f".{ID}.wav.x7k2").write_bytes(b"incomplete")
        (directory / f".{UUID(int=1)}.wav.x7k2").write_bytes(b"of another recording")
        self.put()
        self.assertEqual(self.files(), [f"2026/02/28/.{UUID(int=1)}.wav.x7k2", RELATIVE])

    def test_other_device(self) -> None:
        shared_memory = Path("/dev/shm")
        if not shared_memory.is_dir() or shared_memory.stat().st_dev == self.root.stat().st_dev:
            self.skipTest("needs a second file system")
        with tempfile.TemporaryDirectory(dir=shared_memory) as other_device:
            self.source = Path(other_device) / "source.wav"
            self.assertEqual(self.put(b"over").sha256, hashlib.sha256(b"over").hexdigest())
            self.assertFalse(self.source.exists())
        self.assertEqual((self.root / RELATIVE).read_bytes(), b"over")


class LocateTests(LocalArchiveTestCase):
    def test_stored_file_is_located(self) -> None:
        self.assertEqual(self.archive.locate(self.put(b"here").path).read_bytes(), b"here")

    def test_root_may_be_a_symbolic_link(self) -> None:
        self.put(b"here")
        link = self.base / "link"
        link.symlink_to(self.root)
        self.assertEqual(LocalArchive(link).locate(RELATIVE).read_bytes(), b"here")

    def test_relative_root(self) -> None:
        self.put(b"here")
        old = Path.cwd()
        self.addCleanup(os.chdir, old)
        os.chdir(self.base)
        self.assertEqual(LocalArchive(Path("archive")).locate(RELATIVE).read_bytes(), b"here")

    def test_path_outside_the_archive_is_not_found(self) -> None:
        self.put()
        (self.base / "secret").write_text("secret")
        (self.root / "escape").symlink_to(self.base)
        (self.root / "file").symlink_to(self.base / "secret")
        (self.root / "loop").symlink_to("loop")
        for relative in (
            "../secret",
            "2026/../../secret",
            f"2026/../{RELATIVE}",
            "escape/secret",
            "file",
            "loop",
            "loop/x",
            "escape/archive/" + RELATIVE,
            str(self.base / "secret"),
            str(self.root / RELATIVE),
            "",
            ".",
            "/",
            "2026//02",
            "2026",
            "2026/02/28/",
            "nul\0",
            "nothing/there",
        ):
            with self.subTest(relative):
                self.assertRaises(NotFound, self.archive.locate, relative)

    @settings(deadline=None)  # it writes files
    @given(st.lists(st.sampled_from(["..", ".", "", "in", "up", "2026", "secret", "a\0"]), max_size=7).map("/".join))
    def test_arbitrary_paths_do_not_leave_the_archive(self, relative: str) -> None:
        outside, inside = self.base / "secret", self.root / "in"
        outside.write_text("secret")
        inside.mkdir(exist_ok=True)
        (inside / "2026").write_text("mine")
        if not (self.root / "up").is_symlink():
            (self.root / "up").symlink_to("..")
        try:
            found = self.archive.locate(relative)
        except NotFound:
            self.assert_delete_is_harmless(relative)
        else:
            self.assertEqual((relative, found.read_text()), ("in/2026", "mine"))

    def assert_delete_is_harmless(self, relative: str) -> None:
        with contextlib.suppress(NotFound, ArchiveUnavailable):
            self.archive.delete(relative)
        self.assertEqual((self.base / "secret").read_text(), "secret")


class DeleteTests(LocalArchiveTestCase):
    def test_delete_is_idempotent(self) -> None:
        self.put()
        self.archive.delete(RELATIVE)
        self.assertEqual(self.files(), [])
        self.archive.delete(RELATIVE)
        self.assertRaises(NotFound, self.archive.locate, RELATIVE)

    def test_path_outside_the_archive_is_refused(self) -> None:
        victim = self.base / "victim"
        victim.write_text("precious")
        (self.root / "escape").symlink_to(self.base)
        for relative in ("../victim", "escape/victim", str(victim)):
            with self.subTest(relative):
                self.assertRaises(NotFound, self.archive.delete, relative)
        self.assertTrue(victim.exists())

    def test_error_of_the_operating_system(self) -> None:
        (self.root / "directory").mkdir()
        self.assertRaises(ArchiveUnavailable, self.archive.delete, "directory")
        self.assertTrue((self.root / "directory").exists())


class PathTests(LocalArchiveTestCase):
    @settings(deadline=None)  # it writes files
    @given(st.datetimes(min_value=datetime(1000, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC)))
    def test_directory_is_the_utc_day(self, moment: datetime) -> None:
        self.source.write_bytes(b"x")
        stored = self.archive.put(self.source, ID, moment.astimezone(timezone(timedelta(hours=-11))), "wav")
        self.assertEqual(stored.path, f"{moment.date().isoformat().replace('-', '/')}/{ID}.wav")


class QuarantineTests(LocalArchiveTestCase):
    def test_files_stored_before_a_time_are_listed_with_their_recordings(self) -> None:
        self.put()
        directory = (self.root / RELATIVE).parent
        incomplete, foreign = directory / f".{UUID(int=1)}.wav.x7k2", directory / "readme.txt"
        for path in (incomplete, foreign):
            path.write_bytes(b"x")
        now = datetime.now(UTC)
        expected = {RELATIVE: ID, str(incomplete.relative_to(self.root)): UUID(int=1)}
        self.assertEqual(self.archive.list_before(now + timedelta(minutes=1)), expected)
        self.assertEqual(self.archive.list_before(now - timedelta(minutes=1)), {})

    def test_missing_root_is_not_an_empty_archive(self) -> None:
        self.root.rmdir()
        self.assertRaises(ArchiveUnavailable, self.archive.list_before, datetime.now(UTC))

    def test_quarantined_file_is_moved_and_counted(self) -> None:
        self.put(b"first")
        self.archive.quarantine(RELATIVE)
        self.put(b"second")
        self.archive.quarantine(RELATIVE)
        self.assertEqual(self.files(), [f"orphans/{RELATIVE}", f"orphans/{RELATIVE}.1"])
        self.assertEqual(self.archive.count_quarantined(), 2)
        self.assertEqual(self.archive.list_before(datetime.now(UTC) + timedelta(minutes=1)), {})

    def test_missing_file_is_ignored(self) -> None:
        self.archive.quarantine(RELATIVE)
        self.assertEqual(self.archive.count_quarantined(), 0)
