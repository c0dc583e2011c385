"""Root file systems with a real Asterisk and SIPp in them, made by mmdebstrap from the machine's own Debian mirror.

Built once for each recipe and kept in the user's cache directory; the host gets no package and needs no root.
``python -m voxrec.sandbox.rootfs`` builds the default one.
"""

import fcntl
import hashlib
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from voxrec.sandbox.errors import SandboxError

Say = Callable[[str], None]

OLDEST_ASTERISK = 16
NEEDED_BYTES = 2_000_000_000
LAYOUT = 1
"""Counted up when root file systems are to be built anew although their recipes stay the same."""

ANOTHER_WAY = "install Asterisk 16 or newer and SIPp yourself, and set VOXREC_ASTERISK=host"


@dataclass(frozen=True)
class Recipe:
    """What is in a root file system: a Debian suite and packages of it. Made anew when any of these changes."""

    name: str
    suite: str
    packages: tuple[str, ...]

    @property
    def key(self) -> str:
        """The name of its directory in the cache: readable, and different for everything that differs in content."""
        content = "\n".join([str(LAYOUT), self.suite, *self.packages])
        return f"{self.name}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


_PACKAGES = ("asterisk", "asterisk-modules", "asterisk-core-sounds-en-wav", "sip-tester")
ASTERISK_22 = Recipe("asterisk-22", "sid", _PACKAGES)
ASTERISK_16 = Recipe("asterisk-16", "bullseye", _PACKAGES)


def cache_directory() -> Path:
    """Return where root file systems are kept (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The specification tells programs to ignore a relative path.
    home = Path(base) if base.startswith("/") else Path.home() / ".cache"
    return home / "voxrec" / "rootfs"


def asterisk_rootfs(say: Say, recipe: Recipe = ASTERISK_22) -> Path | None:
    """Return the root to run Asterisk and SIPp in: the recipe's, or None for the machine's own (VOXREC_ASTERISK=host).

    Blocks, for half a minute where the root file system has yet to be built.
    """
    choice = os.environ.get("VOXREC_ASTERISK", "")
    if not choice:
        return ensure_rootfs(recipe, say)
    if choice != "host":
        raise SandboxError(f"VOXREC_ASTERISK is {choice!r}; it can be 'host', or unset for an Asterisk of our own")
    version = host_asterisk_version()
    if version < OLDEST_ASTERISK:
        raise SandboxError(f"VOXREC_ASTERISK=host, but the Asterisk on PATH is {version}; {OLDEST_ASTERISK} is needed")
    return None


def host_asterisk_version() -> int:
    """Return the major version of the Asterisk on PATH."""
    if shutil.which("asterisk") is None:
        raise SandboxError("VOXREC_ASTERISK=host, but there is no asterisk on PATH: install it, or unset the variable")
    answer = _output(["asterisk", "-V"])
    found = re.match(r"Asterisk (?:certified/)?(\d+)", answer)
    if found is None:
        raise SandboxError(f"the asterisk on PATH does not tell its version: {answer!r}")
    return int(found[1])


def ensure_rootfs(recipe: Recipe, say: Say) -> Path:
    """Return the recipe's root file system, building it (about half a minute, 400 MB) where the cache has none.

    Blocks. Progress goes to ``say``, a line at a time. Safe to call from several programs at once.
    SandboxError tells what stands in the way and what to do about it.
    """
    cache = cache_directory()
    root = cache / recipe.key
    if root.is_dir():
        return root
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{recipe.key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Another program may have built it while we waited.
        if not root.is_dir():
            _build(recipe, root, say)
    return root


def bootstrap_command(program: str, recipe: Recipe, mirror: str | None, apt_options: Sequence[str]) -> list[str]:
    """Return the mmdebstrap line that prints the recipe's root file system as a tar archive."""
    return [
        program,
        f"--mode={'root' if os.geteuid() == 0 else 'unshare'}",
        "--variant=minbase",
        "--format=tar",
        f"--include={','.join(recipe.packages)}",
        # An old suite's, or a mirror's, Release file may be past its date; its signature is checked all the same.
        '--aptopt=Acquire::Check-Valid-Until "false"',
        *(f"--aptopt={option}" for option in apt_options),
        recipe.suite,
        "-",
        *([mirror] if mirror else []),
    ]


