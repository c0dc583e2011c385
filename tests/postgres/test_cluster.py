"""Tests of voxrec.postgres.cluster, with real servers."""

import contextlib
import os
import pwd
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg2
from twisted.trial.unittest import TestCase

from tests.database import until
from tests.temporary import temporary_directory
from tests.unit_restrictions import PRIVILEGED, RESOURCES, restricted
from voxrec.errors import StoreUnavailable
from voxrec.postgres import cluster as cluster_module
from voxrec.postgres.cluster import Cluster, dsn_of_running_server, processes_in
from voxrec.sandbox.postgres_account import ACCOUNT, prepare_postgres_directory

DAEMON = """
import sys, time
from pathlib import Path
from voxrec.postgres.cluster import Cluster
cluster = Cluster(Path(sys.argv[1]))
cluster.prepare()
cluster.launch()
cluster.wait_until_ready()
print("ready", flush=True)
time.sleep(600)
"""


class ClusterTestCase(TestCase):
    def setUp(self) -> None:
        self.directory = temporary_directory("cluster")

    def start(self, directory: Path) -> Cluster:
        prepare_postgres_directory(directory)
        cluster = Cluster(directory)
        cluster.prepare()
        cluster.launch()
        self.addCleanup(cluster.stop)
        cluster.wait_until_ready()
        return cluster

    def assert_answers(self, cluster: Cluster) -> None:
        with contextlib.closing(psycopg2.connect(cluster.dsn())) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            self.assertEqual(cursor.fetchone(), (1,))


class DirectoryTests(ClusterTestCase):
    def test_path_too_long_for_a_unix_socket(self) -> None:
        deep = self.directory / ("d" * 60) / ("e" * 60)
        cluster = self.start(deep)
        self.assert_answers(cluster)
        sockets = cluster._sockets
        self.assertEqual(sockets.stat().st_mode & 0o777, 0o700)
        cluster.stop()
        self.assertFalse(sockets.exists())

    def test_directory_below_a_private_one(self) -> None:
        private = self.directory / "private"
        private.mkdir(mode=0o700)
        self.assert_answers(self.start(private / "new"))
        self.assertEqual(private.stat().st_mode & 0o777, 0o700)

    def test_interrupted_initdb_is_repeated(self) -> None:
        new = self.directory / "cluster.new"
        new.mkdir()
        (new / "PG_VERSION").write_text("18\n")
        self.assert_answers(self.start(self.directory))

    def test_large_log_is_rotated(self) -> None:
        prepare_postgres_directory(self.directory)
        cluster = Cluster(self.directory)
        cluster.prepare()
        with (self.directory / "postgres.log").open("wb") as log:
            log.truncate(cluster_module._LOG_SIZE_LIMIT + 1)
        cluster.prepare()
        self.assertFalse((self.directory / "postgres.log").exists())
        self.assertTrue((self.directory / "postgres.log.1").exists())

    def test_dsn_of_running_server(self) -> None:
        cluster = self.start(self.directory)
        self.assertEqual(dsn_of_running_server(self.directory), cluster.dsn())
        cluster.stop()
        with self.assertRaisesRegex(StoreUnavailable, "PostgreSQL does not run in"):
            dsn_of_running_server(self.directory)


