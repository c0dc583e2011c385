"""A host of its own with a real systemd, in which the shipped unit starts voxrec."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any, Final

from tests.containers import tools
from tests.containers.runtime import Network, Result, first_process, kill_namespace
from tests.containers.tools import HOST, buildah, buildah_command, tools_command

_BOOT_SECONDS: Final = 120.0

# Removes the control groups of hosts that have ended; each is named after the process that has started it. One that is
# still in use, such as that of a process which this PID namespace does not show, cannot be removed.
_CLEAN_SCRIPT: Final = """\
mkdir -p /tmp/cgroup
mount -t cgroup2 cgroup2 /tmp/cgroup
for group in /tmp/cgroup/systemd-host-*; do
    kill -0 "${group##*-}" 2> /dev/null || [ ! -d "$group" ] ||
        find "$group" -depth -type d -exec rmdir {} + 2> /dev/null || true
done
"""
# Gives the new host a control group of its own, which systemd takes for the root of all.
_CGROUP_SCRIPT: Final = (
    f"set -e\n{_CLEAN_SCRIPT}"
    """\
mkdir "/tmp/cgroup/systemd-host-$$"
echo $$ > "/tmp/cgroup/systemd-host-$$/cgroup.procs"
umount /tmp/cgroup
"""
)
_UNSHARE: Final = "unshare --mount --pid --uts --ipc --cgroup --fork --kill-child=KILL --"
# The arguments: the working container of buildah and the file for /etc/hosts. unshare stays the parent of process 1,
# and ends with the test.
_RUN_SCRIPT: Final = f"""\
{_CGROUP_SCRIPT}
root=$(@BUILDAH@ mount "$1")
exec setpriv --pdeathsig KILL -- {_UNSHARE} sh -c "$0" systemd-host "$root" "$2" \\
    /lib/systemd/systemd --system --log-target=console --show-status=false
"""
# Does all that with a root file system that consists of the programs of this machine, and runs one of them.
_PROBE_SCRIPT: Final = f"""\
mount -t tmpfs tmpfs /tmp
{_CGROUP_SCRIPT}
mkdir -p /tmp/root/etc /tmp/root/tmp
touch /tmp/hosts /tmp/root/etc/hosts
for name in bin lib lib32 lib64 sbin usr; do
    if [ -L /$name ]; then
        cp -P /$name /tmp/root/
    elif [ -d /$name ]; then
        mkdir /tmp/root/$name
        mount --rbind /$name /tmp/root/$name
    fi
done
exec {_UNSHARE} sh -c "$0" systemd-host /tmp/root /tmp/hosts true
"""
# What systemd expects of a container (https://systemd.io/CONTAINER_INTERFACE): proc, sys, dev, run and its own cgroup.
_BOOT_SCRIPT: Final = """\
set -e
root=$1 hosts=$2
shift 2
mount --make-rprivate /
mount --rbind "$root" "$root"
mkdir -p "$root/sys" "$root/proc" "$root/dev" "$root/run"
mount --bind "$hosts" "$root/etc/hosts"
mount -t proc proc "$root/proc"
# the settings of the kernel are those of all hosts
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=0755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=0755 tmpfs "$root/dev"
for name in null zero full random urandom tty; do
    touch "$root/dev/$name"
    mount --bind /dev/$name "$root/dev/$name"
