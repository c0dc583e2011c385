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
BEGAN = datetime(2026, 3, 1, 0, 30, tzinfo=timezone(timedelta(hours=2)))
RELATIVE = f"2026/02/28/{ID}.wav"


class DirectoryTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        held = tempfile.TemporaryDirectory()
        self.addCleanup(held.cleanup)
        self.base = Path(held.name)
        self.root = self.base / "archive"
        self.root.mkdir()
        self.archive: Archive = LocalArchive(self.root)
        self.source = self.base / "source.wav"

    def put(self, content: bytes = b"first") -> StoredFile:
        self.source.write_bytes(content)
        return self.archive.put(self.source, ID, BEGAN, "wav")

    def names(self) -> list[str]:
        """Every file below the root."""
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*") if not path.is_dir())


class PutTests(DirectoryTestCase):
    """On one file system, by a rename."""

    def test_what_is_stored_is_told(self) -> None:
        stored = self.put(b"some audio")
        self.assertEqual(stored, StoredFile(RELATIVE, 10, hashlib.sha256(b"some audio").hexdigest()))
        self.assertEqual((self.root / RELATIVE).read_bytes(), b"some audio")

    def test_the_source_is_taken_over(self) -> None:
        self.put()
        self.assertFalse(self.source.exists())

    def test_again_is_harmless_and_the_last_one_stays(self) -> None:
        self.put(b"first")
        stored = self.put(b"second")
        self.assertEqual(stored.size, 6)
        self.assertEqual(self.names(), [RELATIVE])
        self.assertEqual((self.root / RELATIVE).read_bytes(), b"second")

    def test_modes_do_not_depend_on_the_umask(self) -> None:
        for mask in (0o077, 0o000):
            with self.subTest(mask):
                old = os.umask(mask)
                try:
                    stored = self.archive.put(self.fresh(), UUID(int=mask), BEGAN.replace(year=2000 + mask), "wav")
                finally:
                    os.umask(old)
                path = self.root / stored.path
                self.assertEqual(path.stat().st_mode & 0o777, 0o640)
                for directory in list(path.parents)[:3]:
                    self.assertEqual(directory.stat().st_mode & 0o777, 0o750, directory)

    def fresh(self) -> Path:
        self.source.write_bytes(b"fresh")
        return self.source

    def test_a_large_file_is_hashed_whole(self) -> None:
        content = bytes(range(256)) * 12000
        self.assertEqual(self.put(content).sha256, hashlib.sha256(content).hexdigest())

    def test_the_bytes_and_the_names_are_on_the_disk(self) -> None:
        """The file before its name, then every directory that gained one."""
        synced: list[str] = []

        def fsync(descriptor: int) -> None:
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            there = (self.root / RELATIVE).exists()
            kind = "directory" if path.is_dir() else "file"
            where = path.relative_to(self.root) if path.is_relative_to(self.root) else ""
            synced.append(f"{kind} {where if kind == 'directory' else ''} {'after' if there else 'before'}")

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

    def test_a_full_disk_leaves_the_source_and_nothing_else(self) -> None:
        self.patch(os, "fsync", self._full)
        with self.assertRaisesRegex(ArchiveUnavailable, "No space left"):
            self.put()
        self.assertTrue(self.source.exists())
        self.assertEqual(self.names(), [])

    def _full(self, _: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def test_a_failure_keeps_the_earlier_file(self) -> None:
        self.put(b"first")
        self.patch(os, "fsync", self._full)
        self.assertRaises(ArchiveUnavailable, self.put, b"second")
        self.assertEqual((self.root / RELATIVE).read_bytes(), b"first")
        self.assertEqual(self.names(), [RELATIVE])

    def test_a_missing_root_is_not_made(self) -> None:
        """It is a mount that is not there: what were written below its mount point would be lost to sight."""
        self.root.rmdir()
        self.assertRaisesRegex(ArchiveUnavailable, "root is missing", self.put)
        self.assertFalse(self.root.exists())

    def test_a_missing_source(self) -> None:
        with self.assertRaises(ArchiveUnavailable):
            self.archive.put(self.source, ID, BEGAN, "wav")
        self.assertEqual(self.names(), [])

    def test_what_names_no_place_is_refused(self) -> None:
        self.source.write_bytes(b"x")
        naive = datetime(2026, 3, 1)
        for began, suffix in ((naive, "wav"), (BEGAN, ""), (BEGAN, "../x"), (BEGAN, "-wav"), (BEGAN, "wav\n")):
            with self.subTest(suffix):
                self.assertRaises(ValueError, self.archive.put, self.source, ID, began, suffix)


class PutAcrossFileSystemsTests(PutTests):
    """The same promises where the rename is refused and the bytes must be copied."""

    def setUp(self) -> None:
        super().setUp()
        rename = Path.rename

        def refuse(path: Path, target: Path) -> Path:
            if path == self.source:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            return rename(path, target)

        self.patch(Path, "rename", refuse)

    def test_the_bytes_and_the_names_are_on_the_disk(self) -> None:
        calls: list[str] = []
        rename = Path.rename
        self.patch(os, "fsync", lambda descriptor: calls.append(self._kind(descriptor)))

        def renamed(path: Path, target: Path) -> Path:
            calls.append("rename" if path != self.source else "refused")
            return rename(path, target)

        self.patch(Path, "rename", renamed)
        self.put()
        self.assertEqual(calls[-4:], ["refused", "file", "rename", "directory"])

    def _kind(self, descriptor: int) -> str:
        return "directory" if Path(f"/proc/self/fd/{descriptor}").readlink().is_dir() else "file"

    def test_the_disk_fills_up_while_copying(self) -> None:
        """The source's own fsync succeeds, the copy's does not."""
        fsync = os.fsync

        def full(descriptor: int) -> None:
            if Path(f"/proc/self/fd/{descriptor}").readlink().name.startswith("."):
                self._full(descriptor)
            fsync(descriptor)

        self.patch(os, "fsync", full)
        self.assertRaisesRegex(ArchiveUnavailable, "No space left", self.put)
        self.assertTrue(self.source.exists())
        self.assertEqual(self.names(), [])

    def test_what_a_dead_process_left_goes(self) -> None:
        directory = (self.root / RELATIVE).parent
        directory.mkdir(parents=True)
        (directory / f".{ID}.wav.x7k2").write_bytes(b"half")
        (directory / f".{UUID(int=1)}.wav.x7k2").write_bytes(b"somebody else's")
        self.put()
        self.assertEqual(self.names(), [f"2026/02/28/.{UUID(int=1)}.wav.x7k2", RELATIVE])

    def test_another_device_is_not_even_tried(self) -> None:
        shared_memory = Path("/dev/shm")
        if not shared_memory.is_dir() or shared_memory.stat().st_dev == self.root.stat().st_dev:
            self.skipTest("needs a second file system")
        with tempfile.TemporaryDirectory(dir=shared_memory) as elsewhere:
            self.source = Path(elsewhere) / "source.wav"
            self.assertEqual(self.put(b"over").sha256, hashlib.sha256(b"over").hexdigest())
            self.assertFalse(self.source.exists())
        self.assertEqual((self.root / RELATIVE).read_bytes(), b"over")


class LocateTests(DirectoryTestCase):
    def test_what_was_put_is_found(self) -> None:
        self.assertEqual(self.archive.locate(self.put(b"here").path).read_bytes(), b"here")

    def test_the_root_itself_may_be_a_link(self) -> None:
        self.put(b"here")
        link = self.base / "link"
        link.symlink_to(self.root)
        self.assertEqual(LocalArchive(link).locate(RELATIVE).read_bytes(), b"here")

    def test_a_relative_root(self) -> None:
        self.put(b"here")
        old = Path.cwd()
        self.addCleanup(os.chdir, old)
        os.chdir(self.base)
        self.assertEqual(LocalArchive(Path("archive")).locate(RELATIVE).read_bytes(), b"here")

    def test_whatever_leaves_the_root_is_not_found(self) -> None:
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
    def test_no_path_leads_out(self, relative: str) -> None:
        outside, inside = self.base / "secret", self.root / "in"
        outside.write_text("secret")
        inside.mkdir(exist_ok=True)
        (inside / "2026").write_text("mine")
        if not (self.root / "up").is_symlink():
            (self.root / "up").symlink_to("..")
        try:
            found = self.archive.locate(relative)
        except NotFound:
            self.archive_delete_is_refused_or_harmless(relative)
        else:
            self.assertEqual((relative, found.read_text()), ("in/2026", "mine"))

    def archive_delete_is_refused_or_harmless(self, relative: str) -> None:
        with contextlib.suppress(NotFound, ArchiveUnavailable):
            self.archive.delete(relative)
        self.assertEqual((self.base / "secret").read_text(), "secret")


class DeleteTests(DirectoryTestCase):
    def test_it_is_gone_and_again_is_harmless(self) -> None:
        self.put()
        self.archive.delete(RELATIVE)
        self.assertEqual(self.names(), [])
        self.archive.delete(RELATIVE)
        self.assertRaises(NotFound, self.archive.locate, RELATIVE)

    def test_nothing_outside_can_be_deleted(self) -> None:
        victim = self.base / "victim"
        victim.write_text("precious")
        (self.root / "escape").symlink_to(self.base)
        for relative in ("../victim", "escape/victim", str(victim)):
            with self.subTest(relative):
                self.assertRaises(NotFound, self.archive.delete, relative)
        self.assertTrue(victim.exists())

    def test_a_refusal_is_unavailable(self) -> None:
        (self.root / "directory").mkdir()
        self.assertRaises(ArchiveUnavailable, self.archive.delete, "directory")
        self.assertTrue((self.root / "directory").exists())


class TheYearTests(DirectoryTestCase):
    @settings(deadline=None)  # it writes files
    @given(st.datetimes(min_value=datetime(1000, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC)))
    def test_the_day_is_the_utc_day(self, moment: datetime) -> None:
        self.source.write_bytes(b"x")
        stored = self.archive.put(self.source, ID, moment.astimezone(timezone(timedelta(hours=-11))), "wav")
        self.assertEqual(stored.path, f"{moment.date().isoformat().replace('-', '/')}/{ID}.wav")
