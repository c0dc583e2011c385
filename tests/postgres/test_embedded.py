"""The server of our own: it starts, heals, and never outlives the daemon."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import psycopg2
from twisted.trial.unittest import TestCase

from tests.database import reactor, until
from voxrec.errors import StoreUnavailable
from voxrec.postgres import embedded as room
from voxrec.postgres.embedded import Cluster, EmbeddedPostgres

DAEMON = """
import sys, time
from pathlib import Path
from voxrec.postgres.embedded import Cluster
cluster = Cluster(Path(sys.argv[1]))
cluster.prepare()
cluster.launch()
cluster.wait_until_ready()
print("ready", flush=True)
time.sleep(600)
"""


def ask(dsn: str, sql: str) -> object:
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()


class Embedded(TestCase):
    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="voxrec-embedded-"))
        self.directory.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.directory)

    def processes(self, directory: Path) -> list[int]:
        return room._processes_in(directory / "cluster")

    async def started(self, directory: Path) -> tuple[EmbeddedPostgres, str]:
        server = EmbeddedPostgres(reactor, directory)
        dsn = await server.start()
        self.addCleanup(server.stop)
        return server, dsn

    async def test_from_nothing_to_stopped_and_again(self) -> None:
        server, dsn = await self.started(self.directory / "made")
        with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE kept AS SELECT 'Ü' AS what")
        self.assertEqual(
            ask(dsn, "SELECT current_setting('listen_addresses'), current_setting('fsync'), lower('Ü')"),
            ("", "on", "ü"),
        )
        sockets = self.directory / "made" / "run"
        self.assertEqual(sockets.stat().st_mode & 0o777, 0o700)
        await server.stop()
        self.assertEqual(self.processes(self.directory / "made"), [])
        _, dsn = await self.started(self.directory / "made")
        self.assertEqual(ask(dsn, "SELECT what FROM kept"), ("Ü",))

    async def test_a_path_too_long_for_a_socket(self) -> None:
        deep = self.directory / ("d" * 60) / ("e" * 60)
        deep.parent.mkdir()
        server, dsn = await self.started(deep)
        self.assertEqual(ask(dsn, "SELECT 1"), (1,))
        sockets = server._cluster._sockets
        self.assertEqual(sockets.stat().st_mode & 0o777, 0o700)
        await server.stop()
        self.assertFalse(sockets.exists())

    async def test_below_a_directory_that_only_its_owner_enters(self) -> None:
        closed = self.directory / "closed"
        closed.mkdir(mode=0o700)
        _, dsn = await self.started(closed / "made")
        self.assertEqual(ask(dsn, "SELECT 1"), (1,))
        self.assertEqual(closed.stat().st_mode & 0o777, 0o700)

    async def test_it_is_started_again_when_it_dies(self) -> None:
        server, dsn = await self.started(self.directory)
        process = server._cluster._process
        assert process is not None
        process.kill()
        process.wait()
        await until(lambda: server._cluster._process is not process)
        server._cluster.wait_until_ready()
        self.assertEqual(ask(dsn, "SELECT 1"), (1,))

    async def test_why_it_cannot_start(self) -> None:
        server, _ = await self.started(self.directory)
        await server.stop()
        (self.directory / "cluster" / "PG_VERSION").write_text("9.6\n")
        with self.assertRaisesRegex(StoreUnavailable, r"(?s)did not start.*incompatible.*9\.6"):
            await EmbeddedPostgres(reactor, self.directory).start()

    async def test_an_initdb_that_was_interrupted(self) -> None:
        new = self.directory / "cluster.new"
        new.mkdir()
        (new / "PG_VERSION").write_text("18\n")
        _, dsn = await self.started(self.directory)
        self.assertEqual(ask(dsn, "SELECT 1"), (1,))

    async def test_a_directory_that_its_user_cannot_enter(self) -> None:
        if os.geteuid() != 0:
            self.skipTest("only root runs PostgreSQL as somebody else")
        self.directory.chmod(0o700)
        self.patch(room, "_ENTER_ALL", ())  # as in a container that does not have the right to give
        with self.assertRaisesRegex(StoreUnavailable, "cannot enter"):
            await EmbeddedPostgres(reactor, self.directory / "below").start()

    def kill_a_daemon(self) -> None:
        """Leave the server of a daemon that was killed."""
        daemon = subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", DAEMON, str(self.directory)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert daemon.stdout is not None
        with daemon.stdout:
            self.assertEqual(daemon.stdout.readline(), b"ready\n")
        self.assertNotEqual(self.processes(self.directory), [])
        daemon.kill()
        daemon.wait()

    async def test_it_dies_with_the_daemon(self) -> None:
        self.kill_a_daemon()
        begun = time.monotonic()
        await until(lambda: not self.processes(self.directory))
        self.assertLess(time.monotonic() - begun, 5)

    async def test_a_predecessor_that_is_still_stopping_is_waited_for(self) -> None:
        self.kill_a_daemon()
        _, dsn = await self.started(self.directory)
        self.assertEqual(ask(dsn, "SELECT 1"), (1,))

    async def test_a_predecessor_that_stays(self) -> None:
        await self.started(self.directory)
        self.patch(room, "_STOP_WITHIN", 0.2)
        with self.assertRaisesRegex(StoreUnavailable, "another PostgreSQL"):
            await EmbeddedPostgres(reactor, self.directory).start()
        self.patch(room, "_STOP_WITHIN", 20.0)

    async def test_a_pid_file_whose_number_somebody_else_has_now(self) -> None:
        server, _ = await self.started(self.directory)
        await server.stop()
        cluster = self.directory / "cluster"
        (cluster / "postmaster.pid").write_text(f"{os.getpid()}\n{cluster}\n1\n5432\n\n\n\n")
        _, dsn = await self.started(self.directory)
        self.assertEqual(ask(dsn, "SELECT 1"), (1,))

    def test_a_log_that_has_grown_is_put_aside(self) -> None:
        cluster = Cluster(self.directory)
        cluster.prepare()
        with (self.directory / "postgres.log").open("wb") as log:
            log.truncate(room._LOG_LIMIT + 1)
        cluster.prepare()
        self.assertFalse((self.directory / "postgres.log").exists())
        self.assertTrue((self.directory / "postgres.log.1").exists())
