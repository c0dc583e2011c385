"""The faults that a chaos run injects. Each fault that was injected is always reverted."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg2
from twisted.internet.threads import deferToThread

from voxrec.sandbox.chaos.environment import STOP_SECONDS, Environment, Fault
from voxrec.sandbox.chaos.outages import TAKEOVER, TAKEOVER_WITHOUT_PROFILES, UNCONNECTED, AllowedEffects
from voxrec.sandbox.chaos.schedule import FaultKind
from voxrec.sandbox.chaos.standby import EndsAndReturns, StandbyTakesOver
from voxrec.sandbox.chaos.store_faults import COMPONENT as STORE
from voxrec.sandbox.chaos.store_faults import required_store, store_faults

UNTIL_REVERTED: Final = 10**9
"""Count of a mailbox fault that lasts until `MailboxFault.recover`."""
FILESYSTEM_SIZE: Final = "1g"
TABLES: Final = ("recordings", "jobs", "profiles")


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
class AmiDown:
    """The AMI connections are dropped, and refused until the fault ends: calls that are answered are not recorded."""

    kind = FaultKind("ami-down", "ami", 0, 8)

    async def inject(self, environment: Environment) -> None:
        """Drop the connections."""
        await environment.ami_proxy.stop()

    async def recover(self, environment: Environment) -> None:
        """Accept connections."""
        environment.ami_proxy.listen(environment.reactor, environment.ami_port)


def all_faults(*, include_full_disks: bool) -> Sequence[Fault[Environment]]:
    """Return one fault of each kind. Full disks need root (see `mount_tmpfs`)."""
    faults: list[Fault[Environment]] = [
        EndsAndReturns(VoxrecKilled()),
        EndsAndReturns(VoxrecRestarted()),
        ProcessStalled(FaultKind("voxrec-stalled", "voxrec", 2, 2), lambda environment: [environment.stack.pid]),
        StandbyTakesOver(),
        AmiDown(),
        EndsAndReturns(AsteriskKilled()),
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
    faults += [
        *store_faults(),
        ProcessStalled(FaultKind("store-stalled", STORE, 3, 20), lambda environment: [required_store(environment).pid]),
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
    call_rejected=frozenset({UNCONNECTED, TAKEOVER, TAKEOVER_WITHOUT_PROFILES}),
    call_dropped=frozenset({"asterisk-killed"}),
    recording_disk_full=frozenset({"spool-full"}),
    recording_delayed=frozenset({"ami-down", "asterisk-killed"}),  # calls may come before AMI is connected again
    asterisk_stalled=frozenset({"asterisk-stalled"}),
    hangup_delayed=frozenset({"voxrec-stalled"}),
    mail_duplicated=frozenset({
        "voxrec-killed", TAKEOVER, "postgresql-stopped", "postgresql-killed", "postgresql-stalled", "postgresql-slow",
    }),
)  # fmt: skip
"""Effects that faults may have on calls, recordings and mails; faults that are not listed may have none."""
