"""The files of the journal, through crashes at any byte: no line is left out, and the order stays."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voxrec.errors import ConfigError
from voxrec.journal import segments as room
from voxrec.journal.segments import Line, Segments

# What happens to a journal: lines are appended together; some are applied; the process dies, and what it was about to
# write is cut off after some bytes; and the file with the position is as old as it can be, or lost.
APPEND = st.tuples(st.just("append"), st.integers(1, 4))
APPLY = st.tuples(st.just("apply"), st.integers(0, 5))
CRASH = st.tuples(st.just("crash"), st.binary(max_size=12).map(lambda torn: torn.replace(b"\n", b"")))
FORGET = st.tuples(st.just("forget"), st.none())
SAVE = st.tuples(st.just("save"), st.none())


@contextmanager
def small_segments() -> Iterator[None]:
    with patch.object(room, "_SEGMENT_SIZE", 20):
        yield


class Crashing(SynchronousTestCase):
    @settings(deadline=None, max_examples=200)
    @given(st.lists(st.one_of(APPEND, APPLY, CRASH, FORGET, SAVE), max_size=25))
    def test_nothing_is_left_out(self, story: list[tuple[str, object]]) -> None:
        directory = Path(self.mktemp())
        with small_segments():
            self.live_through(story, directory)
        shutil.rmtree(directory)

    def live_through(self, story: list[tuple[str, object]], directory: Path) -> None:
        journal = Segments(directory)
        journal.open()
        kept: list[bytes] = []
        applied = saved = 0  # how many of kept
        for what, detail in story:
            if what == "append":
                assert isinstance(detail, int)
                new = [b"%d" % (len(kept) + n) for n in range(detail)]
                journal.append(b"".join(line + b"\n" for line in new))
                kept += new
            elif what == "apply":
                assert isinstance(detail, int)
                lines = journal.read(8)[:detail]
                self.assertEqual([line.text for line in lines], kept[applied : applied + len(lines)])
                if lines:
                    journal.mark_applied(lines[-1].end)
                    applied += len(lines)
            elif what == "crash":
                assert isinstance(detail, bytes)
                os.write(journal._descriptor, detail)
                journal.close()  # what a dead process does too
                journal = Segments(directory)
                left = journal.open()
                self.assertGreaterEqual(left, len(kept) - applied)
                self.assertLessEqual(left, len(kept) - saved)
                applied = len(kept) - left
            elif what == "save":
                journal.save_position()
                saved = applied
            else:
                journal.close()
                (directory / "position").unlink(missing_ok=True)
                journal = Segments(directory)
                left = journal.open()
                self.assertGreaterEqual(left, len(kept) - applied)
                saved = applied = len(kept) - left
        rest: list[Line] = []
        while lines := journal.read(8):
            rest += lines
            journal.mark_applied(lines[-1].end)
        self.assertEqual([line.text for line in rest], kept[applied:])
        journal.close()


class Files(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.journal = self.reopened()

    def reopened(self) -> Segments:
        journal = Segments(self.directory)
        self.left = journal.open()
        self.addCleanup(journal.close)
        return journal

    def texts(self) -> list[bytes]:
        return [line.text for line in self.journal.read(1000)]

    def test_only_one_at_a_time(self) -> None:
        with self.assertRaisesRegex(ConfigError, "in use"):
            Segments(self.directory).open()
        self.journal.close()
        self.reopened()

    def test_a_line_longer_than_what_is_read_at_a_time(self) -> None:
        self.journal.append(b"x" * 100 + b"\n")
        self.assertEqual([line.text for line in self.journal.read(7)], [b"x" * 100])

    def test_what_was_applied_is_removed_from_the_disk(self) -> None:
        with small_segments():
            for _ in range(10):
                self.journal.append(b"x" * 30 + b"\n")
        while lines := self.journal.read(1000):
            self.journal.mark_applied(lines[-1].end)
        self.journal.save_position()
        self.assertEqual(len(list(self.directory.glob("*.jsonl"))), 1)

    def test_a_position_that_cannot_be_read(self) -> None:
        self.journal.append(b"one\n")
        self.journal.mark_applied(self.journal.read(100)[-1].end)
        self.journal.save_position()
        self.journal.close()
        for damage in (b"", b"\0\0\0\0", b"1 2 3", b"99 1", b"1 99999"):
            (self.directory / "position").write_bytes(damage)
            self.journal = self.reopened()
            self.assertEqual(self.texts(), [b"one"], damage)
            self.journal.close()

    def test_a_disk_that_fails(self) -> None:
        self.journal.append(b"one\n")

        def half(descriptor: int, data: bytes) -> int:
            if len(data) > 2:
                return real(descriptor, data[:2])
            raise OSError(errno.ENOSPC, "No space left on device")

        real = os.write
        for _ in range(2):
            with patch("os.write", half), self.assertRaises(OSError):
                self.journal.append(b"two\n")
        with patch("os.fdatasync", side_effect=OSError(errno.EIO, "Input/output error")), self.assertRaises(OSError):
            self.journal.append(b"three\n")
        self.journal.append(b"two\nthree\n")
        found = []
        while lines := self.journal.read(1000):
            found += [line.text for line in lines]
            self.journal.mark_applied(lines[-1].end)
        self.assertEqual(found, [b"one", b"two", b"three"])

    def test_setting_aside(self) -> None:
        self.assertEqual(self.journal.reject(b"bad").read_bytes(), b"bad\n")
        self.journal.reject(b"worse")
        self.assertEqual((self.directory / "journal.rejected").read_bytes(), b"bad\nworse\n")
