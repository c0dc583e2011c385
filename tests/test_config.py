"""Every way in which a configuration can be wrong says where, what and what would be right."""

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voxrec import config
from voxrec.config import Config, Secret
from voxrec.errors import ConfigError

REPOSITORY = Path(__file__).parents[1]


class GoodTests(SynchronousTestCase):
    def test_nothing_at_all_is_the_defaults(self) -> None:
        self.assertEqual(config.parse(""), Config())
        self.assertEqual(config.parse("asterisk:\n"), Config())

    def test_the_documented_file_shows_the_defaults(self) -> None:
        self.assertEqual(config.load(REPOSITORY / "etc" / "voxrec.yaml"), Config())

    def test_the_documented_file_names_every_setting(self) -> None:
        text = (REPOSITORY / "etc" / "voxrec.yaml").read_text()
        for section in Config.__struct_fields__:
            self.assertIn(f"\n{section}:", text)
            for key in getattr(type(getattr(Config(), section)), "__struct_fields__", ()):
                self.assertRegex(text, rf"\n  (# )?{key}:")

    def test_a_secret_comes_from_a_file(self) -> None:
        Path("secret").write_text("hush\n")
        self.assertEqual(config.parse("mail: {user: me, password_file: secret}").mail.password, "hush")

    def test_a_secret_comes_from_systemd(self) -> None:
        Path("credentials").mkdir()
        Path("credentials/asterisk").write_text("hush")
        self.patch(os, "environ", {"CREDENTIALS_DIRECTORY": "credentials"})
        settings = config.parse("asterisk: {password_file: '${CREDENTIALS_DIRECTORY}/asterisk'}")
        self.assertEqual(settings.asterisk.password, "hush")

    def test_a_secret_shows_itself_to_nobody(self) -> None:
        self.assertNotIn("hush", repr(config.parse("asterisk: {password: hush}")))
        self.assertEqual(repr(Secret("hush")), "'***'")

    def test_the_archive_is_below_the_data_directory(self) -> None:
        self.assertEqual(config.parse("data_directory: /srv/v").archive_directory, Path("/srv/v/archive"))
        self.assertEqual(config.parse("archive: {directory: /mnt/a}").archive_directory, Path("/mnt/a"))


class BadTests(SynchronousTestCase):
    ROWS = (
        ("nonsense: 1", "nonsense: is not known; known here: archive, asterisk, calls"),
        ("data_directory: 3", "data_directory: 3 does not fit: Expected str, got int"),
        ("asterisk: {pasword: x}", "asterisk.pasword: is not known; known here: app,"),
        ("asterisk: {event_queue: 1}", "asterisk.event_queue: 1 does not fit: Expected int >= 100"),
        ("asterisk: {url: 'ftp://x'}", "asterisk.url: 'ftp://x' does not fit: a URL such as"),
        ("asterisk: {url: 'http://[x'}", "asterisk.url: 'http://[x' does not fit"),
        ("asterisk: {endpoint: 'a/b'}", "asterisk.endpoint: 'a/b' does not fit: Expected str matching regex"),
        ("asterisk: {password: 5}", "asterisk.password: the value does not fit: Expected str, got int"),
        ("asterisk: yes", "asterisk: True does not fit: settings by name are expected"),
        ("- a", "(top): ['a'] does not fit: settings by name are expected"),
        ("database: {dsn: 'foo bar'}", "database.dsn: is not a PostgreSQL connection string"),
        ("database: {dsn: x, dsn_file: y}", "database.dsn_file: stands beside database.dsn; one of the two is allowed"),
        ("rest: {listen: 'tcp:x'}", "rest.listen: 'tcp:x' does not fit: a Twisted server endpoint such as"),
        ("rest: {listen: 'udp'}", "rest.listen: 'udp' does not fit: a Twisted server endpoint such as"),
        ("calls: {ring_timeout: 0}", "calls.ring_timeout: 0 does not fit: Expected float > 0.0"),
        ("calls: {ring_timeout: .nan}", "calls.ring_timeout: nan does not fit"),
        ("calls: {allowed_hosts: ['1.2.3']}", "calls.allowed_hosts: '1.2.3' does not fit: a host name"),
        ("calls: {allowed_hosts: a}", "calls.allowed_hosts: 'a' does not fit: Expected array, got str"),
        (
            "mail: {tls: maybe}",
            "mail.tls: 'maybe' does not fit: Invalid enum value 'maybe'; allowed: implicit, none, starttls",
        ),
        ("mail: {port: 99999}", "mail.port: 99999 does not fit: Expected int <= 65535"),
        ("mail: {password: x}", "mail.user: '' does not fit: a password is given, so a user is expected"),
        ("mail: {password_file: /nowhere}", "mail.password_file: '/nowhere' cannot be read"),
        ("a: 1\na: 2", "the key 'a' stands twice"),
        ("a: [", "is not YAML"),
    )

    def test_each_is_told(self) -> None:
        for text, expected in self.ROWS:
            with self.subTest(text):
                error = self.assertRaises(ConfigError, config.parse, text, "voxrec.yaml")
                self.assertIn(expected, str(error))
                self.assertIn("voxrec.yaml", str(error))

    def test_all_are_told_at_once(self) -> None:
        error = self.assertRaises(ConfigError, config.parse, "x: 1\nmail: {port: 0, tls: 1}\nasterisk: {user: 2}")
        self.assertEqual([fault.field for fault in error.field_errors], ["x", "asterisk.user", "mail.port", "mail.tls"])

    def test_a_wrong_secret_is_not_repeated(self) -> None:
        error = self.assertRaises(ConfigError, config.parse, "mail: {password: [hush]}")
        self.assertNotIn("hush", str(error))

    def test_a_file_that_is_not_there(self) -> None:
        error = self.assertRaises(ConfigError, config.load, Path("nowhere.yaml"))
        self.assertIn("nowhere.yaml: cannot be read", str(error))

    @given(st.text())
    def test_no_text_does_anything_but_fit_or_raise(self, text: str) -> None:
        try:
            config.parse(text)
        except ConfigError as error:
            self.assertTrue(str(error))
