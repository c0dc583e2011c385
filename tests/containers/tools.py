"""buildah and Docker Compose in a root file system of their own, and the images that they build.

Nothing is installed on the host, and no registry of images is used: the base images come from mmdebstrap, the packages
from the Debian mirror and the Python index that this machine uses. Images are stored in the user's cache directory, in
layers, so that only what has changed is built again.
"""

import fcntl
import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from configparser import ConfigParser
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TextIO
from urllib.parse import urlsplit

from voxrec.sandbox.rootfs import ASTERISK_22, Recipe, cache_directory, ensure_rootfs

ROOT: Final = Path(__file__).parents[2]
# netavark: buildah does not start without it, although the builds use the network of the host.
TOOLS: Final = Recipe("container-tools", "trixie", ("buildah", "docker-compose", "netavark"))
DEBIAN: Final = Recipe("debian-12", "bookworm", ("apt",))
"""Like debian:bookworm-slim: the packages of mmdebstrap's minbase, which contain apt."""

HOST: Final = "/tmp/host"
"""The root of the host in the root file system of the tools."""

_STORAGE: Final = "/mnt"
_IMAGES_LIMIT: Final = 120
"""Number of images, intermediate ones included, above which all are removed, and built again. A build makes 30."""

# No step forks, so the process id is that of the program (see voxrec.sandbox.namespaces). /etc/resolv.conf and
# /etc/hosts are those of the host, because a build uses the network.
_ENTER_SCRIPT: Final = """\
set -e
PATH=$PATH:/usr/sbin:/sbin
root=$1 storage=$2
shift 2
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
for name in proc dev sys; do mount --rbind /$name "$root/$name"; done
for name in tmp run var/tmp; do mount -t tmpfs tmpfs "$root/$name"; done
for name in hosts resolv.conf; do mount --bind /etc/$name "$root/etc/$name"; done
mount --rbind "$storage" "$root/mnt"
mkdir "$root/tmp/host"
mount --rbind / "$root/tmp/host"
cd "$root"
exec chroot "$root" setpriv --pdeathsig KILL -- "$@"
"""


_OVERLAY_SCRIPT: Final = """\
cd "$0"
mkdir lower upper work merged
mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay merged
"""


def reason_to_skip() -> str:
    """Return why images cannot be built on this machine, or an empty string."""
    if os.geteuid() != 0:
        return "building and running the images needs root (CI has it); run the tests of containers as root"
    if problem := _error_of("unshare", "--mount", "--net", "--pid", "--fork", "true"):
        return f"root may not create namespaces in this container, run it privileged: {problem}"
    with TemporaryDirectory(dir=_storage_directory() / "tmp") as directory:
        if problem := _error_of("unshare", "--mount", "sh", "-ec", _OVERLAY_SCRIPT, directory):
            return f"images cannot be mounted in the cache directory, use one that is no overlay: {problem}"
    return ""


