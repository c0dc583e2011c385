"""Tests of voxrec.store.profile_snapshot."""

from pathlib import Path
from unittest.mock import patch

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from tests.store.samples import profile
from voxrec.store import profile_snapshot as module
from voxrec.store.profile_snapshot import ProfileSnapshot, SnapshotUnreadable


class ProfileSnapshotTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.snapshot = ProfileSnapshot(self.path)
        self.profiles = [profile(name=f"Desk {n}", metadata={"ä": n}) for n in range(3)]

    def test_write_and_read(self) -> None:
        with patch.object(module, "_BATCH_SIZE", 2):
            self.snapshot.write(self.profiles)
        self.assertEqual(self.snapshot.read(), self.profiles)
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.snapshot.write(self.profiles[:1])
        self.assertEqual(self.snapshot.read(), self.profiles[:1])

    def test_appended_changes_override_earlier_lines(self) -> None:
        self.snapshot.write(self.profiles)
        first, second, third = self.profiles
        changed, new = msgspec.structs.replace(first, name="Changed"), profile()
        self.snapshot.append([changed, new])
        self.assertEqual(self.snapshot.read(), [changed, second, third, new])

    def test_id_of_a_deleted_profile_in_a_file_of_an_earlier_version(self) -> None:
        self.snapshot.write(self.profiles)
        with self.path.open("ab") as file:
            file.write(msgspec.json.encode(self.profiles[1].id) + b"\n")
        self.assertEqual(self.snapshot.read(), [self.profiles[0], self.profiles[2]])

    def test_append_needs_a_file(self) -> None:
        with self.assertRaises(FileNotFoundError):
            self.snapshot.append(self.profiles)

    def test_incomplete_last_line_is_ignored(self) -> None:
        self.snapshot.write(self.profiles)
        with self.path.open("ab") as file:
            file.write(self.path.read_bytes()[:40])
        self.assertEqual(self.snapshot.read(), self.profiles)

    def test_invalid_lines_are_skipped(self) -> None:
        """A file system may restore garbage after a power failure, and another version may store other values."""
        self.snapshot.write(self.profiles)
        lines = self.path.read_bytes().splitlines(keepends=True)
        for invalid in (
            b"\0" * 40 + b"\n",
            b'{"id": 1}\n',
            b"\xff\n",
            b"\n",
            lines[1].replace(b'"numbers":[]', b'"numbers":[1]'),
        ):
            self.path.write_bytes(lines[0] + invalid + lines[2])
            self.assertEqual(self.snapshot.read(), [self.profiles[0], self.profiles[2]], invalid)

    def test_unreadable_file(self) -> None:
        for content in (b"{rubbish", b"\0" * 4096, b'{"id": 1}\n'):
            self.path.write_bytes(content)
            with self.assertRaises(SnapshotUnreadable):
                self.snapshot.read()
        self.path.unlink()
        self.path.mkdir()
        with self.assertRaises(SnapshotUnreadable):
            self.snapshot.read()

    def test_no_file_and_an_empty_one_contain_nothing(self) -> None:
        self.assertEqual(self.snapshot.read(), [])
        self.path.write_bytes(b"")
        self.assertEqual(self.snapshot.read(), [])
