"""What can break, each as one small thing with a beginning and an end. What was begun is always ended."""

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

from voxrec.postgres.embedded import Cluster
from voxrec.sandbox.asterisk import LOOPBACK, free_port
from voxrec.sandbox.chaos.ledger import Excuses
from voxrec.sandbox.chaos.schedule import Kind
from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.mailbox import Mailbox
from voxrec.sandbox.process import Process, dying_with_parent
from voxrec.sandbox.stack import Stack

ENDLESS: Final = 10**9
STOP_SECONDS: Final = 90.0
"""What systemctl restart would wait at least: calls may end by themselves meanwhile."""
WELL_SECONDS: Final = 120.0
"""After so long without its faults voxrec has to be well."""
ROOM: Final = "1g"
TABLES: Final = ("recordings", "jobs", "profiles")


@dataclass
class Rig:
    """What faults befall. ``directory`` of the PostgreSQL ``cluster`` is told apart, since it keeps its own."""

    reactor: Any
    stack: Stack
    cluster: Cluster
    cluster_directory: Path
    mailbox: Mailbox
    mail_port: int

    async def well(self) -> None:
        """Wait until voxrec is ready; SandboxError where it does not become so."""

        async def ready() -> bool:
            return await self.stack.health() == 200

        if not await self.stack.until(ready, WELL_SECONDS):
            raise SandboxError(f"voxrec is not ready {WELL_SECONDS:g} s after a fault:\n{self.stack.voxrec_log()}")

    def database_processes(self) -> list[int]:
        """The ids of PostgreSQL's processes, the postmaster's first: all work in its data directory."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (process / "cwd").readlink() == self.cluster_directory / "cluster":
                    found.append(int(process.name))
        return sorted(found)

    async def start_database(self) -> None:
        """Start PostgreSQL and wait until it takes connections."""
        await deferToThread(self.cluster.prepare)
        self.cluster.launch()
        await deferToThread(self.cluster.wait_until_ready)


class Fault(Protocol):
    """One kind of fault. ``end`` comes some time after ``begin``, surely, and leaves all as it was.

    What follows is waited for with `Rig.well`, which is no part of the fault.
    """

    kind: Kind

    async def begin(self, rig: Rig) -> None:
        """Break it."""

    async def end(self, rig: Rig) -> None:
        """Let it be mended."""


@dataclass
class VoxrecKilled:
    """Kill -9, and a start at once or some seconds later."""

    kind = Kind("voxrec-killed", "voxrec", 0, 8)

    async def begin(self, rig: Rig) -> None:
        """Kill it."""
        rig.stack.kill_voxrec()

    async def end(self, rig: Rig) -> None:
        """Start it again."""
        rig.stack.launch_voxrec()


@dataclass
class VoxrecRestarted:
    """A stop in order and a start at once, as by systemctl restart."""

    kind = Kind("voxrec-restarted", "voxrec", 0, 0)

    async def begin(self, rig: Rig) -> None:
        """Stop it, and wait until it has ended."""
        rig.stack.signal_voxrec(signal.SIGTERM)
        await rig.stack.voxrec_ended(STOP_SECONDS)

    async def end(self, rig: Rig) -> None:
        """Start it again."""
        rig.stack.launch_voxrec()


@dataclass
class AsteriskKilled:
    """Kill -9 of Asterisk, with all of its calls, and a start some seconds later."""

    kind = Kind("asterisk-killed", "asterisk", 0, 4)

    async def begin(self, rig: Rig) -> None:
        """Kill it."""
        rig.stack.asterisk.kill()

    async def end(self, rig: Rig) -> None:
        """Start it again."""
        await rig.stack.asterisk.start(rig.reactor)


@dataclass
class Stalled:
    """A process that stands still, as on a machine that swaps, and goes on."""

    kind: Kind
    who: Callable[[Rig], Iterable[int]]
    _stopped: list[int] = field(default_factory=list)

    async def begin(self, rig: Rig) -> None:
        """Stop it where it is."""
        self._stopped = list(self.who(rig))
        for process in self._stopped:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGSTOP)

    async def end(self, rig: Rig) -> None:
        """Let it go on."""
        del rig
        for process in self._stopped:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)


@dataclass
class PostgresStopped:
    """PostgreSQL stopped in order, connections refused meanwhile."""

    kind = Kind("postgresql-stopped", "postgresql", 3, 60)

    async def begin(self, rig: Rig) -> None:
        """Stop it."""
        await deferToThread(rig.cluster.stop)

    async def end(self, rig: Rig) -> None:
        """Start it again."""
        await rig.start_database()


@dataclass
class PostgresKilled:
    """Kill -9 of the postmaster, whose children then end by themselves."""

    kind = Kind("postgresql-killed", "postgresql", 0, 20)

    async def begin(self, rig: Rig) -> None:
        """Kill it."""
        pid = (rig.cluster_directory / "cluster" / "postmaster.pid").read_text().splitlines()[0]
        os.kill(int(pid), signal.SIGKILL)

    async def end(self, rig: Rig) -> None:
        """Start it again; it replays its log first."""
        await rig.start_database()


@dataclass
class TablesLocked:
    """Somebody holds the tables, as a careless migration or a backup would: everything is slow, nothing refused."""

    kind = Kind("postgresql-slow", "postgresql", 5, 5)
    _connection: Any = None

    async def begin(self, rig: Rig) -> None:
        """Lock them."""
        self._connection = await deferToThread(_locked, rig.cluster.dsn())

    async def end(self, rig: Rig) -> None:
        """Let go."""
        del rig
        self._connection.close()


def _locked(dsn: str) -> Any:
    connection = psycopg2.connect(dsn)
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
    return connection


@dataclass
class MailDown:
    """Nobody listens where the mail server was."""

    kind = Kind("mail-down", "mail", 3, 20)

    async def begin(self, rig: Rig) -> None:
        """Stop it."""
        await rig.mailbox.stop()

    async def end(self, rig: Rig) -> None:
        """Listen again."""
        rig.mailbox.listen(rig.reactor, rig.mail_port)


@dataclass
class MailMisbehaves:
    """One of the mailbox's own faults, for a time."""

    kind: Kind
    fault: str

    async def begin(self, rig: Rig) -> None:
        """Misbehave from now on."""
        setattr(rig.mailbox.faults, self.fault, ENDLESS)

    async def end(self, rig: Rig) -> None:
        """Behave."""
        setattr(rig.mailbox.faults, self.fault, 0)


