"""A small container runtime, which starts images as Docker does, because Docker and Podman do not run everywhere.

A container has its own mounts and process ids, a read-only root file system, no capabilities and no way to gain any.
Its processes see only what an image, a compose file or a test has mounted. All containers of a `Network` share one
network with a loopback interface only; the names of services lead there.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from tests.containers.tools import HOST, buildah, buildah_command, tools_command
from tests.live.stock_asterisk import LOOPBACK_UP

# The arguments: the working container of buildah, the file for /etc/hosts, the mounts up to "--" and the program. A
# mount is source, target and options; an empty source is a tmpfs. unshare stays the parent of process 1, and ends with
# the test.
_RUN_SCRIPT: Final = """\
set -e
root=$(@BUILDAH@ mount "$1")
shift
exec setpriv --pdeathsig KILL -- unshare --mount --pid --fork --kill-child -- sh -c "$0" runtime "$root" "$@"
"""
_START_SCRIPT: Final = """\
set -e
root=$1 hosts=$2
shift 2
mount --bind "$root" "$root"
mount --make-private "$root"
while [ "$1" != -- ]; do
    if [ -f "$1" ]; then
        mkdir -p "$(dirname "$root$2")"
        touch "$root$2"
    else
        mkdir -p "$root$2"
    fi
    if [ -n "$1" ]; then
        mount --bind "$1" "$root$2"
        [ -z "$3" ] || mount -o "remount,bind,$3" "$root$2"
    else
        mount -t tmpfs -o "$3" tmpfs "$root$2"
    fi
    shift 3
done
shift
mount --bind "$hosts" "$root/etc/hosts"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=0755 tmpfs "$root/dev"
for name in null zero full random urandom tty; do
    touch "$root/dev/$name"
    mount --bind /dev/$name "$root/dev/$name"
