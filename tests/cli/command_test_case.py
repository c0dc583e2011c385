"""The base class of the tests of ``voxrec`` subcommands."""

import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

import psycopg2
from click.testing import CliRunner, Result
from psycopg2.extensions import parse_dsn
from psycopg2.sql import SQL, Identifier
from twisted.trial.unittest import SynchronousTestCase

from tests.database import administer, cluster, create_migrated_database
from voxrec.cli.main import main

EMBEDDED_DATABASE: Final = Identifier("voxrec")  # the name of the database of an embedded PostgreSQL


class CommandTestCase(SynchronousTestCase):
    """Runs the subcommands of one ``group`` with a data directory that contains a running embedded PostgreSQL."""

    group: str

    def setUp(self) -> None:
        administer(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(EMBEDDED_DATABASE))
        create_migrated_database(EMBEDDED_DATABASE)
        self.dsn = cluster().dsn()
        self.data_directory = Path(self.mktemp()).absolute()
        self.data_directory.mkdir()
        # the layout of the daemon: the files of the server are in the data directory
        (self.data_directory / "postgres").symlink_to(Path(parse_dsn(self.dsn)["host"]).parent)
        self.config_file = self.write_config({"data_directory": str(self.data_directory)})

    def write_config(self, settings: Mapping[str, object]) -> Path:
        file = Path(self.mktemp()).absolute()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings))  # JSON is valid YAML
        return file

    def voxrec(self, *arguments: str, config_file: Path | None = None) -> Result:
        """Run a subcommand of the group."""
        return CliRunner().invoke(main, [self.group, *arguments, "--config", str(config_file or self.config_file)])

    def query(self, sql: str) -> list[tuple[object, ...]]:
        with closing(psycopg2.connect(self.dsn)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def audit_entries(self) -> list[tuple[object, ...]]:
        """Method, path, kind, target id and outcome of each audit entry, oldest first."""
        return self.query("SELECT method, path, kind, target_id::text, outcome FROM audit ORDER BY created_at")
