"""Root file systems that contain Asterisk and SIPp, built by mmdebstrap from the host's Debian mirror.

Each is built once per recipe and kept in the user's cache directory. The host gets no package, and root is not needed.
``python -m voxrec.sandbox.rootfs`` builds the default one.
"""

import fcntl
import hashlib
import os
import pwd
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from voxrec.sandbox.console import ReportProgress
from voxrec.sandbox.errors import SandboxError

OLDEST_ASTERISK = 16
REQUIRED_BYTES = 2_000_000_000
LAYOUT = 1
"""Version of the build procedure; increment it to rebuild all root file systems with unchanged recipes."""

ALTERNATIVE = "install Asterisk 16 or newer and SIPp yourself, and set VOXREC_ASTERISK=host"
_MOUNT_POINTS = ("dev", "mnt", "proc", "run", "tmp", "etc/hosts", "etc/resolv.conf")
"""What a root file system must have for `voxrec.sandbox.namespaces`."""


@dataclass(frozen=True)
class Recipe:
    """Contents of a root file system: packages of a Debian suite. A change of either causes a new build.

    ``commands`` are run by a shell in the root file system after the installation, as root and with access to the
    suite's packages and sources.
    """

    name: str
    suite: str
    packages: tuple[str, ...]
    commands: str = ""

    @property
    def key(self) -> str:
        """Name of the recipe's directory in the cache, unique for its contents."""
        content = "\n".join([str(LAYOUT), self.suite, *self.packages, *([self.commands] if self.commands else [])])
        return f"{self.name}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


_PACKAGES = ("asterisk", "asterisk-modules", "asterisk-core-sounds-en-wav", "sip-tester")
ASTERISK_22 = Recipe("asterisk-22", "sid", _PACKAGES)
ASTERISK_16 = Recipe("asterisk-16", "bullseye", _PACKAGES)
CHROMIUM = Recipe("chromium", "trixie", ("chromium", "chromium-driver", "fonts-dejavu-core"))
KAMAILIO = Recipe("kamailio", "bookworm", ("kamailio", "kamailio-tls-modules"))
"""Kamailio 5.6, also with TLS."""


def cache_directory() -> Path:
    """Return the directory that holds the root file systems (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The specification requires that a relative path is ignored.
    home = Path(base) if base.startswith("/") else Path.home() / ".cache"
    return home / "voxrec" / "rootfs"


def asterisk_rootfs(report_progress: ReportProgress, recipe: Recipe = ASTERISK_22) -> Path | None:
    """Return the root file system for Asterisk and SIPp: the recipe's, or None for the host's own.

    The environment variable VOXREC_ASTERISK selects another one for all recipes: ``host`` the host's own, an absolute
    path the root file system there. Blocks for about half a minute if the recipe's has to be built. Raises SandboxError
    if it cannot be, or if the variable has another value.
    """
    choice = os.environ.get("VOXREC_ASTERISK", "")
    if not choice:
        return ensure_rootfs(recipe, report_progress)
    if choice.startswith("/"):
        return _existing_rootfs(Path(choice))
    if choice != "host":
        raise SandboxError(
            f"VOXREC_ASTERISK is {choice!r}; set it to 'host' or to the absolute path of a root file system with "
            "Asterisk, or unset it to build one"
        )
    version = host_asterisk_version()
    if version < OLDEST_ASTERISK:
        raise SandboxError(
            f"VOXREC_ASTERISK=host, but the version of Asterisk on PATH is {version}; {OLDEST_ASTERISK} is the oldest "
            "supported"
        )
    return None


def _existing_rootfs(root: Path) -> Path:
    needed = ("usr/sbin/asterisk", "usr/bin/sipp", *_MOUNT_POINTS)
    missing = [name for name in needed if not os.path.lexists(root / name)]
    if missing:
        raise SandboxError(f"VOXREC_ASTERISK={root}: this root file system lacks {', '.join(missing)}")
    return root


def host_asterisk_version() -> int:
    """Return the major version of the Asterisk on PATH. Raises SandboxError if there is none."""
    if shutil.which("asterisk") is None:
        raise SandboxError("VOXREC_ASTERISK=host, but there is no asterisk on PATH; install it, or unset the variable")
    output = _output(["asterisk", "-V"])
    match = re.match(r"Asterisk (?:certified/)?(\d+)", output)
    if match is None:
        raise SandboxError(f"cannot read the version of the asterisk on PATH from {output!r}")
    return int(match[1])


def ensure_rootfs(recipe: Recipe, report_progress: ReportProgress) -> Path:
    """Return the recipe's root file system; build it (about half a minute, 400 MB) if the cache does not have it.

    Blocks. Several processes may call it at once. Raises SandboxError, with the remedy, if it cannot be built.
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
            _build(recipe, root, report_progress)
    return root


