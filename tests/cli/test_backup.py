"""Tests of ``voxrec restore`` where there is no data directory; tests.backup has those of backups."""

from pathlib import Path

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from voxrec.cli.main import main


class RestoreTests(SynchronousTestCase):
    def test_a_data_directory_that_cannot_be_created(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        settings = directory / "voxrec.yaml"
        settings.write_text("data_directory: /proc/voxrec\n")
        result = CliRunner().invoke(main, ["restore", "--config", str(settings), str(directory)])
        self.assertEqual(result.exit_code, 1)
        self.assertIn("Error: /proc/voxrec cannot be created: ", result.stderr)
        self.assertIn("install -d -o voxrec -g voxrec -m 0755 /proc/voxrec", result.stderr)