done
mkdir -m 1777 "$root/dev/shm"
mount -o remount,bind,ro "$root"
cd "$root"
exec chroot "$root" "$@"
"""


@dataclass(frozen=True)
class Mount:
    """A directory or file of the host at ``target`` in the container; without ``source`` an empty tmpfs.

    ``options`` are those of mount(8): ``ro``, or ``uid=5060,mode=0750`` for a tmpfs.
    """

    source: Path | None
    target: str
    options: str = ""


@dataclass(frozen=True)
class Result:
    """What a program in a container returned: its exit status and its output."""

    status: int
    output: str


class Network:
    """A network for containers, with a loopback interface only, which lasts until `close`."""

    def __init__(self, directory: Path, names: Sequence[str] = ()) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.hosts = directory.absolute() / "hosts"
        self.hosts.write_text(f"127.0.0.1 localhost {os.uname().nodename} {' '.join(names)}\n")
        self._holder = subprocess.Popen(
            ["unshare", "--net", "--", sys.executable, "-c", f"{LOOPBACK_UP}\nprint(flush=True)\ninput()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        self._holder.stdout.readline()

    def enter(self, *command: str) -> list[str]:
        """Return the command that runs another one in this network."""
        return ["nsenter", f"--target={self._holder.pid}", "--net", "--", *command]

    def request(self, method: str, url: str, token: str = "", body: object = None) -> Result:
        """Send an HTTP request; return the status (0 without a connection) and the body of the response."""
        script = (
            "import json, sys, urllib.request as r, urllib.error as e\n"
            "method, url, token, body = sys.argv[1:]\n"
            "q = r.Request(url, body.encode() or None, method=method)\n"
            "q.add_header('Content-Type', 'application/json')\n"
            "token and q.add_header('Authorization', 'Bearer ' + token)\n"
            "try: a = r.urlopen(q, timeout=10)\n"
            "except e.HTTPError as error: a = error\n"
            "except OSError: sys.exit('0')\n"
            "print(a.status); print(a.read().decode())\n"
        )
        text = "" if body is None else json.dumps(body)
        done = subprocess.run(
            self.enter(sys.executable, "-c", script, method, url, token, text),
            capture_output=True,
            text=True,
            check=False,
        )
        status, _, content = done.stdout.partition("\n")
        return Result(int(status or 0), content or done.stderr)

    def close(self) -> None:
        """End the network. Containers that still run keep it."""
        self._holder.communicate(b"\n")


@cache
def image_config(image: str) -> dict[str, Any]:
    """Return the configuration of an image: User, Env, Entrypoint, Healthcheck and so on."""
    inspected = json.loads(buildah("inspect", "--type=image", image))
    return dict(inspected["Docker"]["config"])


def first_process(unshare: "subprocess.Popen[bytes]") -> int:
    """Return the process id, on the host, of process 1 of a namespace that unshare(1) has made; 0 if it has ended."""
    try:
        children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children").read_text().split()
    except FileNotFoundError:
        return 0
    return int(children[0]) if children else 0


def kill_namespace(unshare: "subprocess.Popen[bytes]") -> None:
    """Kill everything that runs in a namespace that unshare(1) has made, and unshare."""
    if pid := first_process(unshare):
        os.kill(pid, signal.SIGKILL)  # with process 1 all others of its namespace end, and then unshare
    else:
        unshare.kill()
    unshare.wait()


class Container:
    """A container of an image, which `start` starts and `stop` stops.

    ``environment`` is added to the image's, ``command`` replaces its Cmd, ``entrypoint`` its Entrypoint.
    """

    def __init__(
        self,
        image: str,
        network: Network,
        directory: Path,
        *,
        mounts: Sequence[Mount] = (),
        environment: Mapping[str, str] | None = None,
        entrypoint: Sequence[str] | None = None,
        command: Sequence[str] | None = None,
    ) -> None:
        config = image_config(image)
        self.config = config
        self._network = network
        self._mounts = mounts
        self._environment = dict(variable.split("=", 1) for variable in config["Env"]) | dict(environment or {})
        self._program = [
            *(config["Entrypoint"] if entrypoint is None else entrypoint),
            *((config["Cmd"] or []) if command is None else command),
        ]
        directory.mkdir(parents=True, exist_ok=True)
        self.log = directory / "log"
        self._container = buildah("from", "--pull-never", image)
        self.user = _user(self.read("/etc/passwd"), self.read("/etc/group"), config["User"])
        self._process: subprocess.Popen[bytes] | None = None

    def shell(self, commands: str) -> str:
        """Run shell commands as root, outside, in the root directory of the image; return their output."""
        mount = " ".join(buildah_command("mount", self._container))
        done = subprocess.run(
            tools_command("sh", "-ec", f'cd "$({mount})"\n{commands}'), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{commands}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def read(self, path: str) -> str:
        """Return the content of a file of the image."""
        return self.shell(f"cat .{path}")

    def make_volume(self, path: str, directory: Path) -> Path:
        """Fill a new directory as Docker fills a new volume: with what the image has at ``path``, with its owners."""
        if not directory.exists():
            directory.mkdir(parents=True)
            self.shell(f"cp --archive --no-target-directory .{path} {HOST}{directory.absolute()}")
        return directory

    def start(self) -> None:
        """Start the program of the container."""
        script = _RUN_SCRIPT.replace("@BUILDAH@", " ".join(buildah_command()))
        mounts: list[str] = []
        for mount in self._mounts:
            source = "" if mount.source is None else f"{HOST}{mount.source.absolute()}"
            mounts += [source, mount.target, mount.options]
        command = tools_command(
            *("sh", "-c", script, _START_SCRIPT, self._container, f"{HOST}{self._network.hosts}", *mounts, "--"),
            *self._with_credentials(self._program, "--pdeathsig", "KILL"),
        )
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._network.enter(*command), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _with_credentials(self, program: Sequence[str], *options: str) -> list[str]:
        """Return the command that runs ``program`` as the user of the image; ``options`` are those of setpriv(1).

        The change of the user cancels the signal that `unshare --kill-child` has asked the kernel for (prctl(2),
        PR_SET_PDEATHSIG), so that process 1 has to ask for it again.
        """
        user = self.user
        return [
            *(
                "setpriv",
                *options,
                f"--reuid={user.uid}",
                f"--regid={user.gid}",
                f"--groups={','.join(map(str, user.groups))}",
            ),
            *("--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--", "env", "--ignore-environment"),
            *(f"{name}={value}" for name, value in self._environment.items()),
            *("env", f"--chdir={self.config['WorkingDir'] or '/'}", *program),
        ]

    @property
    def pid(self) -> int:
        """The process id, on the host, of process 1 of the container; 0 if it does not run."""
        assert self._process is not None
        return first_process(self._process)

    def run(self, *program: str) -> Result:
        """Run a program in the running container, as its user (docker exec)."""
        if not self.pid:
            return Result(1, "the container does not run")
        done = subprocess.run(self._enter(program), capture_output=True, text=True, check=False)
        return Result(done.returncode, done.stdout + done.stderr)

    def run_in_background(self, *program: str) -> "subprocess.Popen[bytes]":
        """Start a program in the running container, as its user. It ends with the container at the latest."""
        return subprocess.Popen(self._enter(program), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _enter(self, program: Sequence[str]) -> list[str]:
        command = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--net", "--root", "--wd", "--"]
        return [*command, *self._with_credentials(program)]

    def check_health(self, seconds: float) -> Result:
        """Run the health check until it succeeds, for at most ``seconds``; return its last result."""
        _, *program = self.config["Healthcheck"]["Test"]
        deadline = time.monotonic() + seconds
        while (result := self.run(*program)).status and self.running and time.monotonic() < deadline:
            time.sleep(0.2)
        return result

    @property
    def running(self) -> bool:
        """Whether the program runs."""
        return self._process is not None and self._process.poll() is None

    def kill_parent(self) -> None:
        """Kill the process that has started the program, as the kernel does when the process of the tests ends."""
        assert self._process is not None
        self._process.kill()

    def stop(self, seconds: float) -> int:
        """Send the stop signal of the image to process 1, and return the exit status (docker stop).

        Raises AssertionError if it has not ended after ``seconds``.
        """
        os.kill(self.pid, signal.Signals[self.config["StopSignal"]])
        return self.wait(seconds)

    def wait(self, seconds: float) -> int:
        """Wait until the program ends, and return its exit status. Raises AssertionError after ``seconds``."""
        assert self._process is not None
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"did not end within {seconds:g} s:\n{self.log.read_text()}") from None

    def remove(self) -> None:
        """Kill everything that runs in the container, and remove it. To be called once or more."""
        if self._process is not None:
            kill_namespace(self._process)
        container, self._container = self._container, ""
        if container:
            buildah("rm", container)


@dataclass(frozen=True)
class User:
    """Numeric ids of the user that an image runs as; ``groups`` are the supplementary ones."""

    uid: int
    gid: int
    groups: Sequence[int] = field(default=())


def _user(passwd: str, group: str, name: str) -> User:
    """Return the ids of the user of an image as Docker does, which reads the image's own tables."""
    for account, _, uid, gid, *_ in _rows(passwd):
        if name in (account, uid):
            groups = [int(id_) for _, _, id_, members in _rows(group) if account in members.split(",")]
            return User(int(uid), int(gid), [int(gid), *groups])
    raise AssertionError(f"the image has no account {name}")


def _rows(table: str) -> Iterator[list[str]]:
    return (line.split(":") for line in table.splitlines())