def _error_of(*command: str) -> str:
    """Run a command; return the errors that it prints if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stderr.strip() or f"status {done.returncode}") if done.returncode else ""


def _storage_directory() -> Path:
    """Return the directory of the images, which is created with its subdirectory for temporary files."""
    storage = cache_directory().with_name("containers")
    (storage / "tmp").mkdir(parents=True, exist_ok=True)
    return storage


def report_progress(line: str) -> None:
    """Write a line of a build, which takes minutes, to the standard error output."""
    sys.stderr.write(f"{line}\n")


def tools_command(*program: str) -> list[str]:
    """Return the command that runs a program in the root file system of the tools; it keeps its process id."""
    storage = _storage_directory()
    root = ensure_rootfs(TOOLS, report_progress)
    return [
        *("unshare", "--mount", "--", "sh", "-c", _ENTER_SCRIPT, "container-tools", str(root), str(storage)),
        *("env", f"TMPDIR={_STORAGE}/tmp", "BUILDAH_ISOLATION=chroot", "STORAGE_DRIVER=overlay", *program),
    ]


def run_tool(*program: str, directory: Path = ROOT) -> str:
    """Run a program in the root file system of the tools, in a directory of the host, and return its output.

    Raises AssertionError with its messages if it fails.
    """
    command = tools_command("env", f"--chdir={HOST}{directory}", *program)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(program)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def buildah_command(*arguments: str) -> list[str]:
    """Return a command line of buildah, for a shell in the root file system of the tools."""
    return ["buildah", "--root", f"{_STORAGE}/images", "--runroot", f"{_STORAGE}/run", *arguments]


def buildah(*arguments: str) -> str:
    """Run buildah and return its output without the final line break."""
    return run_tool(*buildah_command(*arguments)).strip()


@contextmanager
def _locked() -> Iterator[None]:
    """Keep other processes from building."""
    with (cache_directory() / "containers.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@cache
def _use_storage() -> TextIO:
    """Keep other processes from removing images while this one runs; before, remove all if there are too many."""
    cache_directory().mkdir(parents=True, exist_ok=True)
    lock = (cache_directory() / "containers-in-use.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pass
    else:
        if len(buildah("images", "--all", "--quiet").splitlines()) > _IMAGES_LIMIT:
            buildah("rmi", "--all", "--force")
    fcntl.flock(lock, fcntl.LOCK_SH)
    return lock


@cache
def voxrec_image() -> str:
    """Build ``containers/Containerfile`` once per process, and return the id of the image."""
    return _image("voxrec", "containers/Containerfile", DEBIAN)


@cache
def systemd_image() -> str:
    """Build ``tests/containers/Containerfile.systemd`` once per process, and return the id of the image."""
    return _image("voxrec-systemd", "tests/containers/Containerfile.systemd", voxrec_image())


@cache
def asterisk_image() -> str:
    """Build ``containers/Containerfile.asterisk`` once per process, and return the id of the image.

    Its base contains the packages already, as that of the sandbox: apt-get still checks their names and versions.
    """
    return _image("voxrec-asterisk", "containers/Containerfile.asterisk", ASTERISK_22)


def _image(name: str, containerfile: str, base: Recipe | str) -> str:
    """Build a containerfile on a root file system, or on the image with an id; return the id of the result."""
    _use_storage()
    with _locked():
        base_image = base if isinstance(base, str) else _base_image(base)
        report_progress(f"building the image {name} from {containerfile}")
        with pip_configuration() as pip_options:
            # the id: another checkout on this machine may use the same name for an image of its own
            return buildah(
                *("build", "--layers", "--quiet", "--format=docker", "--pull=never"),
                *(f"--ulimit={limit}" for limit in _limits()),
                *pip_options,
                f"--build-arg=BASE={base_image}",
                f"--ignorefile={HOST}{ROOT}/.containerignore",
                *("--file", containerfile, "--tag", f"localhost/{name}", "."),
            )


def _base_image(recipe: Recipe) -> str:
    name = f"localhost/{recipe.key}"
    if not buildah("images", "--quiet", "--filter", f"reference={name}"):
        root = ensure_rootfs(recipe, report_progress)
        container = buildah("from", "scratch")
        buildah("add", "--quiet", container, f"{HOST}{root}", "/")
        buildah("commit", "--quiet", "--rm", container, name)
    return name


def _limits() -> Iterator[str]:
    """Yield the limits of this process; buildah would raise them, which needs a capability."""
    for name, number in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC)):
        soft, hard = resource.getrlimit(number)
        yield f"{name}={soft}:{hard}"


@contextmanager
def pip_configuration() -> Iterator[Sequence[str]]:
    """Yield the options of buildah that give a build the configuration of this machine's pip, as a secret.

    Files and directories that it names are mounted below /run/host.
    """
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    configuration = ConfigParser(interpolation=None)
    configuration["global"] = {}
    paths: set[str] = set()
    for line in listed.splitlines():
        name, _, quoted = line.partition("=")
        words = quoted.strip("'\"").replace("\\n", " ").split()
        for index, word in enumerate(words):
            path = urlsplit(word).path if word.startswith("file://") else word
            if path.startswith("/") and Path(path).exists():
                # the links of an index lead out of its directory, as a rule to the one beside it
                paths.add(str(Path(path).parent) if word.startswith("file://") else path)
                words[index] = word.replace(path, f"/run/host{path}")
        # :env: comes first in the list, but has precedence
        section, _, key = name.rpartition(".")
        if section == ":env:" or key not in configuration["global"]:
            configuration["global"][key] = "\n".join(words)
    file = _storage_directory() / "tmp" / f"pip.conf.{os.getpid()}"
    with file.open("w") as output:
        configuration.write(output)
    try:
        yield [
            f"--secret=id=pip.conf,src={_STORAGE}/tmp/{file.name}",
            *(f"--volume={HOST}{path}:/run/host{path}:ro" for path in sorted(paths)),
        ]
    finally:
        file.unlink()
