"""Check of the priority of Asterisk, without which audio waits while other programs use the CPUs."""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from voxrec.config import Config
from voxrec.doctor.finding import Finding, ok, skipped, warning

CHECK: Final = "asterisk priority"
_PROC: Final = Path("/proc")
_PROGRAM: Final = "asterisk"
_REALTIME: Final = {os.SCHED_RR: "SCHED_RR", os.SCHED_FIFO: "SCHED_FIFO"}
_LISTEN: Final = "0A"  # the state TCP_LISTEN in /proc/net/tcp


def check_scheduling(config: Config) -> Iterator[Finding]:
    """Check that the Asterisk of this machine has real-time priority, as with its option -p."""
    parts = urlsplit(config.asterisk.url)
    if not _is_local(parts.hostname or ""):
        yield skipped(CHECK, f"Asterisk runs on {parts.hostname}; see there: ps -eo cls,rtprio,comm")
        return
    processes = _processes(_PROGRAM)
    if len(processes) > 1:
        sockets = _listening_sockets(parts.port or 80)
        processes = [pid for pid in processes if sockets & _open_sockets(pid)]
    if len(processes) != 1:
        yield skipped(CHECK, "this user cannot find the process of Asterisk; see ps -eo cls,rtprio,comm")
        return
    try:
        policy = os.sched_getscheduler(processes[0])
    except OSError as error:
        yield skipped(CHECK, f"process {processes[0]}: {error.strerror}")
        return
    yield check_policy(policy & ~os.SCHED_RESET_ON_FORK, processes[0])


def check_policy(policy: int, pid: int) -> Finding:
    """Check the scheduling policy of Asterisk's process."""
    if (name := _REALTIME.get(policy)) is not None:
        return ok(CHECK, f"real time ({name}), process {pid}")
    return warning(
        CHECK,
        f"process {pid} has no real-time priority: audio waits, and is lost, while other programs use all CPUs",
        "start Asterisk as root with -p, as the units of Debian and Ubuntu do; if it has -p, the kernel, the container "
        'or the unit denies it: docs/service.md, "Priorities"',
    )


def _is_local(host: str) -> bool:
    with suppress(OSError):
        addresses = {str(each[4][0]) for each in socket.getaddrinfo(host, None)}
        return all(address == "::1" or address.startswith("127.") for address in addresses)
    return False


def _processes(name: str) -> list[int]:
    """Return the ids of the processes that run a program."""
    found = []
    for entry in _PROC.iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and (entry / "comm").read_text() == f"{name}\n":
                found.append(int(entry.name))
    return found


def _listening_sockets(port: int) -> set[str]:
    """Return the inodes of the sockets that listen on a TCP port."""
    found = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (_PROC / "net" / table).read_text().splitlines()[1:]:
                _, local, _, state, *fields = line.split()
                if state == _LISTEN and int(local.rpartition(":")[2], 16) == port:
                    found.add(fields[5])
    return found


def _open_sockets(pid: int) -> set[str]:
    """Return the inodes of the sockets of a process; empty if this user may not see them."""
    found = set()
    with suppress(OSError):
        for descriptor in (_PROC / str(pid) / "fd").iterdir():
            with suppress(OSError):
                target = str(descriptor.readlink())
                if target.startswith("socket:["):
                    found.add(target[8:-1])
    return found
