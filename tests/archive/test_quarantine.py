"""Tests of voxrec.archive.quarantine."""

import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from twisted.trial.unittest import SynchronousTestCase

from voxrec.archive.quarantine import (
    count_quarantined_files,
    delete_quarantined_file,
    list_quarantined_files,
    quarantine_file,
    unchanged_since,
)


class QuarantineTests(SynchronousTestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.root = Path(temporary.name)

    def write(self, path: str, content: bytes = b"content") -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    def test_file_keeps_its_path_below_the_quarantine(self) -> None:
        file = self.write("2026/05/04/a.wav")
        quarantine_file(self.root, "2026/05/04/a.wav")
        self.assertFalse(file.exists())
        self.assertEqual((self.root / "orphans/2026/05/04/a.wav").read_bytes(), b"content")

    def test_existing_file_is_not_replaced(self) -> None:
        for number in range(3):
            self.write("a.wav", b"%d" % number)
            quarantine_file(self.root, "a.wav")
        contents = {path.name: path.read_bytes() for path in (self.root / "orphans").iterdir()}
        self.assertEqual(contents, {"a.wav": b"0", "a.wav.1": b"1", "a.wav.2": b"2"})
        self.assertEqual(count_quarantined_files(self.root), 3)

    def test_missing_file(self) -> None:
        self.assertRaises(FileNotFoundError, quarantine_file, self.root, "a.wav")
        self.assertEqual(count_quarantined_files(self.root), 0)

    def test_new_directories_have_one_mode_whatever_the_umask(self) -> None:
        for number, umask in enumerate((0o000, 0o027, 0o077)):
            path = f"202{number}/05/04/a.wav"
            self.write(path)
            previous = os.umask(umask)
            try:
                quarantine_file(self.root, path)
            finally:
                os.umask(previous)
            created = self.root / "orphans" / path
            for directory in (*created.parents[:3], self.root / "orphans"):
                self.assertEqual(f"{directory.stat().st_mode & 0o7777:o}", "750", directory)

    def test_linked_quarantine_is_not_followed(self) -> None:
        elsewhere = self.root / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "b.wav").write_bytes(b"other")
        (self.root / "orphans").symlink_to(elsewhere)
        file = self.write("a.wav")
        self.assertRaises(OSError, quarantine_file, self.root, "a.wav")
        self.assertTrue(file.exists())
        self.assertEqual(count_quarantined_files(self.root), 0)

    def test_files_are_listed_with_their_recordings_and_deleted(self) -> None:
        one, other = uuid4(), uuid4()
        for path in (f"2026/05/04/{one}.wav", f"voxrec-{other}-caller.wav", "notes.txt"):
            self.write(path)
            quarantine_file(self.root, path)
        target = self.write(f"target-{other}")
        (self.root / f"{other}.wav").symlink_to(target)
        quarantine_file(self.root, f"{other}.wav")
        listed = list_quarantined_files(self.root)
        expected = {f"2026/05/04/{one}.wav": one, f"voxrec-{other}-caller.wav": other, f"{other}.wav": other}
        self.assertEqual(listed, expected)
        for path in (*listed, *listed):
            delete_quarantined_file(self.root, path)
        self.assertEqual(list_quarantined_files(self.root), {})
        self.assertEqual(count_quarantined_files(self.root), 1)
        self.assertTrue(target.exists())

    def test_files_of_a_linked_quarantine_are_not_deleted(self) -> None:
        elsewhere = self.root / "elsewhere"
        elsewhere.mkdir()
        file = elsewhere / f"{uuid4()}.wav"
        file.write_bytes(b"other")
        (self.root / "orphans").symlink_to(elsewhere)
        self.assertEqual(list_quarantined_files(self.root), {})
        self.assertRaises(OSError, delete_quarantined_file, self.root, file.name)
        self.assertTrue(file.exists())

    def test_link_is_moved_itself(self) -> None:
        target = self.write("target")
        (self.root / "a.wav").symlink_to(target)
        quarantine_file(self.root, "a.wav")
        self.assertTrue((self.root / "orphans/a.wav").is_symlink())
        self.assertTrue(target.exists())

    def test_unchanged_since(self) -> None:
        file, now = self.write("a.wav"), datetime.now(UTC)
        self.assertTrue(unchanged_since(file, now + timedelta(minutes=1)))
        self.assertFalse(unchanged_since(file, now - timedelta(minutes=1)))
        self.assertFalse(unchanged_since(self.root / "missing", now + timedelta(minutes=1)))
