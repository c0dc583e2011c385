"""Tests of voxrec.cli.context: how a subcommand finds the database of the daemon, and reports errors."""

import getpass
from pathlib import Path
from uuid import UUID

import click
from psycopg2.sql import SQL, Identifier
from twisted.trial.unittest import SynchronousTestCase

from tests.cli.command_test_case import CommandTestCase
from tests.database import administer, cluster
from tests.subtest import subtest
from voxrec.cli.context import audit_entry_for_command, daemon_database
from voxrec.errors import FieldError, InvalidInput
from voxrec.model import AuditOutcome
from voxrec.postgres.blocking_database import run_to_completion


class DaemonDatabaseTests(CommandTestCase):
    group = "token"

    def test_a_configured_database(self) -> None:
        config_file = self.write_config({"database": {"dsn": self.dsn}})
        result = self.voxrec("create", "--name", "crm", "--role", "read", config_file=config_file)
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertIn("crm", self.voxrec("list").stdout)

    def test_a_database_that_cannot_be_used(self) -> None:
        administer(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier("empty")))
        administer(SQL("CREATE DATABASE {}").format(Identifier("empty")))
        for settings, message in (
            ({"data_directory": str(self.data_directory / "none")}, "does not run in"),
            ({"database": {"dsn": "host=/nowhere dbname=x"}}, "PostgreSQL is unavailable"),
            ({"database": {"dsn": cluster().dsn("empty")}}, "start the daemon, which creates them"),
            ({"databse": {}}, "databse"),
        ):
            with subtest(settings):
                result = self.voxrec("list", config_file=self.write_config(settings))
                self.assertEqual(result.exit_code, 1)
                self.assertIn(message, result.stderr)
                self.assertNotIn("Traceback", result.output)

    def test_an_error_reports_its_fields_and_rolls_back(self) -> None:
        def fail_after_insert(config_file: Path) -> None:
            with daemon_database(config_file) as database:
                run_to_completion(database.execute("INSERT INTO jobs (kind, recording_id) VALUES ('mail', %s)", [ID]))
                raise InvalidInput("It is invalid:", [FieldError("name", "is too long")])

        error = self.assertRaises(click.ClickException, fail_after_insert, self.config_file)
        self.assertEqual(error.message, "It is invalid:\n  name: is too long")
        self.assertEqual(self.query("SELECT count(*) FROM jobs"), [(0,)])


ID = UUID(int=7)


class AuditEntryForCommandTests(SynchronousTestCase):
    def test_it_names_the_user_and_the_command(self) -> None:
        entry = audit_entry_for_command("voxrec token revoke", "token", ID)
        self.assertEqual((entry.who, entry.address, entry.token_id), (getpass.getuser(), "local", None))
        self.assertEqual((entry.method, entry.path), ("COMMAND", "voxrec token revoke"))
        self.assertEqual((entry.kind, entry.target_id, entry.outcome), ("token", ID, AuditOutcome.DONE))