def debian_mirror(targets: str) -> str | None:
    """Return the Debian mirror named in what ``apt-get indextargets`` printed; None when it names none.

    Repositories of other makers, and Debian's security and back-port ones, carry another origin or label.
    """
    for line in targets.splitlines():
        address, origin, label, *_ = [*line.split("|"), "", ""]
        if (origin, label) == ("Debian", "Debian"):
            return address
    return None


def _build(recipe: Recipe, root: Path, say: Say) -> None:
    _check_machine(root.parent)
    # A plain sibling name: the lock is ours, so what lies there is a build that was cut off.
    unfinished = root.with_name(f"{root.name}.building")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        with tempfile.TemporaryDirectory(dir=root.parent, prefix="apt-") as workshop:
            apt = _Apt(Path(workshop), say)
            command = bootstrap_command(apt.mmdebstrap(), recipe, apt.mirror(), apt.network_options())
            say(f"Building {recipe.name} from Debian {recipe.suite} ...")
            _unpack(command, unfinished, say)
        # Where a cell mounts its own answers (voxrec.sandbox.namespaces).
        for name in ("hosts", "resolv.conf"):
            place = unfinished / "etc" / name
            place.unlink(missing_ok=True)
            place.touch()
        unfinished.rename(root)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    say(f"{recipe.name} is in {root}")


def _unpack(command: list[str], directory: Path, say: Say) -> None:
    # Everything belongs to whoever builds, so that the cache can be removed like any other; no device nodes.
    unpack = ["tar", "--extract", "--no-same-owner", "--exclude=./dev/*", f"--directory={directory}"]
    heard: deque[str] = deque(maxlen=25)
    # Both complain into one pipe: what goes wrong last (a full disk, say) may be either's to tell.
    listening, complaining = os.pipe()
    with (
        os.fdopen(listening, errors="replace") as complaints,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaining) as bootstrap,
        subprocess.Popen(unpack, stdin=bootstrap.stdout, stderr=complaining) as tar,
    ):
        # Only they hold these ends now: should tar fail, mmdebstrap must notice, and we when both have ended.
        os.close(complaining)
        if bootstrap.stdout is not None:
            bootstrap.stdout.close()
        for line in complaints:
            heard.append(line.rstrip())
            say(f"  {line.rstrip()}")
    if bootstrap.returncode or tar.returncode:
        raise SandboxError("\n".join(["mmdebstrap could not build the root file system; its last words:", *heard]))


def _check_machine(cache: Path) -> None:
    if shutil.which("apt-get") is None:
        raise SandboxError(f"the sandbox is built with apt, which this machine has not: {ANOTHER_WAY}")
    free = shutil.disk_usage(cache).free
    if free < NEEDED_BYTES:
        raise SandboxError(
            f"{cache} has {free // 1_000_000} MB free and a root file system takes up to {NEEDED_BYTES // 1_000_000} "
            "MB while it is built: make room, or set XDG_CACHE_HOME to a place with more"
        )
    if os.geteuid() == 0:
        _check_mounting()
    else:
        _check_namespaces(_user_name())


def _check_mounting() -> None:
    if not _succeeds(["unshare", "--mount", "true"]):
        raise SandboxError(
            "this root may not mount (a container without the right?): give it CAP_SYS_ADMIN (docker run "
            f"--privileged), or {ANOTHER_WAY}"
        )