def is_built(recipe: Recipe) -> bool:
    """Return whether the cache has the recipe's root file system."""
    return (cache_directory() / recipe.key).is_dir()


def bootstrap_command(program: str, recipe: Recipe, mirror: str | None, apt_options: Sequence[str]) -> list[str]:
    """Return the mmdebstrap command that writes the recipe's root file system to its output as a tar archive."""
    # The standard output of mmdebstrap is the archive.
    hook = f'chroot "$1" sh -c {shlex.quote(recipe.commands)} >&2'
    return [
        program,
        f"--mode={'root' if os.geteuid() == 0 else 'unshare'}",
        "--variant=minbase",
        "--format=tar",
        f"--include={','.join(recipe.packages)}",
        # The Release file of an old suite or of a mirror may have expired; its signature is still verified.
        '--aptopt=Acquire::Check-Valid-Until "false"',
        *(f"--aptopt={option}" for option in apt_options),
        *([f"--customize-hook={hook}"] if recipe.commands else []),
        recipe.suite,
        "-",
        *([mirror] if mirror else []),
    ]


def debian_mirror(targets: str) -> str | None:
    """Return the Debian mirror in the output of ``apt-get indextargets``, or None.

    Other repositories, including Debian's security and backports ones, have another origin or label.
    """
    for line in targets.splitlines():
        address, origin, label, *_ = [*line.split("|"), "", ""]
        if (origin, label) == ("Debian", "Debian"):
            return address
    return None


def _build(recipe: Recipe, root: Path, report_progress: ReportProgress) -> None:
    _check_host(root.parent)
    # This process holds the lock, so an existing directory is left from an interrupted build.
    unfinished = root.with_name(f"{root.name}.building")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        with tempfile.TemporaryDirectory(dir=root.parent, prefix="apt-") as apt_directory:
            apt = _Apt(Path(apt_directory), report_progress)
            command = bootstrap_command(apt.mmdebstrap(), recipe, apt.mirror(), apt.network_options())
            report_progress(f"building {recipe.name} from Debian {recipe.suite}")
            _unpack(command, unfinished, report_progress)
        # The instance's own files are mounted here; a symbolic link or a file of the host would be in the way.
        for name in ("etc/hosts", "etc/resolv.conf"):
            mount_point = unfinished / name
            mount_point.unlink(missing_ok=True)
            mount_point.touch()
        unfinished.rename(root)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    report_progress(f"built {recipe.name} in {root}")


def _unpack(command: list[str], directory: Path, report_progress: ReportProgress) -> None:
    # All files belong to the current user, so that the cache can be removed like any other; no device nodes.
    unpack = ["tar", "--extract", "--no-same-owner", "--exclude=./dev/*", f"--directory={directory}"]
    last_lines: deque[str] = deque(maxlen=25)
    # Both programs write errors to one pipe, because the decisive one (a full disk, for example) may come from either.
    reading_end, writing_end = os.pipe()
    with (
        os.fdopen(reading_end, errors="replace") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=writing_end) as bootstrap,
        subprocess.Popen(unpack, stdin=bootstrap.stdout, stderr=writing_end) as tar,
    ):
        # Close this process's copies: mmdebstrap then notices if tar fails, and the loop below ends when both have.
        os.close(writing_end)
        if bootstrap.stdout is not None:
            bootstrap.stdout.close()
        for line in errors:
            last_lines.append(line.rstrip())
            report_progress(f"  {line.rstrip()}")
    if bootstrap.returncode or tar.returncode:
        raise SandboxError(
            "\n".join(["mmdebstrap could not build the root file system; its last output:", *last_lines])
        )


def _check_host(cache: Path) -> None:
    if shutil.which("apt-get") is None:
        raise SandboxError(f"apt, which builds the sandbox, is not installed on this host; {ALTERNATIVE}")
    free = shutil.disk_usage(cache).free
    if free < REQUIRED_BYTES:
        raise SandboxError(
            f"{cache} has {free // 1_000_000} MB free, but building a root file system needs up to "
            f"{REQUIRED_BYTES // 1_000_000} MB; free some space, or set XDG_CACHE_HOME to a directory with more"
        )
    if os.geteuid() == 0:
        _check_mounting()
    else:
        _check_namespaces(_user_name())


def _check_mounting() -> None:
    if not _succeeds(["unshare", "--mount", "true"]):
        raise SandboxError(
            "root may not mount file systems (in a container without the capability?); grant CAP_SYS_ADMIN (docker run "
            f"--privileged), or {ALTERNATIVE}"
        )


