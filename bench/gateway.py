"""A PostgreSQL and servers in front of it, each in a process of its own: where the parts about REST measure."""

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
from voxrec.sandbox.postgres_account import prepare_postgres_directory
from voxrec.sandbox.process import with_parent_death_signal

_START: Final = 60.0  # seconds until a server has to answer


class Server:
    """One HTTP server, running from the moment of construction. ``token`` opens it."""

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
        """The process."""
        return self._process.pid

    def ask(
        self, path: str, method: str = "GET", body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (by lower-case name) and body of an answer."""
        sent = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)) as connection:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()

    def wait(self, path: str) -> None:
        """Until it answers a GET with 200."""
        deadline, last = time.monotonic() + _START, "nothing"
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                status, _, body = self.ask(path)
                if status == 200:
                    return
                last = f"{status} {body!r}"
            except OSError as error:
                last = str(error)
            time.sleep(0.05)
        raise RuntimeError(f"a server does not answer ({last}):\n{self._log.read_text()}")

    def stop(self) -> None:
        """End it in order."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def voxrec(directory: Path, dsn: str, preparation: str = "", **sections: Mapping[str, Any]) -> Server:
    """A voxrec without an Asterisk: REST, queue and all the rest are there. Its archive is ``directory``/archive.

    ``preparation`` is Python code that it executes before it starts.
    """
    directory.mkdir(exist_ok=True)
    (directory / "archive").mkdir(exist_ok=True)
    port = free_port()
    settings: dict[str, Any] = {
        "data_directory": str(directory / "data"),
        "asterisk": {"url": "http://127.0.0.1:9/ari", "recordings": str(directory), "sounds": str(directory)},
        "database": {"dsn": dsn},
        "archive": {"directory": str(directory / "archive")},
        "rest": {
            "listen": f"tcp:{port}:interface=127.0.0.1",
            "public_url": f"http://127.0.0.1:{port}",
            "admin_token": "admin",
        },
    }
    for name, section in sections.items():
        settings.setdefault(name, {}).update(section)
    config = directory / "voxrec.yaml"
    config.write_text(yaml.safe_dump(settings))
    twistd = f"{preparation}\nfrom twisted.scripts.twistd import run\nrun()"
    command = [sys.executable, "-c", twistd, "--nodaemon", "--pidfile=", "voxrec", "--config", str(config)]
    return Server(command, port, directory / "voxrec.log", "admin")


def free_port() -> int:
    """A TCP port that nobody listens to."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def postgresql(settings: Mapping[str, str] | None = None) -> Iterator[tuple[Path, Cluster]]:
    """A directory for all that a part needs, and a PostgreSQL in it."""
    with tempfile.TemporaryDirectory(prefix="voxrec-bench-") as place:
        directory = Path(place)
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


def environment(name: str, requirements: Path) -> Path:
    """A virtual environment with what is required, made once for each content; gives its directory for programs."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "voxrec" / "rivals" / name
    wanted = requirements.read_text()
    noted = home / "requirements.txt"
    if not noted.exists() or noted.read_text() != wanted:
        say(f"making a Python environment with {name} in {home}")
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        pip = [str(home / "bin" / "pip"), "--quiet", "--disable-pip-version-check", "install"]
        subprocess.run([*pip, "--requirement", str(requirements)], check=True)
        noted.write_text(wanted)
    return home / "bin"


def shown(answer: bytes) -> Any:
    """An answer's JSON; None where it is none."""
    try:
        return json.loads(answer)
    except ValueError:
        return None


def say(line: str) -> None:
    """Tell whoever waits how far it is."""
    print(line, file=sys.stderr, flush=True)
