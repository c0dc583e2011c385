"""A real PostgreSQL for tests: one server for each test process, a fresh database for each test."""

import atexit
import shutil
import tempfile
from collections.abc import Callable
from contextlib import closing
from functools import cache
from itertools import count
from pathlib import Path
from typing import Final, cast
from uuid import UUID

import psycopg2
from psycopg2.sql import SQL, Composable, Identifier
from twisted.internet import reactor as installed_reactor
from twisted.internet.base import ReactorBase
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from voxrec.model import JobKind
from voxrec.postgres.cluster import Cluster
from voxrec.postgres.migrate import migrate
from voxrec.postgres.pool import Pool
from voxrec.sandbox.postgres_account import prepare_postgres_directory

_TEMPLATE: Final = "template_of_tests"
_HURRY: Final = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "100"}
_PLENTY: Final = 2**30  # bytes
_serial = count(1)

reactor = cast("ReactorBase", installed_reactor)


@cache
def cluster() -> Cluster:
    """The server of this process: started when the first test asks for it, gone when the process ends."""
    directory = Path(tempfile.mkdtemp(prefix="voxrec-test-", dir=_quick_place()))
    directory.chmod(0o755)
    prepare_postgres_directory(directory)
    server = Cluster(directory, _HURRY)
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    atexit.register(server.stop)  # the last one registered is the first one called
    server.prepare()
    server.launch()
    server.wait_until_ready()
    server.create_database(_TEMPLATE)
    migrate(server.dsn(_TEMPLATE))
    return server


def _quick_place() -> Path | None:
    """Memory, where there is plenty: a new database is hundreds of files, ten times as quick to make there."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > _PLENTY else None


def administer(statement: Composable) -> None:
    """Run a statement that belongs to no database of a test."""
    with closing(psycopg2.connect(cluster().dsn("postgres"))) as connection:
        connection.autocommit = True
        connection.cursor().execute(statement)


async def until(condition: Callable[[], object], within: float = 10.0) -> None:
    """Wait for what only a real server can bring about."""
    end = reactor.seconds() + within
    while not condition():
        if reactor.seconds() > end:
            raise AssertionError("it did not come about")
        await deferLater(reactor, 0.005)


class DatabaseTestCase(TestCase):
    """Each test has a database of its own with the tables in it, ``self.dsn``, and a started ``self.pool``."""

    async def setUp(self) -> None:  # type: ignore[override]
        name = f"test_{next(_serial)}"
        self.database = Identifier(name)
        self.dsn = cluster().dsn(name)
        administer(SQL("CREATE DATABASE {} TEMPLATE {}").format(self.database, Identifier(_TEMPLATE)))
        self.pool = Pool(reactor, self.dsn, size=4)
        self.pool.startService()
        await self.pool.when_ready()

    async def tearDown(self) -> None:  # type: ignore[override]
        await self.pool.stopService()
        administer(SQL("DROP DATABASE {} WITH (FORCE)").format(self.database))

    async def owe(self, *jobs: tuple[JobKind, UUID]) -> None:
        """Put jobs into the queue, of Recordings that need not be. What is or was owed already stays as it is."""
        kinds, recordings = [kind.value for kind, _ in jobs], [recording for _, recording in jobs]
        await self.pool.execute(
            "INSERT INTO jobs (kind, recording_id) SELECT * FROM unnest(%s::text[], %s::uuid[]) ON CONFLICT DO NOTHING",
            (kinds, recordings),
        )
