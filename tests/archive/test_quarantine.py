"""Tests of voxrec.archive.quarantine."""

import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from voxrec.archive.quarantine import count_quarantined_files, quarantine_file, unchanged_since


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