def _check_namespaces(user: str) -> None:
    if not _succeeds(["unshare", "--user", "--map-root-user", "--mount", "true"]):
        raise SandboxError(
            "unprivileged users may not create user namespaces; allow it (sysctl kernel.unprivileged_userns_clone=1 "
            "or kernel.apparmor_restrict_unprivileged_userns=0, whichever exists), build as root, or "
            f"{ALTERNATIVE}"
        )
    if shutil.which("newuidmap") is None:
        raise SandboxError("building as an unprivileged user needs newuidmap; run as root: apt-get install uidmap")
    for name in ("/etc/subuid", "/etc/subgid"):
        table = Path(name)
        lines = table.read_text().splitlines() if table.exists() else []
        if not any(line.split(":")[0] in {user, str(os.getuid())} for line in lines):
            raise SandboxError(
                f"{name} has no range of subordinate ids for {user}; run as root: "
                f"usermod --add-subuids {free_subordinate_ids(Path('/etc/subuid'))} "
                f"--add-subgids {free_subordinate_ids(Path('/etc/subgid'))} {user}"
            )


def free_subordinate_ids(table: Path) -> str:
    """Return a range of 65,536 ids behind those of other users; ``table`` is as in subuid(5)."""
    lines = table.read_text().splitlines() if table.exists() else []
    ends = [int(match[1]) + int(match[2]) for line in lines if (match := re.fullmatch(r"[^:]*:(\d+):(\d+)", line))]
    first = max([100_000, *ends])
    return f"{first}-{first + 65_535}"


class _Apt:
    """The host's apt, with private package lists if the host has none."""

    def __init__(self, directory: Path, report_progress: ReportProgress) -> None:
        self._directory = directory
        self._report_progress = report_progress
        self._options: list[str] = []

    def mirror(self) -> str | None:
        """Return the Debian mirror that the host uses, or None to let mmdebstrap choose."""
        return debian_mirror(self._targets())

    def network_options(self) -> list[str]:
        """Return the network settings of the host's apt, such as proxies, as lines of apt configuration."""
        return [
            line for line in _output(["apt-config", "dump", "Acquire::http", "Acquire::https"]).splitlines() if line
        ]

    def mmdebstrap(self) -> str:
        """Return the path of mmdebstrap: from PATH, or downloaded as a package and unpacked without installation."""
        if (installed := shutil.which("mmdebstrap")) is not None:
            return installed
        self._report_progress("downloading mmdebstrap")
        self._download("mmdebstrap")
        for package in self._directory.glob("mmdebstrap_*.deb"):
            _output(["dpkg-deb", "-x", str(package), str(self._directory / "mmdebstrap")])
        return str(self._directory / "mmdebstrap" / "usr" / "bin" / "mmdebstrap")

    def _download(self, package: str) -> None:
        # A new host has no package lists; an old one may list versions that the mirror no longer has.
        try:
            self._apt_get("download", package)
        except SandboxError:
            self._use_private_lists()
            self._apt_get("download", package)

    def _use_private_lists(self) -> None:
        for name in ("state/lists/partial", "cache/archives/partial"):
            (self._directory / name).mkdir(parents=True, exist_ok=True)
        self._options = [f"--option=Dir::State={self._directory}/state", f"--option=Dir::Cache={self._directory}/cache"]
        self._apt_get("update")

    def _targets(self) -> str:
        targets = self._apt_get("indextargets", "--format", "$(REPO_URI)|$(ORIGIN)|$(LABEL)")
        if not self._options and debian_mirror(targets) is None:
            self._use_private_lists()
            return self._targets()
        return targets

    def _apt_get(self, *arguments: str) -> str:
        return _output(["apt-get", "--quiet", *self._options, *arguments], self._directory)


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        # In a container the user may have no entry in the password database.
        return str(os.getuid())


def _succeeds(command: list[str]) -> bool:
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def _output(command: list[str], directory: Path | None = None) -> str:
    try:
        completed = subprocess.run(command, check=True, capture_output=True, text=True, cwd=directory)
    except FileNotFoundError as error:
        raise SandboxError(f"{command[0]} is not installed on this host; {ALTERNATIVE}") from error
    except subprocess.CalledProcessError as error:
        raise SandboxError(f"{' '.join(command)} failed:\n{error.stderr}{error.stdout}") from error
    return completed.stdout


def main() -> None:
    """Build the recipes named on the command line (default: asterisk-22), and print the paths."""
    recipes = {recipe.name: recipe for recipe in (ASTERISK_22, ASTERISK_16, KAMAILIO, CHROMIUM)}
    try:
        for name in sys.argv[1:] or [ASTERISK_22.name]:
            if name not in recipes:
                raise SandboxError(f"unknown recipe {name!r}; expected one of {', '.join(recipes)}")
            print(ensure_rootfs(recipes[name], lambda line: print(line, file=sys.stderr, flush=True)))
    except SandboxError as error:
        sys.exit(error.detail)


if __name__ == "__main__":
    main()
