"""Tests of ``voxrec check-config`` and of the command itself."""

from importlib import metadata
from pathlib import Path

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from voxrec.cli.main import main


class MainTests(SynchronousTestCase):
    def run_command(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, arguments)

    def check_config(self, text: str) -> Result:
        self.file = Path(self.mktemp())
        self.file.write_text(text)
        return self.run_command("check-config", str(self.file))

    def test_valid_settings(self) -> None:
        result = self.check_config("mail: {port: 2525}")
        self.assertEqual((result.exit_code, result.stdout), (0, f"{self.file}: valid\n"))

    def test_invalid_settings_are_all_reported(self) -> None:
        result = self.check_config("mail: {port: 0}\nx: 1\n")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("2 invalid settings\n  x: unknown field; expected one of", result.stderr)
        self.assertIn("\n  mail.port: invalid value 0: Expected int >= 1", result.stderr)

    def test_a_missing_file(self) -> None:
        result = self.run_command("check-config", "nowhere.yaml")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("nowhere.yaml: cannot read the file", result.stderr)

    def test_version(self) -> None:
        self.assertIn(metadata.version("voxrec"), self.run_command("--version").stdout)

    def test_every_command_has_help(self) -> None:
        output = self.run_command("--help").stdout
        for command in ("backup", "check-config", "jobs", "restore", "token"):
            self.assertIn(command, output)
            self.assertEqual(self.run_command(command, "--help").exit_code, 0)
