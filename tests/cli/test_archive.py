"""Tests of ``voxrec archive migrate`` and of the checks of S3 by ``voxrec doctor``, with real servers."""

from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg2
import yaml
from click.testing import CliRunner, Result

from tests import s3_server
from tests.recordings.test_upload import AUDIO, UploadTestCase
from voxrec import config
from voxrec.cli import archive
from voxrec.cli.main import main
from voxrec.doctor.finding import Finding, Status
from voxrec.doctor.s3 import check_s3
from voxrec.sandbox.seaweedfs import ACCESS_KEY, SECRET_KEY


class ArchiveTestCase(UploadTestCase):
    def config_file(self, **s3: Any) -> Path:
        settings = {
            "database": {"dsn": self.dsn},
            "archive": {"directory": str(self.root.absolute())},
            "s3": {
                "bucket": self.bucket,
                "prefix": "calls/",
                "endpoint": s3_server.server().endpoint,
                "addressing": "path",
                "access_key": ACCESS_KEY,
                "secret_key": SECRET_KEY,
                **s3,
            },
        }
        file = Path(self.mktemp())
        file.write_text(yaml.safe_dump(settings))
        return file

    def migrate(self, *arguments: str, **s3: Any) -> Result:
        return CliRunner().invoke(main, ["archive", "migrate", *arguments, "--config", str(self.config_file(**s3))])


class MigrateTests(ArchiveTestCase):
    async def test_to_s3_and_back(self) -> None:
        completed = await self.complete()
        await self.pool.execute("DELETE FROM jobs")
        result = self.migrate("--to", "s3", "--no-wait")
        self.assertEqual((result.exit_code, result.output.split(" recordings")[0]), (0, "1"), result.output)
        await self.run_next()
        self.assertEqual(self.files(), [])
        self.assertIn("all recordings are in S3", self.migrate("--to", "s3").output)

        refused = self.migrate("--to", "local")
        self.assertEqual(refused.exit_code, 1)
        self.assertIn("set s3.uploads to false before", refused.output)
        result = self.migrate("--to", "local", uploads=False)
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertIn("1 of 1 recordings", result.output)
        self.assertEqual((self.root / (completed.path or "")).read_bytes(), AUDIO)
        self.assertEqual(s3_server.keys(self.bucket), [])
        rows = await self.pool.query("SELECT path FROM audit WHERE kind = 'archive'")
        self.assertEqual(len(rows), 2)

    async def test_waiting_ends_if_a_recording_cannot_be_uploaded(self) -> None:
        await self.complete()

        def give_up(_seconds: float) -> None:
            with closing(psycopg2.connect(self.dsn)) as connection, connection, connection.cursor() as cursor:
                cursor.execute("UPDATE jobs SET dead = TRUE, last_error = 'damaged' WHERE kind = 'upload'")

        self.patch(archive, "time", SimpleNamespace(sleep=give_up))
        result = self.migrate("--to", "s3")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("1 recordings cannot be uploaded: damaged", result.output)

    def test_without_s3(self) -> None:
        result = self.migrate("--to", "s3", bucket="")
        self.assertEqual((result.exit_code, result.output), (1, "Error: s3.bucket is not set\n"))


class DoctorTests(ArchiveTestCase):
    def findings(self, **s3: Any) -> dict[str, Finding]:
        return {finding.check: finding for finding in check_s3(config.load(self.config_file(**s3)))}

    async def test_working_store(self) -> None:
        await self.complete()
        found = self.findings()
        self.assertEqual({name: finding.status for name, finding in found.items()}, dict.fromkeys(found, Status.OK))
        self.assertIn("0 recordings are in S3, and 1 wait", found["S3 uploads"].detail)
        self.assertEqual(s3_server.versions(self.bucket), [])

    async def test_wrong_secret_key(self) -> None:
        found = self.findings(secret_key="wrong")
        self.assertEqual(found["S3"].status, Status.FAILED)
        self.assertIn("the secret key is wrong", found["S3"].detail)

    async def test_object_lock(self) -> None:
        found = self.findings(object_lock="hold")
        self.assertEqual(found["S3 Object Lock"].status, Status.FAILED)
        self.bucket = s3_server.new_bucket(object_lock=True)
        self.assertEqual(self.findings(object_lock="hold")["S3 Object Lock"].status, Status.OK)

    async def test_old_backlog(self) -> None:
        await self.complete()
        await self.pool.execute("UPDATE jobs SET created_at = now() - interval '2 hours', last_error = 'refused'")
        found = self.findings()["S3 uploads"]
        self.assertEqual(found.status, Status.WARNING)
        self.assertIn("1 wait, the oldest for 2.0 h: refused", found.detail)

    async def test_bucket_was_removed_from_the_settings(self) -> None:
        await self.complete()
        self.assertEqual(self.findings(bucket="")["S3"].status, Status.SKIPPED)
        await self.run_next()
        self.assertEqual(self.findings(bucket="")["S3"].status, Status.FAILED)
