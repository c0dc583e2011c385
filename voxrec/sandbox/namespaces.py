"""How a program is run inside a root file system: another root, private mounts, and no way to outlive us.

Not a container: network and processes stay the machine's own, so loopback ports are shared and signals go straight to
the program.
"""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from voxrec.sandbox.process import dying_with_parent

MOUNT_POINT = PurePosixPath("/mnt")
"""Where a program in another root finds its instance directory."""

# No fork and no process namespace anywhere in this chain: each step execs the next, so the id that Popen knows is the
# program's own. The death signal comes last because changing root and credentials clears it. The root is read-only,
# so one instance cannot spoil what the others are started from.
# chroot is in a directory that a normal user's PATH leaves out.
_ENTER = """\
set -e
PATH=$PATH:/usr/sbin:/sbin
root=$1 instance=$2
shift 2
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
exec chroot "$root" setpriv --pdeathsig KILL -- "$@"
"""


@dataclass(frozen=True)
class Cell:
    """A place to run programs in: another root (``rootfs``), or the machine's own when that is None.

    ``directory`` is the instance's own; it is all that a program in the cell can write to.
    """

    rootfs: Path | None
    directory: Path

    def inside(self, path: Path) -> str:
        """Return how a program in the cell names ``path``, which lies in the instance's directory."""
        if self.rootfs is None:
            return str(path)
        return str(MOUNT_POINT / path.relative_to(self.directory))

    def prepare(self) -> None:
        """Make the directory, and the two files that answer every question about names without the network.

        Asterisk looks up the machine's own name for every RTP session and would wait for a name server each time.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        names = dict.fromkeys(["localhost", socket.gethostname()])
        (self.directory / "hosts").write_text(f"127.0.0.1 {' '.join(names)}\n")
        (self.directory / "resolv.conf").write_text("")

    def command(self, program: Sequence[str]) -> list[str]:
        """Return the command line that runs ``program`` in the cell, under the process id that it is started with."""
        if self.rootfs is None:
            return dying_with_parent(program)
        # A user may mount only where it is root: in a user namespace of its own.
        namespaces = ["--mount"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--mount"]
        values = [str(self.rootfs), str(self.directory)]
        return ["unshare", *namespaces, "--", "sh", "-c", _ENTER, "voxrec-cell", *values, *program]
