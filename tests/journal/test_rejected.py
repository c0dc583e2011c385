"""Tests of voxrec.journal.rejected."""

from pathlib import Path
from uuid import uuid4

from twisted.trial.unittest import SynchronousTestCase

from voxrec.journal.rejected import RejectedLines


class RejectedLinesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp(), "rejected")
        self.directory.parent.mkdir()
        self.lines = RejectedLines(self.directory)

    def test_lines_are_deleted_by_recording(self) -> None:
        one, other = uuid4(), uuid4()
        for recording_id in (one, one, other):
            self.lines.add(b'{"id":"%s","from":"+4930"}' % str(recording_id).encode())
        unreadable = [self.lines.add(line) for line in (b"no JSON", b"\xff", b"[]", b'{"id":"../../x"}')]
        self.assertEqual(self.lines.recording_ids(), {one, other})
        self.lines.delete({one, uuid4()})
        self.assertEqual(self.lines.recording_ids(), {other})
        self.assertTrue(all(path.exists() and path.parent == self.directory for path in unreadable))

    def test_without_a_directory(self) -> None:
        self.assertEqual(self.lines.recording_ids(), set())
        self.lines.delete({uuid4()})
        self.lines.import_former_file()

    def test_file_of_an_earlier_version(self) -> None:
        recording_id = uuid4()
        former = self.directory.with_name("journal.rejected")
        former.write_bytes(b'{"id":"%s"}\nno JSON\n' % str(recording_id).encode())
        self.lines.import_former_file()
        self.assertFalse(former.exists())
        self.assertEqual(self.lines.recording_ids(), {recording_id})
        contents = sorted(path.read_bytes() for path in self.directory.iterdir())
        self.assertEqual(contents, [b"no JSON\n", b'{"id":"%s"}\n' % str(recording_id).encode()])