@dataclass
class DiskFull:
    """No byte of room is left on a file system of its own (see `give_room`)."""

    kind: Kind
    where: Callable[[Rig], Path]

    async def begin(self, rig: Rig) -> None:
        """Shrink it to what is in it."""
        path = self.where(rig)
        usage = os.statvfs(path)
        _remount(path, f"{(usage.f_blocks - usage.f_bfree) * usage.f_frsize}")

    async def end(self, rig: Rig) -> None:
        """Give it back its room."""
        _remount(self.where(rig), ROOM)


def give_room(path: Path) -> None:
    """Make ``path`` a file system of its own, in memory, which `DiskFull` can fill. For root, in its own name space."""
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM},mode=0755", "tmpfs", str(path)], check=True)


def _remount(path: Path, size: str) -> None:
    # 0 would mean no limit at all; what is a page more than there is fills up with the next write
    subprocess.run(["mount", "-o", f"remount,size={max(int(size), 4096) if size.isdigit() else size}", str(path)],
                   check=True)  # fmt: skip


@dataclass
class SecondVoxrec:
    """A second daemon with the same Stasis application and database, as after a careless failover."""

    kind = Kind("second-voxrec", "voxrec", 3, 10)
    _process: Process | None = None

    async def begin(self, rig: Rig) -> None:
        """Start it, with its own data directory and REST port."""
        settings = yaml.safe_load(rig.stack.config_file.read_text())
        settings["data_directory"] = str(rig.stack.directory / "second")
        settings["archive"]["directory"] = str(rig.stack.archive_directory)
        settings["rest"]["listen"] = f"tcp:{free_port(socket.SOCK_STREAM)}:interface={LOOPBACK}"
        config = rig.stack.config_file.with_name("second.yaml")
        config.touch(mode=0o600)
        config.write_text(yaml.safe_dump(settings))
        self._process = Process(
            dying_with_parent(rig.stack.daemon_command(config)),
            rig.stack.directory / "second.log",
            directory=rig.stack.directory,
        )

    async def end(self, rig: Rig) -> None:
        """Restart the first, which had to give way and takes over again; then stop the second, in order."""
        try:
            rig.stack.signal_voxrec(signal.SIGTERM)
            await rig.stack.voxrec_ended(STOP_SECONDS)
            rig.stack.launch_voxrec()
            await rig.well()
        finally:
            if self._process is not None:
                await self._process.stop(rig.reactor, STOP_SECONDS)


def every_fault(*, disks: bool) -> Sequence[Fault]:
    """Return one of each kind; those of full ``disks`` need file systems of their own."""
    faults: list[Fault] = [
        VoxrecKilled(),
        VoxrecRestarted(),
        Stalled(Kind("voxrec-stalled", "voxrec", 2, 2), lambda rig: [rig.stack.pid]),
        SecondVoxrec(),
        AsteriskKilled(),
        Stalled(Kind("asterisk-stalled", "asterisk", 2, 2), lambda rig: [rig.stack.asterisk.pid]),
        PostgresStopped(),
        PostgresKilled(),
        Stalled(Kind("postgresql-stalled", "postgresql", 3, 60), Rig.database_processes),
        TablesLocked(),
        MailDown(),
        MailMisbehaves(Kind("mail-greylists", "mail", 3, 20), "greylist"),
        MailMisbehaves(Kind("mail-refuses", "mail", 3, 20), "unavailable"),
        MailMisbehaves(Kind("mail-hangs", "mail", 3, 20), "hang"),
        MailMisbehaves(Kind("mail-drops", "mail", 3, 20), "drop"),
    ]
    if disks:
        faults += [
            DiskFull(Kind("spool-full", "spool", 2, 8), lambda rig: rig.stack.asterisk.recording_directory),
            DiskFull(Kind("archive-full", "archive", 3, 20), lambda rig: rig.stack.archive_directory),
        ]
    return faults


EXCUSES: Final = Excuses(
    # the last of them ends with a restart too
    refused=frozenset({"voxrec-killed", "voxrec-restarted", "second-voxrec"}),
    cut=frozenset({"asterisk-killed"}),
    unwritable=frozenset({"spool-full"}),
    stalled=frozenset({"asterisk-stalled"}),
    late=frozenset({"voxrec-stalled"}),
    resend=frozenset({
        "voxrec-killed", "postgresql-stopped", "postgresql-killed", "postgresql-stalled", "postgresql-slow",
    }),
)  # fmt: skip
"""What each kind of fault excuses; what is not named here excuses nothing."""
