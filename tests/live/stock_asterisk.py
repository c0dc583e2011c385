"""An Asterisk with the unchanged configuration of its Debian package, in a network of its own.

The stock configuration uses fixed ports and paths, so it runs in its own network, and in the root file system of the
package with copies of the directories that are written to.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from tests.live.live_test_case import rootfs_of
from voxrec.sandbox.rootfs import Recipe

ROOT: Final = Path(__file__).parents[2]
SECONDS: Final = 60.0
_WRITABLE: Final = ("etc/asterisk", "var/lib/asterisk", "var/log/asterisk", "var/spool/asterisk")
_EMPTY: Final = ("etc/voxrec", "run")
LOOPBACK_UP: Final = """\
import fcntl, socket, struct
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
    fcntl.ioctl(link, 0x8914, struct.pack("16sh14x", b"lo", 1 | 64))  # SIOCSIFFLAGS: IFF_UP | IFF_RUNNING
"""
# The arguments: the root file system, the directory of this instance, a Python, a program that sets up the network, the
# directories. An overlay needs a newer kernel than bind mounts.
_SCRIPT: Final = """\
set -e
root=$1 instance=$2
"$3" -c "$4"
shift 4
mount --rbind "$root" "$root"
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
mount --bind "$instance/tree/etc-files/passwd" "$root/etc/passwd"
mount --bind "$instance/tree/etc-files/group" "$root/etc/group"
mount --bind "$instance/tree/etc-files/hosts" "$root/etc/hosts"
while [ "$1" != -- ]; do
    mount --bind "$instance/tree/$1" "$root/$1"
    shift
done
shift
mkdir -p "$root/run/asterisk"
mount --rbind "$instance/source" "$root/mnt"
cd "$root"
exec chroot "$root" setpriv --pdeathsig KILL -- "$@"
"""


class StockAsterisk:
    """A root file system with Debian's Asterisk, which a test configures with shell commands and starts."""

    def __init__(self, directory: Path, recipe: Recipe) -> None:
        root = rootfs_of(recipe)
        assert root is not None, "needs the root file system of the Debian package"
        self._root = root
        self._directory = directory.absolute()
        self._process: subprocess.Popen[bytes] | None = None
        for name in _WRITABLE:
            subprocess.run(["cp", "--archive", str(root / name), str(self._parent_of(name))], check=True)
        for name in _EMPTY:
            (self._directory / "tree" / name).mkdir(parents=True, exist_ok=True)
            if not (root / name).exists():
                (root / name).mkdir()
        files = self._parent_of("etc-files/passwd")
        for name in ("passwd", "group"):
            account = "voxrec:x:990:990::/:/bin/false\n" if name == "passwd" else "voxrec:x:990:\n"
            (files / name).write_text((root / "etc" / name).read_text() + account)
        (files / "hosts").write_text(f"127.0.0.1 localhost {os.uname().nodename}\n")
        shutil.copytree(ROOT / "etc", self._directory / "source" / "etc")

    def _parent_of(self, name: str) -> Path:
        parent = (self._directory / "tree" / name).parent
        parent.mkdir(parents=True, exist_ok=True)
        return parent

    def path(self, path: str) -> Path:
        """Return the host's path of a file below one of the writable directories."""
        return self._directory / "tree" / path.lstrip("/")

    def _command(self, *program: str) -> list[str]:
        namespaces = ["--mount", "--net"]
        if os.geteuid() != 0:
            namespaces += ["--user", "--map-root-user", "--map-auto"]
        arguments = [str(self._root), str(self._directory), sys.executable, LOOPBACK_UP, *_WRITABLE, *_EMPTY]
        return ["unshare", *namespaces, "--", "sh", "-c", _SCRIPT, "stock-asterisk", *arguments, "--", *program]

    def run_shell(self, commands: str) -> None:
        """Run shell commands as root inside, in a directory with the sources' ``etc``."""
        done = subprocess.run(
            self._command("sh", "-e", "-c", f"cd /mnt\n{commands}"), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"

    def start(self) -> None:
        """Start Asterisk and wait until it is fully booted."""
        log = (self._directory / "asterisk.log").open("wb")
        with log:
            self._process = subprocess.Popen(
                self._command("asterisk", "-f"), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + SECONDS
        while "fully booted" not in self.console("core waitfullybooted"):
            assert self._process.poll() is None, (self._directory / "asterisk.log").read_text()
            assert time.monotonic() < deadline, "Asterisk does not start"
            time.sleep(0.2)

    def stop(self) -> None:
        """Kill Asterisk."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def console(self, command: str) -> str:
        """Run a command on Asterisk's console and return its output."""
        return self.run_in_network("asterisk", "-rx", command)

    def run_in_network(self, *program: str) -> str:
        """Run a program of the root file system where Asterisk runs, and return its output."""
        return self._enter("--mount", "--root", "--wd=/", *program)

    def run_on_host(self, *program: str) -> str:
        """Run a program of the host in Asterisk's network, and return its output."""
        return self._enter(*program)

    def _enter(self, *arguments: str) -> str:
        assert self._process is not None
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        command = ["nsenter", f"--target={self._process.pid}", "--net", *user, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr
