"""Tests of voxrec.journal.call_events."""

import stat
from pathlib import Path

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from voxrec.journal.call_events import CallEventFile


class CallEventFileTests(TestCase):
    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.path = directory / "call-events.jsonl"
        self.file = CallEventFile(self.path, deferToThread)

    async def test_lines_are_appended_loaded_and_cleared(self) -> None:
        self.assertEqual(self.file.load(), [])
        await self.file.append([b'{"a":1}', b'{"b":2}'])
        await self.file.append([b'{"c":3}'])
        self.assertEqual(self.file.load(), [b'{"a":1}', b'{"b":2}', b'{"c":3}'])
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        await self.file.clear()
        await self.file.clear()
        self.assertEqual(self.file.load(), [])

    async def test_an_incomplete_last_line_is_ignored(self) -> None:
        await self.file.append([b'{"a":1}'])
        with self.path.open("ab") as file:
            file.write(b'{"b"')
        self.assertEqual(self.file.load(), [b'{"a":1}'])

    async def test_errors_are_raised(self) -> None:
        file = CallEventFile(self.path / "below-a-missing-directory", deferToThread)
        with self.assertRaises(OSError):
            await file.append([b"{}"])