class AccountTests(ClusterTestCase):
    """Which account the server runs as if this process is root. No account is ever created."""

    def setUp(self) -> None:
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest("only root can run PostgreSQL as another user")

    def server_users(self, directory: Path) -> set[str]:
        users = set()
        for process in processes_in(directory / "cluster"):
            with contextlib.suppress(FileNotFoundError):  # a short-lived process, such as one of autovacuum
                users.add(pwd.getpwuid(Path(f"/proc/{process}").stat().st_uid).pw_name)
        return users

    def test_without_an_unprivileged_account_it_refuses(self) -> None:
        accounts = pwd.getpwall()
        self.patch(cluster_module, "_ACCOUNT", "no-such-account")
        with self.assertRaisesRegex(
            StoreUnavailable, "cannot run as root, and there is no account 'no-such-account'.*useradd.*database.dsn"
        ):
            Cluster(self.directory).prepare()
        self.assertEqual(pwd.getpwall(), accounts)
        self.assertEqual(list(self.directory.iterdir()), [])

    def test_directory_owner_runs_the_server(self) -> None:
        self.patch(cluster_module, "_ACCOUNT", "no-such-account")
        self.start(self.directory)
        self.assertEqual(self.server_users(self.directory), {ACCOUNT})

    def test_account_is_the_default(self) -> None:
        self.patch(cluster_module, "_ACCOUNT", "daemon")
        cluster = Cluster(self.directory)
        cluster.prepare()
        cluster.launch()
        self.addCleanup(cluster.stop)
        cluster.wait_until_ready()
        self.assertEqual(self.server_users(self.directory), {"daemon"})

    def test_owner_of_an_existing_cluster_runs_the_server(self) -> None:
        """As after an upgrade from a version that used another account."""
        self.start(self.directory).stop()
        os.chown(self.directory, 0, 0)
        self.patch(cluster_module, "_ACCOUNT", "daemon")
        self.start(self.directory)
        self.assertEqual(self.server_users(self.directory), {ACCOUNT})

    def test_directory_that_the_account_cannot_enter(self) -> None:
        self.directory.chmod(0o700)
        self.patch(cluster_module, "_READ_SEARCH", ())  # as in a container that cannot grant the capability
        prepare_postgres_directory(self.directory / "below")
        with self.assertRaisesRegex(StoreUnavailable, "cannot enter"):
            Cluster(self.directory / "below").prepare()


class EarlierServerTests(ClusterTestCase):
    def setUp(self) -> None:
        super().setUp()
        prepare_postgres_directory(self.directory)

    def kill_daemon(self, wrap: Callable[[list[str]], list[str]] = list) -> None:
        """Start a process with a server and kill it, which leaves the server to stop by itself.

        ``wrap`` changes the command.
        """
        daemon = subprocess.Popen(  # noqa: S603
            wrap([sys.executable, "-c", DAEMON, str(self.directory)]),
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert daemon.stdout is not None
        with daemon.stdout:
            self.assertEqual(daemon.stdout.readline(), b"ready\n")
        self.assertNotEqual(processes_in(self.directory / "cluster"), [])
        daemon.kill()
        daemon.wait()

    async def test_server_stops_when_its_parent_dies(self) -> None:
        self.kill_daemon()
        await until(lambda: not processes_in(self.directory / "cluster"))

    async def test_server_of_an_unprivileged_process_with_the_restrictions_of_the_unit(self) -> None:
        def unprivileged(command: list[str]) -> list[str]:
            command = restricted(command, [*PRIVILEGED, *RESOURCES])
            if os.geteuid() != 0:
                return command
            account = pwd.getpwnam(ACCOUNT)
            # Python may be in a directory that only root may enter
            return [
                *("setpriv", "--reuid", str(account.pw_uid), "--regid", str(account.pw_gid), "--clear-groups"),
                *(*cluster_module._READ_SEARCH, *command),
            ]

        self.kill_daemon(unprivileged)
        await until(lambda: not processes_in(self.directory / "cluster"))

    def test_stopping_server_is_waited_for(self) -> None:
        self.kill_daemon()
        self.assert_answers(self.start(self.directory))

    def test_running_server_is_an_error(self) -> None:
        self.start(self.directory)
        self.patch(cluster_module, "_STOP_TIMEOUT", 0.2)
        with self.assertRaisesRegex(StoreUnavailable, "another PostgreSQL"):
            Cluster(self.directory).prepare()
        self.patch(cluster_module, "_STOP_TIMEOUT", 20.0)

    def test_stale_pid_file_with_a_pid_in_use(self) -> None:
        self.start(self.directory).stop()
        data = self.directory / "cluster"
        (data / "postmaster.pid").write_text(f"{os.getpid()}\n{data}\n1\n5432\n\n\n\n")
        self.assert_answers(self.start(self.directory))
