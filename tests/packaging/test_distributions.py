"""The sdist and the wheel are complete: a daemon starts from the wheel, without the checkout.

The wheel is installed into a new virtual environment. Its dependencies come from the environment of the tests, through
a path file: that directory's own path files, such as the one of the editable voxrec, are not processed.
"""

import os
import signal
import socket
import subprocess
import sys
import tarfile
import venv
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from shutil import copytree, ignore_patterns, rmtree
from typing import Final
from urllib.request import urlopen

import psycopg2
import yaml
from psycopg2.sql import SQL, Identifier
from twisted.trial.unittest import SynchronousTestCase

from tests.database import administer, cluster
from tests.temporary import temporary_directory
from voxrec.sandbox.asterisk import free_port

ROOT: Final = Path(__file__).parents[2]
_READY_WITHIN: Final = 60.0  # seconds
_STOP_WITHIN: Final = 20.0  # seconds
_NOT_SOURCES: Final = ignore_patterns(
    ".*", "__pycache__", "_build", "_generated", "_trial_temp*", "build", "demo", "dist", "run", "*.egg-info"
)
_TWISTD: Final = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"


@cache
def distributions() -> Path:
    """Build the sdist, and from it the wheel, once per process; return the directory that holds both."""
    directory = temporary_directory("distributions")
    # a copy, so that what setuptools leaves in a source tree is in none that a person works in
    source = directory / "source"
    copytree(ROOT, source, ignore=_NOT_SOURCES)
    for name in (".pre-commit-config.yaml", ".containerignore"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    run(sys.executable, "-m", "build", "--outdir", directory / "dist", source)
    return directory / "dist"


def run(*command: str | Path, cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    """Run a program and return what it prints; its whole output is in the error if it fails."""
    done = subprocess.run(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


class SdistTests(SynchronousTestCase):
    def test_contents(self) -> None:
        (sdist,) = distributions().glob("*.tar.gz")
        with tarfile.open(sdist) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        for needed in (
            *(
                "README.md",
                "NEWS.md",
                "CONTRIBUTING.md",
                "SECURITY.md",
                "LICENSE",
                "Makefile",
                ".pre-commit-config.yaml",
            ),
            *("docs/conf.py", "docs/index.md", "docs/extensions/references.py", "tests/docs/test_references.py"),
            *("tests/api/__init__.py", "tests/live/__init__.py", "bench/__main__.py", "bench/RESULTS.md"),
            *(
                ".containerignore",
                "containers/Containerfile",
                "containers/asterisk-entrypoint",
                "etc/voxrec.yaml",
                "etc/asterisk/pjsip.conf",
                "systemd/voxrec.service",
                "twisted/plugins/voxrec_plugin.py",
            ),
        ):
            self.assertIn(needed, names)
        unwanted = [name for name in names if "__pycache__" in name or "_build/" in name or "_generated/" in name]
        self.assertEqual(unwanted, [])
        for directory in ("tests", "containers", "docs", "etc", "systemd"):
            sources = {str(path.relative_to(ROOT)) for path in (ROOT / directory).rglob("*.*") if path.is_file()}
            wanted = {name for name in sources if not {"__pycache__", "_build", "_generated"} & set(name.split("/"))}
            self.assertEqual(wanted - names, set())


class WheelTests(SynchronousTestCase):
    """What is installed by ``pip install voxrec``."""

    def setUp(self) -> None:
        self.directory = temporary_directory("wheel")
        self.addCleanup(rmtree, self.directory)
        self.environment = self.directory / "venv"
        self.python = self.environment / "bin" / "python"
        # nothing that leads back to the checkout
        self.variables = {"PATH": os.environ["PATH"], "HOME": str(self.directory)}
        self.install()

    def install(self) -> None:
        venv.create(self.environment, with_pip=False)
        (wheel,) = distributions().glob("*.whl")
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", self.python)
        run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel)
        (packages,) = self.environment.glob("lib/python*/site-packages")
        (packages / "dependencies.pth").write_text(f"{_dependencies()}\n")

    def run_python(self, code: str) -> str:
        return run(self.python, "-c", code, cwd=self.directory, environment=self.variables)

    def test_voxrec_comes_from_the_wheel(self) -> None:
        self.assertTrue(self.run_python("import voxrec; print(voxrec.__file__)").startswith(str(self.environment)))
        self.assertNotIn(str(ROOT) + "\n", self.run_python("import sys; print(*sys.path, '', sep='\\n')"))

    def test_package_data(self) -> None:
        (installed,) = self.environment.glob("lib/python*/site-packages/voxrec")
        sources = {
            path.relative_to(ROOT / "voxrec")
            for path in (ROOT / "voxrec").rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        missing = sorted(str(path) for path in sources if not (installed / path).is_file())
        self.assertEqual(missing, [])

    def test_examples(self) -> None:
        share = self.environment / "share" / "voxrec"
        for directory in ("etc", "systemd"):
            for source in (ROOT / directory).rglob("*.*"):
                if source.is_file():
                    copy = share / source.relative_to(ROOT)
                    self.assertTrue(copy.is_file(), copy)
                    self.assertEqual(copy.read_bytes(), source.read_bytes())

    def test_commands(self) -> None:
        voxrec = self.environment / "bin" / "voxrec"
        self.assertIn("version", run(voxrec, "--version", cwd=self.directory, environment=self.variables))
        settings = self.environment / "share" / "voxrec" / "etc" / "voxrec.yaml"
        run(voxrec, "check-config", settings, cwd=self.directory, environment=self.variables)

    def test_daemon(self) -> None:
        """It migrates an empty database, writes its announcement, serves its pages, and stops when told to."""
        port = free_port(socket.SOCK_STREAM)
        sounds = self.directory / "sounds"
        settings = self.directory / "voxrec.yaml"
        with _empty_database() as dsn:
            values = {
                "data_directory": str(self.directory / "data"),
                "database": {"dsn": dsn},
                "asterisk": {"recordings": str(self.directory), "sounds": str(sounds), "url": "http://127.0.0.1:1/ari"},
                "rest": {"listen": f"tcp:{port}:interface=127.0.0.1"},
            }
            settings.write_text(yaml.safe_dump(values))
            with self.started(settings) as daemon:
                for path, content in (
                    ("/docs", "<html"),
                    ("/docs/page.js", ""),
                    ("/docs/page.css", ""),
                    ("/openapi.json", '"openapi"'),
                    ("/health/live", "true"),
                ):
                    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                        self.assertIn(content, answer.read().decode())
                self.assertTrue((sounds / "announcement.wav").is_file())
                daemon.send_signal(signal.SIGTERM)
                self.assertIn(daemon.wait(_STOP_WITHIN), (0, -signal.SIGTERM))
            with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM profiles")
                self.assertEqual(cursor.fetchall(), [(0,)])

    @contextmanager
    def started(self, settings: Path) -> Iterator[subprocess.Popen[bytes]]:
        """Start ``twistd voxrec`` from the wheel and wait until it reports to systemd that it is ready."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(str(self.directory / "notify"))
            systemd.settimeout(_READY_WITHIN)
            log = self.directory / "log"
            command: list[str | Path] = [
                self.python,
                "-c",
                _TWISTD,
                "--nodaemon",
                "--pidfile=",
                "voxrec",
                "--config",
                settings,
            ]
            variables = {**self.variables, "NOTIFY_SOCKET": str(self.directory / "notify")}
            with log.open("wb") as output:
                daemon = subprocess.Popen(command, cwd=self.directory, env=variables, stdout=output, stderr=output)
            try:
                self.assertEqual(self.notified(systemd, daemon, log), b"READY=1")
                yield daemon
            finally:
                daemon.kill()
                daemon.wait()

    def notified(self, systemd: socket.socket, daemon: subprocess.Popen[bytes], log: Path) -> bytes:
        """Return the next state of the daemon that is not only a status text."""
        try:
            while (state := systemd.recv(1000)).startswith((b"STATUS=", b"EXTEND_TIMEOUT_USEC=")):
                pass
        except TimeoutError:
            raise AssertionError(f"not ready; status {daemon.poll()}:\n{log.read_text()}") from None
        return state


def _dependencies() -> Path:
    """Return the directory of the tests' environment that holds the dependencies."""
    return Path(yaml.__file__).parents[1]


@contextmanager
def _empty_database() -> Iterator[str]:
    database = Identifier("packaging")
    dsn = cluster().dsn("packaging")
    administer(SQL("CREATE DATABASE {}").format(database))
    try:
        yield dsn
    finally:
        administer(SQL("DROP DATABASE {} WITH (FORCE)").format(database))
