"""Tests of voxrec.config: defaults, secrets, and the error of every kind of invalid setting."""

import os
from pathlib import Path
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voxrec import config
from voxrec.config import Config, Secret
from voxrec.errors import ConfigError

REPOSITORY = Path(__file__).parents[1]
_SYSTEMD_SETTINGS = """
data_directory: /srv/voxrec
asterisk: {password_file: '${CREDENTIALS_DIRECTORY}/asterisk'}
rest: {admin_token_file: '${CREDENTIALS_DIRECTORY}/rest', listen: 'systemd:domain=INET:index=0'}
mail: {user: voxrec, tls: starttls, password_file: '${CREDENTIALS_DIRECTORY}/mail'}
"""


class ValidSettingsTests(SynchronousTestCase):
    def test_an_empty_file_has_the_defaults(self) -> None:
        self.assertEqual(config.parse(""), Config())
        self.assertEqual(config.parse("asterisk:\n"), Config())

    def test_the_example_file_contains_the_defaults(self) -> None:
        self.assertEqual(config.load(REPOSITORY / "etc" / "voxrec.yaml"), Config())

    def test_the_example_file_names_every_setting(self) -> None:
        text = (REPOSITORY / "etc" / "voxrec.yaml").read_text()
        for section in Config.__struct_fields__:
            self.assertIn(f"\n{section}:", text)
            for key in getattr(type(getattr(Config(), section)), "__struct_fields__", ()):
                self.assertRegex(text, rf"\n  (# )?{key}:")

    def test_a_secret_from_a_file(self) -> None:
        Path("secret").write_text("hush\n")
        self.assertEqual(config.parse("mail: {user: me, password_file: secret}").mail.password, "hush")

    def test_the_password_of_ami_is_that_of_ari_unless_it_is_set(self) -> None:
        self.assertEqual(config.parse("asterisk: {password: a}").asterisk.ami_secret, "a")
        settings = config.parse("asterisk: {password: a, ami_password: b}").asterisk
        self.assertEqual((settings.password, settings.ami_secret), ("a", "b"))
        self.assertNotIn("b", repr(settings.ami_secret))

    def test_a_secret_from_a_systemd_credential(self) -> None:
        Path("credentials").mkdir()
        Path("credentials/asterisk").write_text("hush")
        self.patch(os, "environ", {"CREDENTIALS_DIRECTORY": "credentials"})
        settings = config.parse("asterisk: {password_file: '${CREDENTIALS_DIRECTORY}/asterisk'}")
        self.assertEqual(settings.asterisk.password, "hush")

    def test_without_the_environment_of_the_unit_its_credentials_are_found(self) -> None:
        Path("unit-credentials").mkdir()
        Path("unit-credentials/asterisk").write_text("hush")
        self.patch(os, "environ", {})
        self.patch(config, "UNIT_CREDENTIALS", Path("unit-credentials"))
        settings = config.parse("asterisk: {password_file: '${CREDENTIALS_DIRECTORY}/asterisk'}")
        self.assertEqual(settings.asterisk.password, "hush")

    def test_a_command_needs_only_the_sections_that_it_uses(self) -> None:
        self.patch(os, "environ", {})
        settings = config.parse(_SYSTEMD_SETTINGS + "database: {dsn: host=db}\n", sections={"database"})
        self.assertEqual((settings.data_directory, settings.database.dsn), ("/srv/voxrec", "host=db"))
        with self.assertRaises(ConfigError):
            config.parse("database: {dns: x}", sections={"database"})

    def test_what_only_the_unit_can_provide_is_listed_and_not_an_error(self) -> None:
        self.patch(os, "environ", {})
        unchecked: list[str] = []
        config.parse(_SYSTEMD_SETTINGS, unchecked=unchecked)
        self.assertEqual(
            [each.partition(":")[0] for each in unchecked],
            ["asterisk.password_file", "rest.admin_token_file", "mail.password_file", "rest.listen"],
        )
        with self.assertRaises(ConfigError) as caught:
            config.parse(_SYSTEMD_SETTINGS)
        self.assertIn("run this command as root while the unit voxrec.service runs", str(caught.exception))

    def test_a_password_may_be_sent_under_tls_or_to_this_machine(self) -> None:
        for host, tls in (
            *(("relay.example", tls) for tls in ("starttls", "implicit")),
            *((host, "none") for host in ("localhost", "127.0.0.1", "::1", "relay.localhost")),
        ):
            settings = config.parse(f"mail: {{user: u, password: p, host: '{host}', tls: {tls}}}")
            self.assertEqual((settings.mail.host, settings.mail.tls), (host, tls))

    def test_an_administrators_token(self) -> None:
        for token in ("", "0123456789abcdef0123", "aZ9-_.~+/=aZ9-_.~+/=aZ9"):
            self.assertEqual(config.parse(f"rest: {{admin_token: '{token}'}}").rest.admin_token, token)

    def test_the_repr_of_a_secret_does_not_reveal_it(self) -> None:
        self.assertNotIn("hush", repr(config.parse("asterisk: {password: hush}")))
        self.assertEqual(repr(Secret("hush")), "'***'")

    def test_the_archive_is_in_the_data_directory_by_default(self) -> None:
        self.assertEqual(config.parse("data_directory: /srv/v").archive_directory, Path("/srv/v/archive"))
        self.assertEqual(config.parse("archive: {directory: /mnt/a}").archive_directory, Path("/mnt/a"))

    def test_connection_strings(self) -> None:
        for dsn in (
            "host=a",
            "postgresql://u:p@a/x?target_session_attrs=read-write",
            "postgresql://u:p@a:5432,b:5433/x?target_session_attrs=read-write",
            "host=a,b port=5433 target_session_attrs=primary",
            "host=a,b port=5432, hostaddr=192.0.2.1,192.0.2.2 target_session_attrs=read-write",
            "host=/run/a,/run/b target_session_attrs=read-write",
            "hostaddr=192.0.2.1,192.0.2.2 target_session_attrs=read-write",
            "dbname=x",
        ):
            with self.subTest(dsn):
                self.assertEqual(config.parse(f"database: {{dsn: '{dsn}'}}").database.dsn, dsn)


