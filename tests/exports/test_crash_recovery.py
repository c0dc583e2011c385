"""Exports after a kill -9 of the daemon at each step: one complete file, and nothing else."""

import hashlib
import zipfile

from twisted.internet.task import deferLater

from tests.crashing_process import run_until_crash
from tests.database import reactor
from tests.exports.crashing_exporter import CRASH_POINTS, LONG_LEASE, make_worker
from tests.exports.test_exporter import ExporterTestCase
from voxrec.model import ExportState


class CrashRecoveryTests(ExporterTestCase):
    timeout = 180

    async def test_a_daemon_that_is_killed(self) -> None:
        recording = await self.add(b"whole" * 1000)
        for step in CRASH_POINTS:
            export = await self.create()
            await run_until_crash("tests.exports.crashing_exporter", step, self.dsn, str(self.base / "archive"))
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
