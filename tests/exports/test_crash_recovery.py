"""Exports after a kill -9 of the daemon at each step: one complete file, and nothing else."""

import hashlib
import os
import signal
import sys
import zipfile
from pathlib import Path

from twisted.internet.task import deferLater

from tests.database import reactor
from tests.exports.crashing_exporter import CRASH_POINTS, LONG_LEASE, make_worker
from tests.exports.test_exporter import ExporterTestCase
from tests.recordings.test_crash_recovery import CrashingProcess
from voxrec.model import ExportState


class CrashRecoveryTests(ExporterTestCase):
    timeout = 180

    async def run_until_crash(self, step: str) -> None:
        process = CrashingProcess()
        archive = str(self.base / "archive")
        command = [sys.executable, "-m", "tests.exports.crashing_exporter", step, self.dsn, archive]
        variables = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        reactor.spawnProcess(process, sys.executable, command, variables)  # type: ignore[attr-defined]
        status = await process.ended.addTimeout(60, reactor)
        self.assertEqual(status, signal.SIGKILL, process.output.decode())

    async def test_a_daemon_that_is_killed(self) -> None:
        recording = await self.add(b"whole" * 1000)
        for step in CRASH_POINTS:
            export = await self.create()
            await self.run_until_crash(step)
            worker = make_worker(self.pool, self.base / "archive", LONG_LEASE)
            worker.startService()
            try:
                while (done := await self.exports.get(export.id)).state is not ExportState.COMPLETED:
                    await deferLater(reactor, 0.05)
                    worker.wake()
            finally:
                await worker.stopService()
            self.assertEqual(self.names(), [f"{export.id}.zip"], step)
            content = self.directory.file_of(done).read_bytes()
            self.assertEqual((len(content), hashlib.sha256(content).hexdigest()), (done.size, done.sha256), step)
            with zipfile.ZipFile(self.directory.file_of(done)) as archive:
                self.assertIsNone(archive.testzip())
                self.assertEqual(archive.read(f"audio/2026-05-04/{recording.id}.wav"), b"whole" * 1000)
            self.directory.delete(export.id)
