"""A real PostgreSQL for tests: one server for each test process, and a new database for each test."""

import atexit
import shutil
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

from tests.cluster_template import copy_cluster
from tests.temporary import temporary_directory
from voxrec.model import JobKind
from voxrec.postgres.cluster import Cluster
from voxrec.postgres.pool import Pool

_TEMPLATE: Final = "template_of_tests"
_FAST_SETTINGS: Final = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "100",
}
_MIN_FREE_MEMORY: Final = 2**30  # bytes
_serial = count(1)

reactor = cast("ReactorBase", installed_reactor)


@cache
def cluster() -> Cluster:
    """Return the server of this process. The first call starts it; it stops when the process ends."""
    directory = temporary_directory("database", _memory_directory())
    copy_cluster(directory)
    server = Cluster(directory, _FAST_SETTINGS)
    atexit.register(server.stop)  # before its directory is removed: the last function registered is called first
    server.prepare()
    server.launch()
    server.wait_until_ready()
    # "voxrec" belongs to the tests that use the database of an embedded PostgreSQL
    with closing(psycopg2.connect(server.dsn("postgres"))) as connection:
        connection.autocommit = True
        connection.cursor().execute(SQL("ALTER DATABASE voxrec RENAME TO {}").format(Identifier(_TEMPLATE)))
    return server


def _memory_directory() -> Path | None:
    """Return a directory in memory, if there is enough: creating a database writes hundreds of files."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > _MIN_FREE_MEMORY else None


def administer(statement: Composable) -> None:
    """Run a statement that cannot run inside a transaction or in the database of a test, such as CREATE DATABASE."""
    with closing(psycopg2.connect(cluster().dsn("postgres"))) as connection:
        connection.autocommit = True
        connection.cursor().execute(statement)


def create_database(name: Identifier) -> None:
    """Create a database without tables."""
    administer(SQL("CREATE DATABASE {}").format(name))


def create_migrated_database(name: Identifier) -> None:
    """Create a database with the empty tables of voxrec's newest schema."""
    administer(SQL("CREATE DATABASE {} TEMPLATE {}").format(name, Identifier(_TEMPLATE)))


async def until(condition: Callable[[], object], timeout: float = 30.0) -> None:
    """Wait until a condition is true. For effects of a real server only; elsewhere tests advance a Clock."""
    deadline = reactor.seconds() + timeout
    while not condition():
        if reactor.seconds() > deadline:
            raise AssertionError(f"the condition was not met within {timeout:g} s")
        await deferLater(reactor, 0.005)


class DatabaseTestCase(TestCase):
    """Each test has a database of its own with voxrec's tables, ``self.dsn``, and a started ``self.pool``."""

    async def setUp(self) -> None:  # type: ignore[override]
        name = f"test_{next(_serial)}"
        self.database = Identifier(name)
        self.dsn = cluster().dsn(name)
        create_migrated_database(self.database)
        self.pool = Pool(reactor, self.dsn, size=4)
        self.pool.startService()
        await self.pool.when_ready()

    async def tearDown(self) -> None:  # type: ignore[override]
        await self.pool.stopService()
        administer(SQL("DROP DATABASE {} WITH (FORCE)").format(self.database))

    async def enqueue(self, *jobs: tuple[JobKind, UUID]) -> None:
        """Insert jobs, whose Recordings need not exist. A job that exists, even a done one, stays as it is."""
        kinds, recordings = [kind.value for kind, _ in jobs], [recording for _, recording in jobs]
        await self.pool.execute(
            "INSERT INTO jobs (kind, recording_id) SELECT * FROM unnest(%s::text[], %s::uuid[]) ON CONFLICT DO NOTHING",
            (kinds, recordings),
        )
