"""The faults that a chaos run injects. Each fault that was injected is always reverted."""

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import psycopg2
import yaml
from twisted.internet.threads import deferToThread

from voxrec.postgres.cluster import Cluster
from voxrec.sandbox.asterisk import LOOPBACK, free_port
from voxrec.sandbox.chaos.schedule import FaultKind
from voxrec.sandbox.chaos.verification import AllowedEffects
from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.mailbox import Mailbox
from voxrec.sandbox.process import Process, with_parent_death_signal
from voxrec.sandbox.stack import Stack

UNTIL_REVERTED: Final = 10**9
"""Count of a mailbox fault that lasts until `MailboxFault.recover`."""
STOP_SECONDS: Final = 90.0
"""Timeout of an orderly stop of voxrec."""
READY_SECONDS: Final = 120.0
"""Time within which voxrec must be ready again after a fault has ended."""
FILESYSTEM_SIZE: Final = "1g"
TABLES: Final = ("recordings", "jobs", "profiles")


@dataclass
class Environment:
    """The programs into which faults are injected; ``cluster_directory`` is the directory of ``cluster``."""

    reactor: Any
    stack: Stack
    cluster: Cluster
    cluster_directory: Path
    mailbox: Mailbox
    mail_port: int

    async def wait_until_ready(self) -> None:
        """Wait until voxrec is ready. Raises SandboxError after 120 s."""

        async def ready() -> bool:
            return await self.stack.readiness_status() == 200

        if not await self.stack.wait_until(ready, READY_SECONDS):
            raise SandboxError(
                f"voxrec is not ready {READY_SECONDS:g} s after a fault:\n{self.stack.voxrec_log_tail()}"
            )

    def database_processes(self) -> list[int]:
        """Return the ids of the processes that run in PostgreSQL's data directory, the postmaster first."""
        processes = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (process / "cwd").readlink() == self.cluster_directory / "cluster":
                    processes.append(int(process.name))
        return sorted(processes)

    async def start_database(self) -> None:
        """Start PostgreSQL and wait until it accepts connections."""
        await deferToThread(self.cluster.prepare)
        self.cluster.launch()
        await deferToThread(self.cluster.wait_until_ready)


class Fault(Protocol):
    """One kind of fault. ``recover`` is always called some time after ``inject`` and restores the earlier state.

    It does not wait until voxrec is ready again: the run does so with `Environment.wait_until_ready`.
    """

    kind: FaultKind

    async def inject(self, environment: Environment) -> None:
        """Start the fault."""

    async def recover(self, environment: Environment) -> None:
        """End the fault."""


@dataclass
class VoxrecKilled:
    """voxrec is killed (SIGKILL), and started again immediately or some seconds later."""

    kind = FaultKind("voxrec-killed", "voxrec", 0, 8)

    async def inject(self, environment: Environment) -> None:
        """Kill voxrec."""
        environment.stack.kill_voxrec()

    async def recover(self, environment: Environment) -> None:
        """Start voxrec."""
        environment.stack.launch_voxrec()


@dataclass
class VoxrecRestarted:
    """voxrec is stopped (SIGTERM) and started again immediately, as by systemctl restart."""

    kind = FaultKind("voxrec-restarted", "voxrec", 0, 0)

    async def inject(self, environment: Environment) -> None:
        """Stop voxrec and wait until it has ended."""
        environment.stack.signal_voxrec(signal.SIGTERM)
        await environment.stack.wait_until_voxrec_ended(STOP_SECONDS)

    async def recover(self, environment: Environment) -> None:
        """Start voxrec."""
        environment.stack.launch_voxrec()


@dataclass
class AsteriskKilled:
    """Asterisk is killed (SIGKILL) with all of its calls, and started again some seconds later."""

    kind = FaultKind("asterisk-killed", "asterisk", 0, 4)

    async def inject(self, environment: Environment) -> None:
        """Kill Asterisk."""
        environment.stack.asterisk.kill()

    async def recover(self, environment: Environment) -> None:
        """Start Asterisk."""
        await environment.stack.asterisk.start(environment.reactor)