done
ln -s /proc/self/fd "$root/dev/fd"
ln -s pts/ptmx "$root/dev/ptmx"
mkdir "$root/dev/pts"
mkdir -m 1777 "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
cd "$root"
mkdir -p .host
pivot_root . .host
umount -l /.host
exec env --ignore-environment container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
"""
# The files of the test are not visible inside, so bodies are sent through the standard input.
_REQUEST: Final = """\
import json, ssl, sys, urllib.error as e, urllib.request as r
method, url, token, content_type, ca_file = sys.argv[1:]
q = r.Request(url, sys.stdin.buffer.read() or None, method=method)
q.add_header('Content-Type', content_type)
token and q.add_header('Authorization', 'Bearer ' + token)
context = ssl.create_default_context(cafile=ca_file)
try: a = r.urlopen(q, timeout=30, context=context)
except e.HTTPError as error: a = error
sys.stdout.buffer.write(b'%d\\n' % a.status + a.read())
"""


def reason_to_skip() -> str:
    """Return why systemd cannot run in namespaces on this machine, or an empty string.

    It does what booting a host does, except starting systemd, because there are many reasons: a capability or a system
    call that a container denies, no cgroup v2, a control group that is read-only, a /proc that is masked.
    """
    if reason := tools.reason_to_skip():
        return reason
    done = subprocess.run(
        ["unshare", "--mount", "--", "sh", "-c", _PROBE_SCRIPT, _BOOT_SCRIPT],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
        check=False,
    )
    if not done.returncode:
        return ""
    return f"systemd cannot run in namespaces here, run it privileged, with cgroup v2: {done.stderr.strip()}"


class SystemdHost:
    """A machine of an image with systemd, which `boot` boots and `remove` removes."""

    def __init__(self, image: str, network: Network, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.log = directory / "console.log"
        self._network = network
        self._container = buildah("from", "--pull-never", image)
        self._process: subprocess.Popen[bytes] | None = None

    def boot(self) -> None:
        """Start systemd, and wait until it has started everything."""
        script = _RUN_SCRIPT.replace("@BUILDAH@", " ".join(buildah_command()))
        hosts = f"{HOST}{self._network.hosts}"
        command = tools_command("sh", "-c", script, _BOOT_SCRIPT, self._container, hosts)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._network.enter(*command), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + _BOOT_SECONDS
        while not (self.pid and self._has_booted()):
            assert self._process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.2)

    def _has_booted(self) -> bool:
        return self.run("systemctl", "is-system-running").output.strip() in ("running", "degraded")

    @property
    def pid(self) -> int:
        """The process id of systemd outside; 0 if it does not run."""
        assert self._process is not None
        return first_process(self._process)

    def run(self, *program: str, data: bytes = b"") -> Result:
        """Run a program as root; return its exit status and what it prints."""
        done = self._run(program, data)
        return Result(done.returncode, done.stdout.decode() + done.stderr.decode())

    def _run(self, program: tuple[str, ...], data: bytes) -> subprocess.CompletedProcess[bytes]:
        pid = self.pid
        assert pid, self.log.read_text()
        command = [
            *("nsenter", f"--target={pid}", "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--root"),
            *("--wd", "--", "env", "--ignore-environment", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"),
        ]
        return subprocess.run([*command, *program], input=data, capture_output=True, check=False)

    def write(self, path: str, content: bytes, mode: int, group: str) -> None:
        """Write a file of root that a group can read."""
        script = 'mkdir -p "${1%/*}"; cat > "$1"; chgrp "$2" "$1"; chmod "$3" "$1"'
        done = self.run("sh", "-ec", script, "write", path, group, f"{mode:o}", data=content)
        assert done.status == 0, done.output

    def write_drop_in(self, content: str) -> None:
        """Change the unit by a drop-in, as an administrator does (systemctl edit)."""
        self.write("/etc/systemd/system/voxrec.service.d/override.conf", content.encode(), 0o644, "root")
        done = self.run("systemctl", "daemon-reload")
        assert done.status == 0, done.output

    def unit_property(self, name: str) -> str:
        """Return a property of voxrec.service (systemctl show)."""
        return self.run("systemctl", "show", "--property", name, "--value", "voxrec").output.strip()

    def journal(self) -> str:
        """Return what voxrec.service has logged."""
        return self.run("journalctl", "--unit=voxrec", "--output=cat", "--no-pager").output

    def request(
        self, method: str, url: str, token: str, body: object = b"", content_type: str = "application/json"
    ) -> tuple[int, bytes]:
        """Send an HTTPS request from inside; return status and body. A body that is no bytes is sent as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        arguments = (method, url, token, content_type, "/etc/voxrec/certificate.pem")
        done = self._run(("python3", "-c", _REQUEST, *arguments), data)
        assert done.returncode == 0, f"{method} {url}: {done.stderr.decode()}"
        status, _, content = done.stdout.partition(b"\n")
        return int(status), content

    def request_json(self, method: str, url: str, token: str, body: object = b"", **options: str) -> Any:
        """Send a request that must succeed, and return its decoded body."""
        status, content = self.request(method, url, token, body, **options)
        assert status < 300, f"{method} {url}: {status} {content.decode()}"
        return json.loads(content)

    def remove(self) -> None:
        """Kill everything that runs on the host, and remove it. To be called once or more."""
        if self._process is not None:
            kill_namespace(self._process)
            self._process = None
            subprocess.run(tools_command("sh", "-c", _CLEAN_SCRIPT), check=False)
        container, self._container = self._container, ""
        if container:
            buildah("rm", container)
