"""Tests of voxrec.journal.segments, including crashes at any byte: no line is lost, and the order is retained."""

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
from voxrec.journal import segments as module
from voxrec.journal.segments import Line, Segments

# Steps of a journal: append lines; apply some; crash, which cuts off the lines being written; restart without the file
# of the position; save the position.
APPEND = st.tuples(st.just("append"), st.integers(1, 4))
APPLY = st.tuples(st.just("apply"), st.integers(0, 5))
CRASH = st.tuples(st.just("crash"), st.binary(max_size=12).map(lambda partial: partial.replace(b"\n", b"")))
LOSE_POSITION = st.tuples(st.just("lose position"), st.none())
SAVE = st.tuples(st.just("save"), st.none())
ROTATE = st.tuples(st.just("rotate"), st.none())


@contextmanager
def small_segments() -> Iterator[None]:
    with patch.object(module, "_SEGMENT_SIZE", 20):
        yield


class CrashTests(SynchronousTestCase):
    @settings(deadline=None, max_examples=200)
    @given(st.lists(st.one_of(APPEND, APPLY, CRASH, LOSE_POSITION, SAVE, ROTATE), max_size=25))
    def test_no_line_is_lost_in_any_sequence_of_steps(self, steps: list[tuple[str, object]]) -> None:
        directory = Path(self.mktemp())
        with small_segments():
            self.run_steps(steps, directory)
        shutil.rmtree(directory)

    def run_steps(self, steps: list[tuple[str, object]], directory: Path) -> None:
        journal = Segments(directory)
        journal.open()
        lines_written: list[bytes] = []
        applied = saved = 0  # numbers of lines
        for step, argument in steps:
            if step == "append":
                assert isinstance(argument, int)
                new = [b"%d" % (len(lines_written) + n) for n in range(argument)]
                journal.append(b"".join(line + b"\n" for line in new))
                lines_written += new
            elif step == "apply":
                assert isinstance(argument, int)
                lines = journal.read(8)[:argument]
                self.assertEqual([line.text for line in lines], lines_written[applied : applied + len(lines)])
                if lines:
                    journal.mark_applied(lines[-1].end)
                    applied += len(lines)
            elif step == "crash":
                assert isinstance(argument, bytes)
                os.write(journal._descriptor, argument)
                journal.close()  # as the end of a process does
                journal = Segments(directory)
                remaining = journal.open()
                self.assertGreaterEqual(remaining, len(lines_written) - applied)
                self.assertLessEqual(remaining, len(lines_written) - saved)
                applied = len(lines_written) - remaining
            elif step == "rotate":
                journal.rotate()
            elif step == "save":
                journal.save_position()
                saved = applied
            else:
                journal.close()
                (directory / "position").unlink(missing_ok=True)
                journal = Segments(directory)
                remaining = journal.open()
                self.assertGreaterEqual(remaining, len(lines_written) - applied)
                saved = applied = len(lines_written) - remaining
        rest: list[Line] = []
        while lines := journal.read(8):
            rest += lines
            journal.mark_applied(lines[-1].end)
        self.assertEqual([line.text for line in rest], lines_written[applied:])
        journal.close()


class SegmentsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.journal = self.reopen()

    def reopen(self) -> Segments:
        journal = Segments(self.directory)
        journal.open()
        self.addCleanup(journal.close)
        return journal

    def texts(self) -> list[bytes]:
        return [line.text for line in self.journal.read(1000)]

    def test_directory_is_locked(self) -> None:
        with self.assertRaisesRegex(ConfigError, "in use"):
            Segments(self.directory).open()
        self.journal.close()
        self.reopen()

    def test_line_longer_than_the_read_limit(self) -> None:
        self.journal.append(b"x" * 100 + b"\n")
        self.assertEqual([line.text for line in self.journal.read(7)], [b"x" * 100])

    def test_applied_segments_are_deleted(self) -> None:
        with small_segments():
            for _ in range(10):
                self.journal.append(b"x" * 30 + b"\n")
        while lines := self.journal.read(1000):
            self.journal.mark_applied(lines[-1].end)
        self.journal.save_position()
        self.assertEqual(len(list(self.directory.glob("*.jsonl"))), 1)

    def test_unusable_position_file(self) -> None:
        self.journal.append(b"one\n")
        self.journal.mark_applied(self.journal.read(100)[-1].end)
        self.journal.save_position()
        self.journal.close()
        for content in (b"", b"\0\0\0\0", b"1 2 3", b"99 1", b"1 99999"):
            (self.directory / "position").write_bytes(content)
            self.journal = self.reopen()
            self.assertEqual(self.texts(), [b"one"], content)
            self.journal.close()

    def test_failing_disk(self) -> None:
        self.journal.append(b"one\n")

        def write_two_bytes(descriptor: int, data: bytes) -> int:
            if len(data) > 2:
                return write(descriptor, data[:2])
            raise OSError(errno.ENOSPC, "No space remaining on device")

        write = os.write
        for _ in range(2):
            with patch("os.write", write_two_bytes), self.assertRaises(OSError):
                self.journal.append(b"two\n")
        with patch("os.fdatasync", side_effect=OSError(errno.EIO, "Input/output error")), self.assertRaises(OSError):
            self.journal.append(b"three\n")
        self.journal.append(b"two\nthree\n")
        found = []
        while lines := self.journal.read(1000):
            found += [line.text for line in lines]
            self.journal.mark_applied(lines[-1].end)
        self.assertEqual(found, [b"one", b"two", b"three"])

    def apply_all(self) -> list[bytes]:
        found = []
        while lines := self.journal.read(1000):
            found += [line.text for line in lines]
            self.journal.mark_applied(lines[-1].end)
        return found

    def contents(self) -> bytes:
        return b"".join(path.read_bytes() for path in sorted(self.directory.rglob("*")) if path.is_file())

    def test_applied_lines_are_deleted_after_a_rotation(self) -> None:
        self.journal.append(b"one\ntwo\n")
        self.journal.rotate()
        (first, _) = self.journal.read(1000)
        self.journal.mark_applied(first.end)
        self.journal.save_position()
        self.assertIn(b"two", self.contents())
        self.assertEqual(self.apply_all(), [b"two"])
        self.assertNotIn(b"two", self.contents())
        self.journal.append(b"three\n")
        self.assertEqual(self.apply_all(), [b"three"])

    def test_rotation_without_lines(self) -> None:
        files = sorted(self.directory.iterdir())
        self.journal.rotate()
        self.assertEqual(sorted(self.directory.iterdir()), files)

    def test_rotation_on_a_failing_disk(self) -> None:
        self.journal.append(b"one\n")
        with patch("os.fsync", side_effect=OSError(errno.EIO, "Input/output error")), self.assertRaises(OSError):
            self.journal.rotate()
        self.journal.append(b"two\n")
        self.assertEqual(self.apply_all(), [b"one", b"two"])

    def test_applied_lines_are_deleted_at_the_end(self) -> None:
        self.journal.append(b"one\n")
        self.journal.delete_applied()
        self.assertIn(b"one", self.contents())
        self.assertEqual(self.apply_all(), [b"one"])
        self.journal.save_position()
        self.journal.delete_applied()
        self.journal.close()
        self.assertNotIn(b"one", self.contents())
        self.assertEqual(self.journal.open(), 0)
        self.journal.append(b"two\n")
        self.assertEqual(self.apply_all(), [b"two"])


class RetentionTests(SynchronousTestCase):
    """Lines that have been applied are kept for some time, and can be read again."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.now = 0.0
        self.journal = self.open()

    def open(self) -> Segments:
        journal = Segments(self.directory, 300.0, lambda: self.now)
        journal.open()
        return journal

    def apply_all(self) -> list[bytes]:
        texts = []
        while lines := self.journal.read(1000):
            texts += [line.text for line in lines]
            self.journal.mark_applied(lines[-1].end)
            self.journal.save_position()
        return texts

    def write(self, text: bytes) -> None:
        self.journal.append(text + b"\n")
        self.journal.rotate()

    def test_rewind(self) -> None:
        for text in (b"1", b"2", b"3"):
            self.write(text)
        self.assertEqual(self.apply_all(), [b"1", b"2", b"3"])
        self.journal.append(b"4\n")
        self.assertEqual(self.journal.rewind(), 3)
        self.assertEqual(self.apply_all(), [b"1", b"2", b"3", b"4"])

    def test_a_crash_during_a_replay(self) -> None:
        self.write(b"1")
        self.write(b"2")
        self.apply_all()
        self.journal.rewind()
        self.journal.mark_applied(self.journal.read(1)[0].end)
        self.journal.close()
        self.journal = self.open()
        self.assertEqual(self.apply_all(), [b"1", b"2"])

    def test_segments_are_deleted_some_time_after_they_were_applied(self) -> None:
        self.write(b"1")
        self.now = 1000.0  # PostgreSQL was down meanwhile
        self.apply_all()
        self.now += 299
        self.write(b"2")
        self.apply_all()
        self.assertEqual(self.journal.rewind(), 2)
        self.assertEqual(self.apply_all(), [b"1", b"2"])
        self.now += 2
        self.journal.save_position()
        self.assertEqual(self.journal.rewind(), 1)
        self.assertEqual(self.apply_all(), [b"2"])

    def test_a_restart_keeps_them_for_the_whole_time(self) -> None:
        self.write(b"1")
        self.apply_all()
        self.journal.append(b"2\n")
        self.apply_all()
        self.journal.save_position()
        self.journal.delete_applied()
        self.journal.close()
        self.now += 10_000
        self.journal = Segments(self.directory, 300.0, lambda: self.now)
        self.assertEqual(self.journal.open(), 0)
        self.journal.save_position()
        self.assertEqual(self.journal.rewind(), 2)
