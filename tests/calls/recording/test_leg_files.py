"""Tests of voxrec.calls.recording.leg_files: what the header of a file says about Asterisk."""

import os
import struct
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

from twisted.internet.defer import Deferred, execute
from twisted.trial.unittest import SynchronousTestCase

from voxrec.calls.recording.leg_files import SpoolFiles, is_closed
from voxrec.model import Side, leg_name

RECORDING = UUID("10000000-0000-4000-8000-000000000009")


def wav(riff_size: int, data_size: int, samples: int) -> bytes:
    """Return a file as Asterisk writes it, with these sizes in its header and this number of samples."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16)
    return (
        b"RIFF"
        + struct.pack("<I", riff_size)
        + b"WAVE"
        + form
        + struct.pack("<4sI", b"data", data_size)
        + (b"\1\0" * samples)
    )


class ClosedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def closed(self, content: bytes) -> bool:
        self.path.write_bytes(content)
        return is_closed(self.path)

    def test_header_is_complete_only_when_the_file_was_closed(self) -> None:
        self.assertFalse(self.closed(b""))
        self.assertFalse(self.closed(wav(0, 0, 0)))
        self.assertFalse(self.closed(wav(0, 0, 16_384)))
        self.assertFalse(self.closed(wav(36 + 320, 0, 160)))  # between the two writes of the header
        self.assertTrue(self.closed(wav(36 + 320, 320, 160)))

    def test_closed_file_without_samples(self) -> None:
        self.assertTrue(self.closed(wav(36, 0, 0)))

    def test_file_to_which_another_process_appends(self) -> None:
        self.assertFalse(self.closed(wav(36 + 320, 320, 320)))

    def test_what_is_not_a_file_of_asterisk_does_not_keep_a_call(self) -> None:
        self.assertTrue(is_closed(self.path))
        self.path.symlink_to("nowhere")
        self.assertTrue(is_closed(self.path))

    def test_file_that_cannot_be_read(self) -> None:
        if os.geteuid() == 0:
            self.path.mkdir()
            self.assertTrue(is_closed(self.path))  # a directory is no file
            return
        self.path.write_bytes(wav(36, 0, 0))
        self.path.chmod(0)
        self.assertFalse(is_closed(self.path))


class SpoolTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.spool = Path(self.mktemp())
        self.spool.mkdir()
        self.files = SpoolFiles(self.spool, execute)

    def write(self, side: Side, content: bytes, suffix: str = "wav") -> None:
        (self.spool / f"{leg_name(RECORDING, side)}.{suffix}").write_bytes(content)

    def created(self) -> frozenset[Side]:
        return self.successResultOf(Deferred.fromCoroutine(self.files.created(RECORDING)))

    def closed(self, *expected: Side) -> bool:
        return self.successResultOf(Deferred.fromCoroutine(self.files.closed(RECORDING, expected)))

    def silent(self) -> Mapping[Side, bool]:
        return self.successResultOf(Deferred.fromCoroutine(self.files.silent(RECORDING)))

    def test_created(self) -> None:
        self.assertEqual(self.created(), frozenset())
        self.write(Side.CALLEE, b"", "wav16")
        self.assertEqual(self.created(), {Side.CALLEE})
        self.write(Side.CALLER, b"")
        self.assertEqual(self.created(), set(Side))

    def test_all_files_must_be_closed_and_the_expected_ones_exist(self) -> None:
        self.assertTrue(self.closed())
        self.assertFalse(self.closed(Side.CALLER))
        self.write(Side.CALLER, wav(36, 0, 0))
        self.assertTrue(self.closed(Side.CALLER))
        self.write(Side.CALLEE, wav(0, 0, 0))
        self.assertFalse(self.closed(Side.CALLER))

    def test_sides_that_end_with_a_second_of_zeros(self) -> None:
        speech, silence = b"\1\0" * 8000, b"\0\0" * 8000
        header = wav(0, 0, 0)
        for content, expected in (
            (silence, True),
            (speech + silence, True),
            (silence + speech, False),
            (silence[:-1] + b"\1", False),
            (silence[2:], False),  # too short
            (speech + silence[2:], False),
        ):
            self.write(Side.CALLER, header + content)
            self.assertEqual(self.silent(), {Side.CALLER: expected})
        self.write(Side.CALLEE, header + silence, "wav16")
        self.assertEqual(self.silent(), {Side.CALLER: False, Side.CALLEE: True})

    def test_missing_directory(self) -> None:
        self.spool.rmdir()
        self.assertEqual((self.created(), self.closed()), (frozenset(), True))
