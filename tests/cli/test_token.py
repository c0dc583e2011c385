"""``voxrec token``, with the daemon's own PostgreSQL and with a configured one."""

import json
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import psycopg2
from click.testing import CliRunner, Result
from psycopg2.extensions import parse_dsn
from psycopg2.sql import SQL, Identifier
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.database import administer, cluster
from tests.subtest import subtest
from voxrec.cli.main import main
from voxrec.model import Role
from voxrec.postgres.blocking_database import blocking_transaction, run_to_completion
from voxrec.postgres.embedded import dsn_of_running_server
from voxrec.postgres.migrate import migrate
from voxrec.store.tokens import SECRET_PREFIX, Tokens, hash_secret

OWN: Final = Identifier("voxrec")  # what the embedded PostgreSQL calls its database
PROFILE: Final = "11111111-1111-4111-8111-111111111111"


class CommandTestCase(SynchronousTestCase):
    """A daemon's data directory and its database, and the commands of one ``group`` on them."""

    group: str

    def setUp(self) -> None:
        administer(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(OWN))
        administer(SQL("CREATE DATABASE {}").format(OWN))
        self.dsn = cluster().dsn()
        migrate(self.dsn)
        self.data = Path(self.mktemp()).absolute()
        self.data.mkdir()
        # as the daemon has it: the server's files below the data directory
        (self.data / "postgres").symlink_to(Path(parse_dsn(self.dsn)["host"]).parent)
        self.settings = self.configured({"data_directory": str(self.data)})

    def configured(self, settings: Mapping[str, object]) -> Path:
        file = Path(self.mktemp()).absolute()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings))  # which is YAML, too
        return file

    def voxrec(self, *arguments: str, config: Path | None = None) -> Result:
        return CliRunner().invoke(main, [self.group, *arguments, "--config", str(config or self.settings)])

    def ask(self, sql: str) -> list[tuple[object, ...]]:
        with closing(psycopg2.connect(self.dsn)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else []


class TokenCommands(CommandTestCase):
    group = "token"

    def add_profile(self) -> None:
        self.ask(
            "INSERT INTO profiles SELECT (jsonb_populate_record(NULL::profiles, "
            f'\'{{"id": "{PROFILE}", "record": true, "record_format": "wav", "record_channels": "mono", '
            '"record_beep_at_start": true, "record_beep_interval": 0, "record_beep_in_recording": false, '
            '"record_prompt": "none", "record_prompt_required": false, "min_duration_seconds": 0, "metadata": {}, '
            '"created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"}\')).*'
        )

    def made(self, *arguments: str) -> str:
        result = self.voxrec("create", *arguments)
        self.assertEqual(result.exit_code, 0, result.output)
        return result.stdout.strip()

    def test_what_is_made_is_good(self) -> None:
        self.add_profile()
        secret = self.made("--name", "crm", "--role", "read", "--profile", PROFILE, "--expires", "2099-12-31")
        self.assertTrue(secret.startswith(SECRET_PREFIX))
        with blocking_transaction(self.dsn) as database:
            token = run_to_completion(Tokens(database).find(hash_secret(secret)))
        assert token is not None
        self.assertEqual((token.name, token.role, token.profile_ids), ("crm", Role.READ, (UUID(PROFILE),)))
        self.assertEqual(token.expires_at, datetime(2099, 12, 31, tzinfo=UTC))

    def test_listed_and_revoked(self) -> None:
        secret = self.made("--name", "crm", "--role", "provision")
        [(token_id,)] = self.ask("SELECT id::text FROM tokens")
        listed = self.voxrec("list").stdout
        self.assertNotIn(secret, listed)
        self.assertEqual(listed.splitlines()[1].split(), [token_id, "good", "provision", "all", "never", "crm"])
        revoked = self.voxrec("revoke", str(token_id))
        self.assertEqual((revoked.exit_code, revoked.stdout), (0, f"token {token_id} (crm) is revoked\n"))
        self.assertIn(" revoked ", self.voxrec("list").stdout)
        again = self.voxrec("revoke", str(token_id))
        self.assertEqual((again.exit_code, again.stderr), (1, f"Error: There is no token {token_id}.\n"))

    def test_both_are_in_the_audit(self) -> None:
        self.made("--name", "crm", "--role", "read")
        [(token_id,)] = self.ask("SELECT id::text FROM tokens")
        self.voxrec("revoke", str(token_id))
        self.voxrec("revoke", str(token_id))  # refused, and so is its entry
        self.assertEqual(
            self.ask("SELECT method, path, kind, target_id::text, outcome FROM audit ORDER BY created_at"),
            [
                ("COMMAND", "voxrec token create", "token", token_id, "done"),
                ("COMMAND", "voxrec token revoke", "token", token_id, "done"),
            ],
        )

    def test_nonsense(self) -> None:
        for arguments, told in (
            (("--name", "", "--role", "read"), "name:"),
            (("--name", "a\nb", "--role", "read"), "name:"),
            (("--name", "a", "--role", "root"), "'--role'"),
            (("--name", "a", "--role", "read", "--expires", "2020-01-01"), "expiresAt: is not in the future"),
            (("--name", "a", "--role", "read", "--expires", "2099-01-01T10:00"), "'--expires'"),
            (("--name", "a", "--role", "read", "--expires", "soon"), "'--expires'"),
            (("--name", "a", "--role", "read", "--profile", "x"), "'--profile'"),
            (("--name", "a", "--role", "read", "--profile", PROFILE), f"profileIds: there is no profile {PROFILE}"),
            (
                ("--name", "a", "--role", "admin", "--profile", str(uuid4())),
                "profileIds: not allowed for the role admin",
            ),
        ):
            with subtest(arguments):
                result = self.voxrec("create", *arguments)
                self.assertNotEqual(result.exit_code, 0)
                self.assertIn(told, result.stderr)
                self.assertEqual(result.stdout, "")
        self.assertEqual(self.ask("SELECT count(*) FROM tokens"), [(0,)])
        self.assertEqual(self.ask("SELECT count(*) FROM audit"), [(0,)])

    def test_a_configured_database(self) -> None:
        config = self.configured({"database": {"dsn": self.dsn}})
        result = self.voxrec("create", "--name", "crm", "--role", "read", config=config)
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertIn("crm", self.voxrec("list").stdout)

    def test_where_it_cannot_work(self) -> None:
        administer(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier("empty")))
        administer(SQL("CREATE DATABASE {}").format(Identifier("empty")))
        for settings, told in (
            ({"data_directory": str(self.data / "none")}, "does not run in"),
            ({"database": {"dsn": "host=/nowhere dbname=x"}}, "PostgreSQL does not answer"),
            ({"database": {"dsn": cluster().dsn("empty")}}, "start the daemon, which makes the tables"),
            ({"databse": {}}, "databse"),
        ):
            with subtest(settings):
                result = self.voxrec("list", config=self.configured(settings))
                self.assertEqual(result.exit_code, 1)
                self.assertIn(told, result.stderr)
                self.assertNotIn("Traceback", result.output)

    def test_a_server_that_is_only_starting(self) -> None:
        half = self.data / "half"
        (half / "cluster").mkdir(parents=True)
        (half / "cluster" / "postmaster.pid").write_text("4711\n")
        with self.assertRaisesRegex(Exception, "does not run"):
            dsn_of_running_server(half)


class DoneTests(SynchronousTestCase):
    def test_what_waits_is_no_command(self) -> None:
        async def waiting() -> None:
            await Deferred()

        self.assertRaises(RuntimeError, run_to_completion, waiting())
