"""Tests of voxrec.environment: settings from environment variables."""

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from voxrec import config
from voxrec.config import Config
from voxrec.errors import ConfigError


class OverrideTests(SynchronousTestCase):
    def settings(self, text: str = "", **variables: str) -> Config:
        return config.parse(text, "voxrec.yaml", variables=variables)

    def error(self, text: str = "", **variables: str) -> str:
        return str(self.assertRaises(ConfigError, config.parse, text, "voxrec.yaml", variables=variables))

    def test_a_variable_replaces_the_setting_of_the_file(self) -> None:
        settings = self.settings("rest: {listen: 'tcp:1', public_url: 'http://a'}", VOXREC__REST__LISTEN="tcp:2")
        self.assertEqual((settings.rest.listen, settings.rest.public_url), ("tcp:2", "http://a"))

    def test_a_setting_of_each_type(self) -> None:
        settings = self.settings(
            VOXREC__DATA_DIRECTORY="/srv/voxrec",
            VOXREC__ASTERISK__APP="123",
            VOXREC__ASTERISK__PASSWORD="0x10",
            VOXREC__MAIL__PORT="587",
            VOXREC__MAIL__TLS="starttls",
            VOXREC__CALLS__GRACE="2.5",
            VOXREC__CALLS__ALLOWED_HOSTS="[pbx.example, 192.0.2.0/24]",
            VOXREC__REST__ACCESS_LOG="true",
        )
        self.assertEqual(settings.data_directory, "/srv/voxrec")
        self.assertEqual((settings.asterisk.app, settings.asterisk.password), ("123", "0x10"))
        self.assertEqual((settings.mail.port, settings.mail.tls, settings.calls.grace), (587, "starttls", 2.5))
        self.assertEqual(settings.calls.allowed_hosts, ("pbx.example", "192.0.2.0/24"))
        self.assertIs(settings.rest.access_log, True)

    def test_a_secret_replaces_its_file_and_the_other_way_round(self) -> None:
        Path("secret").write_text("of the file\n")
        for text, variable, expected in (
            ("asterisk: {password: of the settings}", {"VOXREC__ASTERISK__PASSWORD_FILE": "secret"}, "of the file"),
            ("asterisk: {password_file: secret}", {"VOXREC__ASTERISK__PASSWORD": "of the variable"}, "of the variable"),
        ):
            self.assertEqual(self.settings(text, **variable).asterisk.password, expected)
        both = {"VOXREC__ASTERISK__PASSWORD": "a", "VOXREC__ASTERISK__PASSWORD_FILE": "secret"}
        self.assertIn("asterisk.password_file: conflicts with asterisk.password", self.error(**both))

    def test_an_empty_variable_is_ignored(self) -> None:
        settings = self.settings("mail: {port: 26}", VOXREC__MAIL__PORT="", VOXREC__MAIL__HOST="")
        self.assertEqual((settings.mail.port, settings.mail.host), (26, "127.0.0.1"))

    def test_other_variables_are_ignored(self) -> None:
        self.assertEqual(self.settings(VOXREC_PORT="tcp://10.0.0.1:80", VOXREC_ASTERISK="host", PATH="/bin"), Config())

    def test_invalid_variables(self) -> None:
        for variable, value, expected in (
            ("VOXREC__REST__LISTN", "tcp:1", "VOXREC__REST__LISTN: unknown setting; expected one of VOXREC__REST__"),
            ("VOXREC__LISTEN", "tcp:1", "VOXREC__LISTEN: unknown setting; expected VOXREC__SECTION__SETTING"),
            ("VOXREC__REST", "{}", "VOXREC__REST: unknown setting; expected VOXREC__SECTION__SETTING"),
            ("VOXREC__REST__LISTEN__X", "1", "VOXREC__REST__LISTEN__X: unknown setting"),
            ("VOXREC__rest__listen", "tcp:1", "VOXREC__rest__listen: unknown setting"),
            ("VOXREC__MAIL__PORT", "99999", "mail.port: invalid value 99999: Expected int <= 65535"),
            ("VOXREC__MAIL__PORT", "[", "mail.port: invalid value '[': Expected int, got str"),
        ):
            with self.subTest(variable):
                self.assertIn(expected, self.error(**{variable: value}))
        self.assertIn("asterisk: invalid value True", self.error("asterisk: yes", VOXREC__ASTERISK__APP="x"))

    def test_the_variables_of_the_process_apply_to_a_settings_file(self) -> None:
        Path("voxrec.yaml").write_text("mail: {port: 26}\n")
        self.patch(os, "environ", {"VOXREC__MAIL__PORT": "27"})
        self.assertEqual(config.load(Path("voxrec.yaml")).mail.port, 27)
