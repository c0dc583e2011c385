"""A temporary PostgreSQL and HTTP servers that use it, each in its own process, for the benchmarks of the REST API."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from voxrec.postgres.cluster import Cluster
from voxrec.sandbox.asterisk import free_port
from voxrec.sandbox.postgres_account import prepare_postgres_directory
from voxrec.sandbox.process import with_parent_death_signal

_START_TIMEOUT: Final = 60.0  # seconds
_STOP_TIMEOUT: Final = 15.0  # seconds

ADMIN_TOKEN: Final = "token-of-the-benchmarks"  # noqa: S105 - of a temporary server
USER: Final = "anna"
PASSWORD: Final = "the password of the benchmark"  # noqa: S105 - of a temporary server


class Server:
    """One HTTP server, started by the constructor; requests are authenticated with ``token``."""

    def __init__(self, command: list[str], port: int, log: Path, token: str, **environment: str) -> None:
        self.port = port
        self.token = token
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                with_parent_death_signal(command),
                stdout=output,
                stderr=output,
                cwd=log.parent,
                env={**os.environ, **environment},
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def request(
        self, path: str, method: str = "GET", body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request; return the status, the headers by lower-case name, and the body of the response."""
        all_headers = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)) as connection:
            connection.request(method, path, body, all_headers)
            response = connection.getresponse()
            return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()

    def create_user(self, role: str) -> None:
        """Create the user USER with PASSWORD. Raises RuntimeError if the server refuses it."""
        user = json.dumps({"name": USER, "password": PASSWORD, "role": role}).encode()
        status, _, body = self.request("/users", "PUT", user, {"Content-Type": "application/json"})
        if status != 201:
            raise RuntimeError(f"PUT /users: {status} {body!r}")

    def wait_until_ready(self, path: str) -> None:
        """Wait until a GET of ``path`` returns 200. Raises RuntimeError after 60 s or if the process ends."""
        deadline, last = time.monotonic() + _START_TIMEOUT, "no response"
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                status, _, body = self.request(path)
                if status == 200:
                    return
                last = f"{status} {body!r}"
            except OSError as error:
                last = str(error)
            time.sleep(0.05)
        raise RuntimeError(f"the server did not become ready ({last}):\n{self._log.read_text()}")

    def stop(self) -> None:
        """Stop the server (SIGTERM, SIGKILL after 15 s)."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def start_voxrec(directory: Path, dsn: str, preparation: str = "", **sections: Mapping[str, Any]) -> Server:
    """Start voxrec without an Asterisk. Its archive is ``directory``/archive.

    ``preparation`` is Python code that the process executes before it starts voxrec; ``sections`` are further settings.
    """
    directory.mkdir(exist_ok=True)
    (directory / "archive").mkdir(exist_ok=True)
    port = free_port(socket.SOCK_STREAM)
    settings: dict[str, Any] = {
        "data_directory": str(directory / "data"),
        "asterisk": {"url": "http://127.0.0.1:9/ari", "recordings": str(directory), "sounds": str(directory)},
        "database": {"dsn": dsn},
        "archive": {"directory": str(directory / "archive")},
        "rest": {
            "listen": f"tcp:{port}:interface=127.0.0.1",
            "public_url": f"http://127.0.0.1:{port}",
            "admin_token": ADMIN_TOKEN,
        },
    }
    for name, section in sections.items():
        settings.setdefault(name, {}).update(section)
    config = directory / "voxrec.yaml"
    config.write_text(yaml.safe_dump(settings))
    twistd = f"{preparation}\nfrom twisted.scripts.twistd import run\nrun()"
    command = [sys.executable, "-c", twistd, "--nodaemon", "--pidfile=", "voxrec", "--config", str(config)]
    return Server(command, port, directory / "voxrec.log", ADMIN_TOKEN)


@contextmanager
def temporary_postgresql(settings: Mapping[str, str] | None = None) -> Iterator[tuple[Path, Cluster]]:
    """Run a PostgreSQL in a temporary directory; yield that directory, for other files too, and the cluster."""
    with tempfile.TemporaryDirectory(prefix="voxrec-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        prepare_postgres_directory(directory / "postgres")
        cluster = Cluster(directory / "postgres", settings)
        cluster.prepare()
        cluster.launch()
        try:
            cluster.wait_until_ready()
            yield directory, cluster
        finally:
            cluster.stop()


def ensure_environment(name: str, requirements: Path) -> Path:
    """Return the bin directory of a virtual environment with the requirements; create it if they have changed."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "voxrec" / "rivals" / name
    content = requirements.read_text()
    installed = home / "requirements.txt"
    if not installed.exists() or installed.read_text() != content:
        print_progress(f"creating a Python environment with {name} in {home}")
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        pip = [str(home / "bin" / "pip"), "--quiet", "--disable-pip-version-check", "install"]
        subprocess.run([*pip, "--requirement", str(requirements)], check=True)
        installed.write_text(content)
    return home / "bin"


def parse_json(body: bytes) -> Any:
    """Return the parsed JSON of a body, or None if it is not JSON."""
    try:
        return json.loads(body)
    except ValueError:
        return None


def print_progress(line: str) -> None:
    """Print a line to standard error."""
    print(line, file=sys.stderr, flush=True)