def _check_namespaces(user: str) -> None:
    if not _succeeds(["unshare", "--user", "--map-root-user", "--mount", "true"]):
        raise SandboxError(
            "this machine gives normal users no user namespace: allow it (sysctl kernel.unprivileged_userns_clone=1 or "
            "kernel.apparmor_restrict_unprivileged_userns=0, whichever the machine knows), build as root, or "
            f"{ANOTHER_WAY}"
        )
    if shutil.which("newuidmap") is None:
        raise SandboxError("building as a normal user needs newuidmap: apt-get install uidmap")
    for name in ("/etc/subuid", "/etc/subgid"):
        table = Path(name)
        lines = table.read_text().splitlines() if table.exists() else []
        if not any(line.split(":")[0] in {user, str(os.getuid())} for line in lines):
            raise SandboxError(
                f"{name} gives {user} no range of ids: "
                f"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"
            )


class _Apt:
    """The machine's apt, asked where packages come from; with lists of its own where the machine has none."""

    def __init__(self, workshop: Path, say: Say) -> None:
        self._workshop = workshop
        self._say = say
        self._options: list[str] = []

    def mirror(self) -> str | None:
        """Return the Debian mirror that this machine uses; None leaves the choice to mmdebstrap."""
        return debian_mirror(self._targets())

    def network_options(self) -> list[str]:
        """Return how this machine's apt reaches the network (proxies, say), as lines of apt's configuration."""
        return [
            line for line in _output(["apt-config", "dump", "Acquire::http", "Acquire::https"]).splitlines() if line
        ]

    def mmdebstrap(self) -> str:
        """Return the program: the one on PATH, or one fetched as a package and unpacked without installing it."""
        if (installed := shutil.which("mmdebstrap")) is not None:
            return installed
        self._say("Fetching mmdebstrap ...")
        self._download("mmdebstrap")
        for package in self._workshop.glob("mmdebstrap_*.deb"):
            _output(["dpkg-deb", "-x", str(package), str(self._workshop / "mmdebstrap")])
        return str(self._workshop / "mmdebstrap" / "usr" / "bin" / "mmdebstrap")

    def _download(self, package: str) -> None:
        # A fresh machine has no lists, an idle one has lists of versions that the mirror no longer keeps.
        try:
            self._apt_get("download", package)
        except SandboxError:
            self._use_private_lists()
            self._apt_get("download", package)

    def _use_private_lists(self) -> None:
        for name in ("state/lists/partial", "cache/archives/partial"):
            (self._workshop / name).mkdir(parents=True, exist_ok=True)
        self._options = [f"--option=Dir::State={self._workshop}/state", f"--option=Dir::Cache={self._workshop}/cache"]
        self._apt_get("update")

    def _targets(self) -> str:
        targets = self._apt_get("indextargets", "--format", "$(REPO_URI)|$(ORIGIN)|$(LABEL)")
        if not self._options and debian_mirror(targets) is None:
            self._use_private_lists()
            return self._targets()
        return targets

    def _apt_get(self, *arguments: str) -> str:
        return _output(["apt-get", "--quiet", *self._options, *arguments], self._workshop)


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        # A container's made-up user has a number and no name.
        return str(os.getuid())


def _succeeds(command: list[str]) -> bool:
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def _output(command: list[str], directory: Path | None = None) -> str:
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=directory)
    except FileNotFoundError as error:
        raise SandboxError(f"{command[0]} is missing on this machine; {ANOTHER_WAY}") from error
    except subprocess.CalledProcessError as error:
        raise SandboxError(f"{' '.join(command)} failed:\n{error.stderr}{error.stdout}") from error
    return done.stdout


def main() -> None:
    """Build the default root file system and print where it is; the recipes named on the command line instead."""
    recipes = {recipe.name: recipe for recipe in (ASTERISK_22, ASTERISK_16)}
    try:
        for name in sys.argv[1:] or [ASTERISK_22.name]:
            if name not in recipes:
                raise SandboxError(f"there is no recipe {name!r}; there are {', '.join(recipes)}")
            print(ensure_rootfs(recipes[name], lambda line: print(line, file=sys.stderr, flush=True)))
    except SandboxError as error:
        sys.exit(error.detail)


if __name__ == "__main__":
    main()