class BounceSettingsTests(SynchronousTestCase):
    def test_sockets_that_only_this_machine_can_reach(self) -> None:
        for listen in (
            "unix:/run/b.sock",
            "unix:/run/b.sock:mode=660",
            r"tcp:24:interface=\:\:1",
            "tcp:24:interface=127.0.0.2",
        ):
            with self.subTest(listen):
                text = f"bounces: {{address: bounces@voxrec.example, listen: '{listen}'}}"
                self.assertEqual(config.parse(text).bounces.listen, listen)


class InvalidSettingsTests(SynchronousTestCase):
    ROWS = (
        ("nonsense: 1", "nonsense: unknown field; expected one of archive, asterisk, bounces"),
        ("data_directory: 3", "data_directory: invalid value 3: Expected str, got int"),
        ("asterisk: {pasword: x}", "asterisk.pasword: unknown field; expected one of ami_password,"),
        ("asterisk: {event_queue: 1}", "asterisk.event_queue: invalid value 1: Expected int >= 100"),
        ("asterisk: {url: 'ftp://x'}", "asterisk.url: invalid URL 'ftp://x'; expected http://host:port/path or"),
        ("asterisk: {url: 'http://[x'}", "asterisk.url: invalid URL 'http://[x'"),
        (
            "asterisk: {ami_url: 'http://x'}",
            "asterisk.ami_url: invalid URL 'http://x'; expected tcp://host:port or tls",
        ),
        ("asterisk: {ami_url: 'tcp://x:0'}", "asterisk.ami_url: invalid URL 'tcp://x:0'"),
        ("asterisk: {ami_user: 'a b'}", "asterisk.ami_user: invalid value 'a b': Expected str matching regex"),
        ("asterisk: {endpoint: 'a/b'}", "asterisk.endpoint: invalid value 'a/b': Expected str matching regex"),
        ("asterisk: {password: 5}", "asterisk.password: invalid value: Expected str, got int"),
        ("asterisk: yes", "asterisk: invalid value True; expected a mapping of settings"),
        ("- a", "(top level): invalid value ['a']; expected a mapping of settings"),
        ("database: {dsn: 'foo bar'}", "database.dsn: invalid PostgreSQL connection string"),
        (
            "database: {dsn: 'host=a,b'}",
            "database.dsn: target_session_attrs=any, but voxrec needs the server",
        ),
        ("database: {dsn: 'host=a target_session_attrs=standby'}", "expected target_session_attrs=read-write, or none"),
        ("database: {dsn: 'postgresql://a,b/x?target_session_attrs=prefer-standby'}", "expected target_session_attrs="),
        ("database: {dsn: 'host=a,b,c port=1,2 target_session_attrs=primary'}", "database.dsn: 2 ports, but 3 hosts;"),
        (
            "database: {dsn: 'host=a,b hostaddr=::1 target_session_attrs=primary'}",
            "1 addresses in hostaddr, but 2",
        ),
        ("database: {dsn: 'host=a hostaddr=::1,::2 target_session_attrs=primary'}", "1 hosts in host, but 2 addresses"),
        (
            "database: {dsn: 'host=a port=70000'}",
            "invalid port '70000'; expected a number from 1 to 65535",
        ),
        ("database: {dsn: 'host=a port=x'}", "database.dsn: invalid port 'x'"),
        ("database: {failover_replay: 3601}", "database.failover_replay: invalid value 3601: Expected float <= 3600"),
        ("database: {dsn: x, dsn_file: y}", "database.dsn_file: conflicts with database.dsn; set only one of them"),
        ("rest: {listen: 'tcp:x'}", "rest.listen: invalid value 'tcp:x'; expected a Twisted server endpoint such as"),
        ("rest: {listen: 'udp'}", "rest.listen: invalid value 'udp'; expected a Twisted server endpoint such as"),
        ("rest: {admin_token: x}", "rest.admin_token: has 1 characters; at least 20 are required; generate one"),
        ("rest: {admin_token: aabbccddaabbccddaabbccdd}", "rest.admin_token: has 4 different characters; at least 8"),
        ("rest: {admin_token: 'abcdefgh ijklmnopqrstuvw'}", "rest.admin_token: must consist of visible ASCII"),
        ("rest: {admin_token: 'äbcdefghijklmnopqrstuvw'}", "rest.admin_token: must consist of visible ASCII"),
        ("calls: {ring_timeout: 0}", "calls.ring_timeout: invalid value 0: Expected float > 0.0"),
        ("calls: {ring_timeout: .nan}", "calls.ring_timeout: invalid value nan"),
        ("calls: {allowed_hosts: ['1.2.3']}", "calls.allowed_hosts: invalid entry '1.2.3'; expected a host name"),
        ("calls: {trusted_hosts: ['1.2.3']}", "calls.trusted_hosts: invalid entry '1.2.3'; expected a host name"),
        ("calls: {max_passages: 0}", "calls.max_passages: invalid value 0"),
        ("rest: {trusted_proxies: ['10.0.0.1/8']}", "rest.trusted_proxies: invalid entry '10.0.0.1/8'; expected an IP"),
        ("rest: {trusted_proxies: [proxy.example]}", "rest.trusted_proxies: invalid entry 'proxy.example'"),
        ("calls: {allowed_hosts: a}", "calls.allowed_hosts: invalid value 'a': Expected array, got str"),
        (
            "mail: {tls: maybe}",
            "mail.tls: invalid value 'maybe': Invalid enum value 'maybe'; expected one of implicit, none, starttls",
        ),
        ("mail: {port: 99999}", "mail.port: invalid value 99999: Expected int <= 65535"),
        ("mail: {password: x}", "mail.user: required if mail.password is set"),
        ("mail: {user: x}", "mail.password: required if mail.user is set"),
        *(
            (
                f"mail: {{user: u, password: p, host: '{host}'}}",
                f"mail.tls: invalid value 'none': the password would be sent unencrypted to {host}; expected starttls",
            )
            for host in ("relay.example", "192.0.2.1", "localhost.example", "198.51.100.1", "fe80::1")
        ),
        *(
            (f"mail: {{sender: '{sender}'}}", f"mail.sender: invalid email address '{sender}': it ")
            for sender in ("voxrec", "a..b@x", ".a@x", f"{'x' * 65}@x", "=?utf-8?q?a?=@x", "a@[127.0.0.1]", "a@b c")
        ),
        *(
            (f"bounces: {{address: '{address}'}}", f"bounces.address: invalid email address '{address}': it needs")
            for address in ("bounces+a@x.example", "a-local-part-of-24-octets@x.example", "b\u00fccher@x.example")
        ),
        ("bounces: {listen: 'tcp:24:interface=127.0.0.1'}", "bounces.address: required if bounces.listen is set"),
        *(
            (
                f"bounces: {{address: b@x.example, listen: '{listen}'}}",
                f"bounces.listen: invalid value '{listen}'; expected a socket that only this machine can reach",
            )
            for listen in (
                *(
                    "tcp:2424",
                    "tcp:2424:interface=192.0.2.1",
                    "tcp:2424:interface=0.0.0.0",
                    "tcp:0:interface=127.0.0.1",
                ),
                *("tcp:99999:interface=127.0.0.1", "unix:relative", "ssl:24:interface=127.0.0.1", "x"),
            )
        ),
        ("mail: {password_file: /nowhere}", "mail.password_file: cannot read '/nowhere'"),
        *(
            (f"node: {{name: '{name}'}}", f"node.name: invalid value '{name}'; expected 1 to 64 letters, digits")
            for name in ("a b", "-a", "a.", "a/b", "ä", "x" * 65)
        ),
        ("node: {name: 5}", "node.name: invalid value 5: Expected str, got int"),
        ("a: 1\na: 2", "duplicate key 'a'"),
        ("a: [", "invalid YAML"),
    )

    def test_the_error_names_the_setting_and_what_is_allowed(self) -> None:
        for text, expected in self.ROWS:
            with self.subTest(text):
                error = self.assertRaises(ConfigError, config.parse, text, "voxrec.yaml")
                self.assertIn(expected, str(error))
                self.assertIn("voxrec.yaml", str(error))

    def test_host_name_that_cannot_be_the_name_of_a_node(self) -> None:
        with patch("socket.gethostname", return_value="my host"):
            error = self.assertRaises(ConfigError, config.parse, "")
            self.assertIn("node.name: required, because it cannot be the host name 'my host'; expected", str(error))
            self.assertEqual(config.parse("node: {name: berlin}").node_name, "berlin")

    def test_a_node_has_the_name_of_its_host(self) -> None:
        for name in ("pbx-1.example", "0c1d2e3f4a5b", "my_host"):
            with patch("socket.gethostname", return_value=name):
                self.assertEqual(config.parse("").node_name, name)

    def test_all_invalid_settings_are_reported(self) -> None:
        error = self.assertRaises(ConfigError, config.parse, "x: 1\nmail: {port: 0, tls: 1}\nasterisk: {user: 2}")
        self.assertEqual([error.field for error in error.field_errors], ["x", "asterisk.user", "mail.port", "mail.tls"])

    def test_the_value_of_a_secret_is_not_repeated(self) -> None:
        error = self.assertRaises(ConfigError, config.parse, "mail: {password: [hush]}")
        self.assertNotIn("hush", str(error))

    def test_a_weak_token_is_not_repeated(self) -> None:
        Path("weak").write_text("hush\n")
        for setting in ("admin_token: hush", "admin_token_file: weak"):
            error = self.assertRaises(ConfigError, config.parse, f"rest: {{{setting}}}")
            self.assertIn("rest.admin_token: has 4 characters", str(error))
            self.assertNotIn("hush", str(error))

    def test_an_empty_secret_file(self) -> None:
        Path("empty").write_text("\n")
        error = self.assertRaises(ConfigError, config.parse, "mail: {user: me, password_file: empty}")
        self.assertIn("mail.password_file: 'empty' is empty; expected the secret in its first line", str(error))

    def test_a_missing_file(self) -> None:
        error = self.assertRaises(ConfigError, config.load, Path("nowhere.yaml"))
        self.assertIn("nowhere.yaml: cannot read the file", str(error))

    @given(st.text())
    def test_any_text_is_valid_or_raises_config_error(self, text: str) -> None:
        try:
            config.parse(text)
        except ConfigError as error:
            self.assertTrue(str(error))
