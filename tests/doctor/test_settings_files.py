"""Tests of voxrec.doctor.settings_files."""

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.temporary import temporary_directory
from voxrec.config import Config, parse
from voxrec.doctor import settings_files
from voxrec.doctor.accounts import Account
from voxrec.doctor.finding import Finding, Status

VOXREC = Account("voxrec", 64124, 64124, ())


class SettingsFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        if os.geteuid() != 0:
            self.skipTest("only root can act as another account")
        self.patch(settings_files, "voxrec_account", lambda _: VOXREC)
        self.directory = temporary_directory("settings")
        self.directory.chmod(0o755)
        self.file = self.write("voxrec.yaml", 0o640)

    def write(self, name: str, mode: int) -> Path:
        """Write a file that belongs to root and to the group of the daemon."""
        file = self.directory / name
        file.write_text("secret-of-this-test-01234")
        os.chown(file, 0, VOXREC.gid)
        file.chmod(mode)
        return file

    def check(self, config: Config | None = None) -> list[Finding]:
        return [*settings_files.check_settings_files(config or Config(), self.file)]

    def assert_found(self, status: Status, detail: str, remedy: str, config: Config | None = None) -> None:
        (finding,) = self.check(config)
        self.assertIs(finding.status, status, finding)
        self.assertIn(detail, finding.detail)
        self.assertIn(remedy, finding.remedy)

    def test_files_as_the_readme_creates_them(self) -> None:
        secret = self.write("secret", 0o640)
        (finding,) = self.check(parse(f"asterisk: {{password_file: {secret}}}"))
        self.assertIs(finding.status, Status.OK, finding)
        self.assertIn(f"{secret}, {self.file}", finding.detail)

    def test_a_settings_file_of_root_alone(self) -> None:
        self.file.chmod(0o600)
        self.assert_found(Status.FAILED, f"voxrec may not read {self.file} (root:", f"chmod 0640 {self.file}")

    def test_a_directory_of_root_alone(self) -> None:
        self.directory.chmod(0o700)
        self.assert_found(Status.FAILED, f"voxrec may not enter {self.directory}", f"chmod g+x {self.directory}")

    def test_secrets_and_keys_of_root_alone(self) -> None:
        secret = self.write("secret", 0o600)
        for settings in (
            f"mail: {{user: me, tls: starttls, password_file: {secret}}}",
            f"s3: {{access_key: a, secret_key_file: {secret}}}",
        ):
            self.assert_found(Status.FAILED, f"voxrec may not read {secret}", "chgrp voxrec", parse(settings))
        config = parse(f"mail: {{signing_certificate: {self.file}, signing_key: {secret}}}")
        self.assert_found(Status.FAILED, f"voxrec may not read {secret}", "chgrp voxrec", config)

    def test_a_certificate_that_does_not_exist(self) -> None:
        config = parse("webhooks: {ca_file: /nowhere.pem}")
        self.assert_found(Status.FAILED, "/nowhere.pem does not exist", "correct the setting", config)

    def test_secrets_that_everyone_can_read(self) -> None:
        self.file.chmod(0o644)
        config = parse("rest: {admin_token: token-of-the-administrator}")
        self.assert_found(Status.WARNING, "every user of this machine can read", f"chmod 0640 {self.file}", config)
        self.directory.chmod(0o750)
        os.chown(self.directory, 0, VOXREC.gid)
        self.assertIs(self.check(config)[0].status, Status.OK)

    def test_a_file_without_secrets_may_be_readable(self) -> None:
        self.file.chmod(0o644)
        self.assertIs(self.check()[0].status, Status.OK)