@dataclass
class ProcessStalled:
    """Processes are suspended (SIGSTOP) and resumed (SIGCONT), as on a machine that swaps."""

    kind: FaultKind
    process_ids: Callable[[Environment], Iterable[int]]
    _stopped: list[int] = field(default_factory=list)

    async def inject(self, environment: Environment) -> None:
        """Suspend the processes."""
        self._stopped = list(self.process_ids(environment))
        for process in self._stopped:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGSTOP)

    async def recover(self, environment: Environment) -> None:
        """Resume the processes."""
        del environment
        for process in self._stopped:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)


@dataclass
class PostgresStopped:
    """PostgreSQL is shut down, and refuses connections until it is started again."""

    kind = FaultKind("postgresql-stopped", "postgresql", 3, 60)

    async def inject(self, environment: Environment) -> None:
        """Shut PostgreSQL down."""
        await deferToThread(environment.cluster.stop)

    async def recover(self, environment: Environment) -> None:
        """Start PostgreSQL."""
        await environment.start_database()


@dataclass
class PostgresKilled:
    """The postmaster is killed (SIGKILL); its child processes then end by themselves."""

    kind = FaultKind("postgresql-killed", "postgresql", 0, 20)

    async def inject(self, environment: Environment) -> None:
        """Kill the postmaster."""
        pid = (environment.cluster_directory / "cluster" / "postmaster.pid").read_text().splitlines()[0]
        os.kill(int(pid), signal.SIGKILL)

    async def recover(self, environment: Environment) -> None:
        """Start PostgreSQL, which recovers from its write-ahead log first."""
        await environment.start_database()


@dataclass
class TablesLocked:
    """Another session holds exclusive locks on tables, like a careless migration: statements wait, none fails."""

    kind = FaultKind("postgresql-slow", "postgresql", 5, 5)
    _connection: Any = None

    async def inject(self, environment: Environment) -> None:
        """Lock the tables."""
        self._connection = await deferToThread(_connection_with_locks, environment.cluster.dsn())

    async def recover(self, environment: Environment) -> None:
        """Release the locks."""
        del environment
        self._connection.close()


def _connection_with_locks(dsn: str) -> Any:
    connection = psycopg2.connect(dsn)
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
    return connection


@dataclass
class MailDown:
    """The SMTP server's port is closed."""

    kind = FaultKind("mail-down", "mail", 3, 20)

    async def inject(self, environment: Environment) -> None:
        """Stop the SMTP server."""
        await environment.mailbox.stop()

    async def recover(self, environment: Environment) -> None:
        """Start the SMTP server."""
        environment.mailbox.listen(environment.reactor, environment.mail_port)


@dataclass
class MailboxFault:
    """The SMTP server shows one of the faults in `voxrec.sandbox.mailbox.Faults`."""

    kind: FaultKind
    fault: str

    async def inject(self, environment: Environment) -> None:
        """Enable the fault."""
        setattr(environment.mailbox.faults, self.fault, UNTIL_REVERTED)

    async def recover(self, environment: Environment) -> None:
        """Disable the fault."""
        setattr(environment.mailbox.faults, self.fault, 0)


@dataclass
class DiskFull:
    """A file system has no free space; it must have been mounted by `mount_tmpfs`."""

    kind: FaultKind
    directory: Callable[[Environment], Path]

    async def inject(self, environment: Environment) -> None:
        """Shrink the file system to its used size."""
        path = self.directory(environment)
        usage = os.statvfs(path)
        _remount(path, f"{(usage.f_blocks - usage.f_bfree) * usage.f_frsize}")

    async def recover(self, environment: Environment) -> None:
        """Restore the size of the file system."""
        _remount(self.directory(environment), FILESYSTEM_SIZE)


def mount_tmpfs(path: Path) -> None:
    """Mount a tmpfs on ``path`` for use by `DiskFull`. Needs root, and should run in a mount namespace of its own."""
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={FILESYSTEM_SIZE},mode=0755", "tmpfs", str(path)], check=True)


