"""Run programs in a mount namespace with another root file system.

This is not a container: network and process ids are those of the host, so loopback ports are shared and signals go
directly to the program.
"""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from voxrec.sandbox.process import credential_options, with_parent_death_signal

MOUNT_POINT = PurePosixPath("/mnt")
"""Path under which a program in another root sees its instance directory."""

# There is no fork and no process namespace in this chain: each step execs the next, so the process id that Popen knows
# is that of the program. setpriv comes last because chroot and a change of credentials clear the death signal. The root
# is mounted read-only, so that one instance cannot change what the others start from.
# chroot is in /usr/sbin, which is not in a normal user's PATH.
_ENTER_SCRIPT = """\
set -e
PATH=$PATH:/usr/sbin:/sbin
root=$1 instance=$2 credentials=$3
shift 3
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs tmpfs "$root/run"
mount --bind "$instance/hosts" "$root/etc/hosts"
mount --bind "$instance/resolv.conf" "$root/etc/resolv.conf"
mount --rbind "$instance" "$root/mnt"
cd "$root"
"""
_RUN_PROGRAM: Final = 'exec chroot "$root" setpriv $credentials --pdeathsig KILL -- "$@"'
# A program that changes its account loses the death signal. Therefore the first process of a process namespace is the
# shell, which keeps it: when it ends, the kernel kills all others.
_RUN_PROGRAM_OF_SEVERAL_PROCESSES: Final = 'chroot "$root" setpriv $credentials -- "$@" || exit $?'


@dataclass(frozen=True)
class MountNamespace:
    """A mount namespace with the root file system ``rootfs``, or the host's own if ``rootfs`` is None.

    ``directory`` belongs to one instance; a program in another root can write only there.
    """

    rootfs: Path | None
    directory: Path

    def path_inside(self, path: Path) -> str:
        """Return the path under which a program in the namespace sees ``path``, a path below ``directory``."""
        if self.rootfs is None:
            return str(path)
        return str(MOUNT_POINT / path.relative_to(self.directory))

    def prepare(self) -> None:
        """Create the instance directory with the files ``hosts`` and ``resolv.conf``.

        Asterisk looks up the host's own name for every RTP session, and would wait for a name server each time.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        names = dict.fromkeys(["localhost", socket.gethostname()])
        (self.directory / "hosts").write_text(f"127.0.0.1 {' '.join(names)}\n")
        (self.directory / "resolv.conf").write_text("")

    def command(self, program: Sequence[str], account: int | None = None, *, own_processes: bool = False) -> list[str]:
        """Return the command that runs ``program`` in the namespace and keeps the process id it is started with.

        ``account`` is the id of the user and group that run it, by default those of this process; only root can choose.
        ``own_processes`` is for a program of several processes: they all end with the process that is started, which is
        their parent instead of the program.
        """
        if self.rootfs is None:
            return with_parent_death_signal(program, account)
        # An unprivileged user may mount only as root of a user namespace.
        namespaces = ["--mount"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--mount"]
        values = [str(self.rootfs), str(self.directory), " ".join(credential_options(account))]
        run = _RUN_PROGRAM_OF_SEVERAL_PROCESSES if own_processes else _RUN_PROGRAM
        enter = ["--", "sh", "-c", _ENTER_SCRIPT + run, "voxrec-namespace", *values, *program]
        if own_processes:
            return with_parent_death_signal(["unshare", *namespaces, "--pid", "--fork", "--kill-child=KILL", *enter])
        return ["unshare", *namespaces, *enter]
