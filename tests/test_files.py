"""Tests of voxrec.files."""

import os
import socket
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from voxrec.files import NotARegularFile, is_regular, make_directory, open_regular, open_subdirectory

UMASKS = (0o000, 0o022, 0o027, 0o077)


class FilesTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.root = Path(temporary.name)
        self.addCleanup(os.umask, os.umask(0o022))

    def assert_mode(self, path: Path, mode: int) -> None:
        self.assertEqual(f"{path.stat().st_mode & 0o7777:o}", f"{mode:o}", path)


class OpenTests(FilesTestCase):
    def test_regular_file(self) -> None:
        path = self.root / "file"
        path.write_bytes(b"content")
        with os.fdopen(open_regular(path), "rb") as file:
            self.assertEqual(file.read(), b"content")
        self.assertTrue(is_regular(path))

    def test_anything_else(self) -> None:
        target, path = self.root / "target", self.root / "path"
        target.write_bytes(b"content")
        with socket.socket(socket.AF_UNIX) as listening:
            for make in (
                lambda: path.symlink_to(target),
                lambda: path.symlink_to("missing"),
                lambda: path.symlink_to(path),
                lambda: path.symlink_to("/dev/zero"),
                lambda: os.mkfifo(path),
                lambda: listening.bind(str(path)),
            ):
                make()
                self.assertRaises(NotARegularFile, open_regular, path)
                self.assertFalse(is_regular(path))
                path.unlink()
        path.mkdir()
        self.assertRaises(NotARegularFile, open_regular, path)

    def test_missing_file(self) -> None:
        self.assertRaises(FileNotFoundError, open_regular, self.root / "missing")
        self.assertFalse(is_regular(self.root / "missing"))

    def test_file_that_becomes_a_link_after_it_was_checked(self) -> None:
        path, target = self.root / "path", self.root / "target"
        path.write_bytes(b"content")
        target.write_bytes(b"secret")
        status = path.lstat()
        path.unlink()
        path.symlink_to(target)
        self.patch(Path, "lstat", lambda _path: status)
        self.assertRaises(NotARegularFile, open_regular, path)


class DirectoryTests(FilesTestCase):
    def test_mode_does_not_depend_on_the_umask(self) -> None:
        for umask in UMASKS:
            os.umask(umask)
            first = self.root / f"{umask:o}"
            make_directory(first / "a" / "b", 0o755)
            for path in (first, first / "a", first / "a" / "b"):
                self.assert_mode(path, 0o755)

    def test_existing_directories_are_not_changed(self) -> None:
        existing = self.root / "existing"
        existing.mkdir(mode=0o700)
        make_directory(existing, 0o755)
        make_directory(existing / "new", 0o755)
        self.assert_mode(existing, 0o700)
        self.assert_mode(existing / "new", 0o755)

    def test_file_in_place_of_a_directory(self) -> None:
        (self.root / "file").write_bytes(b"")
        self.assertRaises(NotADirectoryError, make_directory, self.root / "file", 0o755)

    def test_subdirectory(self) -> None:
        for umask in UMASKS:
            os.umask(umask)
            parts = (f"{umask:o}", "b")
            for _ in range(2):
                os.close(open_subdirectory(self.root, parts, 0o750))
            self.assert_mode(self.root / parts[0], 0o750)
            self.assert_mode(self.root / parts[0] / "b", 0o750)

    def test_subdirectory_behind_a_link(self) -> None:
        (self.root / "target").mkdir()
        (self.root / "link").symlink_to("target")
        self.assertRaises(NotADirectoryError, open_subdirectory, self.root, ("link", "b"), 0o750)
        self.assertEqual([*(self.root / "target").iterdir()], [])