def _remount(path: Path, size: str) -> None:
    # A size of 0 would mean no limit; at one page more than the used size, the next write fills the file system.
    subprocess.run(["mount", "-o", f"remount,size={max(int(size), 4096) if size.isdigit() else size}", str(path)],
                   check=True)  # fmt: skip


@dataclass
class SecondVoxrec:
    """A second voxrec starts with the same Stasis application and database, as after a faulty failover."""

    kind = FaultKind("second-voxrec", "voxrec", 3, 10)
    _process: Process | None = None

    async def inject(self, environment: Environment) -> None:
        """Start the second voxrec with its own data directory and REST port."""
        settings = yaml.safe_load(environment.stack.config_file.read_text())
        settings["data_directory"] = str(environment.stack.directory / "second")
        settings["archive"]["directory"] = str(environment.stack.archive_directory)
        settings["rest"]["listen"] = f"tcp:{free_port(socket.SOCK_STREAM)}:interface={LOOPBACK}"
        config = environment.stack.config_file.with_name("second.yaml")
        config.touch(mode=0o600)
        config.write_text(yaml.safe_dump(settings))
        self._process = Process(
            with_parent_death_signal(environment.stack.daemon_command(config)),
            environment.stack.directory / "second.log",
            directory=environment.stack.directory,
        )

    async def recover(self, environment: Environment) -> None:
        """Restart the first voxrec, which had to give way and now takes the calls over; then stop the second."""
        try:
            environment.stack.signal_voxrec(signal.SIGTERM)
            await environment.stack.wait_until_voxrec_ended(STOP_SECONDS)
            environment.stack.launch_voxrec()
            await environment.wait_until_ready()
        finally:
            if self._process is not None:
                await self._process.stop(environment.reactor, STOP_SECONDS)


def all_faults(*, include_full_disks: bool) -> Sequence[Fault]:
    """Return one fault of each kind. Full disks need root (see `mount_tmpfs`)."""
    faults: list[Fault] = [
        VoxrecKilled(),
        VoxrecRestarted(),
        ProcessStalled(FaultKind("voxrec-stalled", "voxrec", 2, 2), lambda environment: [environment.stack.pid]),
        SecondVoxrec(),
        AsteriskKilled(),
        ProcessStalled(
            FaultKind("asterisk-stalled", "asterisk", 2, 2), lambda environment: [environment.stack.asterisk.pid]
        ),
        PostgresStopped(),
        PostgresKilled(),
        ProcessStalled(FaultKind("postgresql-stalled", "postgresql", 3, 60), Environment.database_processes),
        TablesLocked(),
        MailDown(),
        MailboxFault(FaultKind("mail-greylists", "mail", 3, 20), "greylist"),
        MailboxFault(FaultKind("mail-refuses", "mail", 3, 20), "unavailable"),
        MailboxFault(FaultKind("mail-hangs", "mail", 3, 20), "hang"),
        MailboxFault(FaultKind("mail-drops", "mail", 3, 20), "drop"),
    ]
    if include_full_disks:
        faults += [
            DiskFull(
                FaultKind("spool-full", "spool", 2, 8),
                lambda environment: environment.stack.asterisk.recording_directory,
            ),
            DiskFull(
                FaultKind("archive-full", "archive", 3, 20), lambda environment: environment.stack.archive_directory
            ),
        ]
    return faults


ALLOWED_EFFECTS: Final = AllowedEffects(
    # second-voxrec ends with a restart of the first
    call_rejected=frozenset({"voxrec-killed", "voxrec-restarted", "second-voxrec"}),
    call_dropped=frozenset({"asterisk-killed"}),
    recording_disk_full=frozenset({"spool-full"}),
    asterisk_stalled=frozenset({"asterisk-stalled"}),
    hangup_delayed=frozenset({"voxrec-stalled"}),
    mail_duplicated=frozenset({
        "voxrec-killed", "postgresql-stopped", "postgresql-killed", "postgresql-stalled", "postgresql-slow",
    }),
)  # fmt: skip
"""Effects that faults may have on calls, recordings and mails; faults that are not listed may have none."""
