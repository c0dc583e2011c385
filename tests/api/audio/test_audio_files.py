"""Tests of voxrec.api.audio.audio_files: streaming a section of an open file."""

import os
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from voxrec.api.audio.audio_files import AudioDamaged, FileSection

CONTENT = bytes(range(256)) * 2000


class FileSectionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.write_bytes(CONTENT)
        self.thread_calls = 0

    async def run_at_once(self, function: Any, *args: Any) -> Any:
        self.thread_calls += 1
        return function(*args)

    def open(self, start: int, length: int) -> FileSection:
        return FileSection(os.open(self.path, os.O_RDONLY), start, length, self.run_at_once)

    def read(self, section: FileSection) -> Deferred[bytes]:
        async def read() -> bytes:
            try:
                return b"".join([block async for block in section])
            finally:
                await section.aclose()

        return Deferred.fromCoroutine(read())

    def test_section(self) -> None:
        for start, length in ((0, len(CONTENT)), (100, 200_000), (5, 0)):
            content = self.successResultOf(self.read(self.open(start, length)))
            self.assertTrue(content == CONTENT[start : start + length])

    def test_blocks_that_are_not_cached_are_read_in_a_thread(self) -> None:
        with mock.patch("os.preadv", side_effect=BlockingIOError):
            self.assertTrue(self.successResultOf(self.read(self.open(0, 200_000))) == CONTENT[:200_000])
        self.assertEqual(self.thread_calls, 2)

    def test_truncated_file(self) -> None:
        self.failureResultOf(self.read(self.open(0, len(CONTENT) + 1)), AudioDamaged)
