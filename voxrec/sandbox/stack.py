"""A complete sandbox stack: Asterisk, an SMTP server, and voxrec run by twistd as in production."""

import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default as email_policy
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec
import yaml
from treq.client import HTTPClient
from twisted.internet.error import ConnectError
from twisted.internet.task import deferLater
from twisted.web.client import Agent, HTTPConnectionPool, ResponseFailed, ResponseNeverReceived

from voxrec.sandbox.asterisk import LOOPBACK, SandboxAsterisk, free_port
from voxrec.sandbox.console import ReportProgress
from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.postgres_account import prepare_postgres_directory
from voxrec.sandbox.process import Process, with_parent_death_signal

READY_SECONDS = 60.0
UMASK = 0o027  # that of the shipped systemd unit
POLL_SECONDS = 0.1
STOP_SECONDS = 30.0
FINAL_STATES = ("completed", "failed", "absent")


class Response(msgspec.Struct, frozen=True):
    """A response of the REST API; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body parsed as JSON."""
        return msgspec.json.decode(self.body)


class Stack:
    """One voxrec with everything it needs, in ``directory``.

    ``settings`` override the sandbox's own settings, section by section. ``mail_port`` is the loopback port of an SMTP
    server that the caller runs; without it the stack starts one.
    """

    def __init__(
        self,
        reactor: Any,
        directory: Path,
        rootfs: Path | None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        mail_port: int | None = None,
    ) -> None:
        self._reactor = reactor
        self._settings = settings or {}
        self._owns_mailbox = mail_port is None
        self.directory = directory.absolute()
        self.asterisk = SandboxAsterisk(self.directory / "asterisk", rootfs)
        self.mailbox_directory = self.directory / "mailbox"
        self.archive_directory = self.directory / "archive"
        self.token = secrets.token_urlsafe(24)
        self.prepare_database: Callable[[Path], None] = prepare_postgres_directory
        """Creates the directory of the embedded PostgreSQL; the daemon creates the cluster unless this has done so."""
        self.source_directory: Path | None = None
        """Where the daemon's source is, if it is another version than this one."""
        self._mail_port = free_port(socket.SOCK_STREAM) if mail_port is None else mail_port
        self._rest_port = _former_rest_port(self.config_file) or free_port(socket.SOCK_STREAM)
        self._mailbox: Process | None = None
        self._voxrec: Process | None = None

    @property
    def url(self) -> str:
        """The base URL of the REST API."""
        return f"http://{LOOPBACK}:{self._rest_port}"

    @property
    def sip_host_port(self) -> str:
        """The address for incoming calls, as host:port."""
        host, port = self.asterisk.sip_address
        return f"{host}:{port}"

    @property
    def config_file(self) -> Path:
        """voxrec's settings file."""
        return self.directory / "voxrec.yaml"

    @property
    def log_file(self) -> Path:
        """voxrec's log file."""
        return self.directory / "voxrec.log"

    @property
    def pid(self) -> int:
        """The process id of twistd."""
        return self._require_process().pid

    @property
    def running(self) -> bool:
        """Whether voxrec's process runs; it may not be ready yet."""
        return self._voxrec is not None and self._voxrec.running

    async def start(self, report_progress: ReportProgress = lambda _: None) -> None:
        """Start everything and wait until voxrec is ready.

        Raises SandboxError, with the end of the log, if a program ends or does not become ready in time.
        """
        await self.start_dependencies(report_progress)
        await self.start_voxrec()
        report_progress(f"voxrec is ready: REST API at {self.url}, process {self.pid}")

    async def start_dependencies(self, report_progress: ReportProgress = lambda _: None) -> None:
        """Start what voxrec depends on, and write voxrec's settings file."""
        self.archive_directory.mkdir(parents=True, exist_ok=True)
        report_progress("starting Asterisk")
        await self.asterisk.start(self._reactor)
        report_progress(f"Asterisk {self.asterisk.version} is ready: SIP at {self.sip_host_port}")
        if self._owns_mailbox:
            self._start_mailbox()
        report_progress(f"SMTP server at {LOOPBACK}:{self._mail_port}")
        if not self._settings.get("database", {}).get("dsn"):
            self.prepare_database(self.directory / "data" / "postgres")
        self.write_configuration()

    async def stop(self) -> None:
        """Stop everything, in reverse order of starting."""
        await self.stop_voxrec()
        if self._mailbox is not None:
            await self._mailbox.stop(self._reactor)
        await self.asterisk.stop(self._reactor)

    def kill(self) -> None:
        """Kill everything at once; needs no reactor. Embedded PostgreSQL ends when voxrec does."""
        for process in (self._voxrec, self._mailbox):
            if process is not None:
                process.kill()
        if self.asterisk.running:
            self.asterisk.kill()

    def _start_mailbox(self) -> None:
        self.mailbox_directory.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "voxrec.sandbox.mailbox", str(self.mailbox_directory), str(self._mail_port)]
        self._mailbox = Process(
            with_parent_death_signal(command), self.directory / "mailbox.log", directory=_package_root()
        )

    def write_configuration(self) -> None:
        """Write voxrec's settings to `config_file`."""
        settings: dict[str, Any] = {
            "data_directory": str(self.directory / "data"),
            "asterisk": {
                "url": self.asterisk.ari_url,
                "user": self.asterisk.ari_user,
                "password": self.asterisk.ari_password,
                "ami_url": self.asterisk.ami_url,
                "ami_user": self.asterisk.ami_user,
                "ami_password": self.asterisk.ami_password,
                "recordings": str(self.asterisk.recording_directory),
                "sounds": str(self.asterisk.sounds_directory),
                "sounds_in_asterisk": self.asterisk.sounds_prefix,
            },
            "rest": {
                "listen": f"tcp:{self._rest_port}:interface={LOOPBACK}",
                "public_url": self.url,
                "admin_token": self.token,
            },
            "archive": {"directory": str(self.archive_directory)},
            "log": {"level": "debug"},
            "mail": {"host": LOOPBACK, "port": self._mail_port, "sender": "voxrec@voxrec.test"},
        }
        for section, values in self._settings.items():
            settings.setdefault(section, {}).update(values)
        self.config_file.touch(mode=0o600)
        self.config_file.write_text(yaml.safe_dump(settings))

    async def start_voxrec(self) -> None:
        """Start voxrec only, and wait until it is ready."""
        self.launch_voxrec()
        await self.wait_until_ready()

    def launch_voxrec(self) -> None:
        """Start voxrec only, without waiting."""
        command = self.daemon_command(self.config_file)
        environment = None
        if self.source_directory is not None:
            environment = {**os.environ, "PYTHONPATH": str(self.source_directory)}
        self._voxrec = Process(
            with_parent_death_signal(command),
            self.log_file,
            environment=environment,
            directory=self.directory,
            umask=UMASK,
        )

    def daemon_command(self, config_file: Path) -> list[str]:
        """Return the command that runs a voxrec in the foreground with this settings file."""
        twistd = Path(sys.executable).with_name("twistd")
        return [str(twistd), "--nodaemon", "--pidfile=", "voxrec", "--config", str(config_file)]

    async def wait_until_ready(self) -> None:
        """Wait until voxrec is ready. Raises SandboxError, with the end of the log, if it ends or takes 60 s."""
        voxrec = self._require_process()

        async def ready_or_ended() -> bool:
            return not voxrec.running or await self.readiness_status() == 200

        in_time = await self.wait_until(ready_or_ended, READY_SECONDS)
        if not voxrec.running:
            raise SandboxError(f"voxrec ended while starting:\n{voxrec.log_tail(40)}")
        if not in_time:
            raise SandboxError(f"voxrec was not ready within {READY_SECONDS:g} s:\n{voxrec.log_tail(40)}")

    async def readiness_status(self) -> int | None:
        """Return the HTTP status of /health/ready, or None while the REST API does not respond."""
        readiness = await self._readiness()
        return None if readiness is None else readiness.status

    async def dependency_problem(self, name: str) -> str:
        """Return why a dependency is not ready according to /health/ready; empty if it is ready."""
        readiness = await self._readiness()
        return "no response" if readiness is None else str(readiness.json()["dependencies"][name].get("detail", ""))

    async def _readiness(self) -> Response | None:
        try:
            return await self.request("GET", "/health/ready")
        except (ConnectError, ResponseFailed, ResponseNeverReceived):
            return None

    async def stop_voxrec(self) -> int | None:
        """Stop voxrec only, as systemd does (SIGTERM), and return its exit code (see `Process.returncode`)."""
        if self._voxrec is None:
            return None
        return await self._voxrec.stop(self._reactor, STOP_SECONDS)

    async def wait_until_voxrec_ended(self, seconds: float) -> int:
        """Wait until voxrec ends by itself, and return its exit code. Raises SandboxError after ``seconds``."""
        return await self._require_process().wait_until_ended(self._reactor, seconds)

    def kill_voxrec(self) -> None:
        """Kill voxrec (SIGKILL)."""
        self._require_process().kill()

    def signal_voxrec(self, number: signal.Signals) -> None:
        """Send a signal to voxrec."""
        self._require_process().send_signal(number)

    def count_log_lines(self, text: str) -> int:
        """Return the number of lines in voxrec's log that contain ``text``."""
        log = self.log_file.read_text(errors="replace") if self.log_file.exists() else ""
        return sum(text in line for line in log.splitlines())

    def voxrec_log_tail(self, lines: int = 40) -> str:
        """Return the last lines of voxrec's log."""
        return self._require_process().log_tail(lines)

    def _require_process(self) -> Process:
        if self._voxrec is None:
            raise SandboxError("voxrec has not been started")
        return self._voxrec

    async def request(
        self, method: str, path: str, body: object | None = None, *, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Send a request to the REST API as administrator; ``body`` is sent as JSON."""
        # No connection is kept open: a test must leave its reactor clean.
        http = HTTPClient(Agent(self._reactor, pool=HTTPConnectionPool(self._reactor, persistent=False)))
        request_headers = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        data = None
        if body is not None:
            data = msgspec.json.encode(body)
            request_headers = {"Content-Type": "application/json", **request_headers}
        response = await http.request(
            method,
            f"{self.url}{path}",
            headers=cast("Any", request_headers),
            data=data,
            unbuffered=False,
            reactor=self._reactor,
            timeout=30,
        )
        content = await response.content()
        response_headers = {
            name.decode("latin-1").lower(): values[-1].decode("latin-1")
            for name, values in response.headers.getAllRawHeaders()
        }
        return Response(response.code, response_headers, content)

    async def request_json(self, method: str, path: str, body: object | None = None) -> Any:
        """Send a request and return the JSON of its response, or None if the response is empty.

        Raises SandboxError if the status is not 2xx.
        """
        response = await self.request(method, path, body)
        if not 200 <= response.status < 300:
            raise SandboxError(f"{method} {path}: {response.status} {response.body.decode(errors='replace')}")
        return response.json() if response.body else None

    async def wait_for_recording(self, profile_id: str, seconds: float = 30.0) -> dict[str, Any]:
        """Wait until the Profile's newest Recording is in a final state, and return it.

        Raises SandboxError after ``seconds``.
        """
        recordings: list[dict[str, Any]] = []

        async def final() -> bool:
            recordings[:] = await self.request_json("GET", f"/profiles/{profile_id}/recordings")
            return bool(recordings) and recordings[0]["state"] in FINAL_STATES

        if not await self.wait_until(final, seconds):
            raise SandboxError(f"no finished recording within {seconds:g} s: {recordings}\n{self.voxrec_log_tail()}")
        return recordings[0]

    async def wait_for_mail(self, recording_id: str, seconds: float = 30.0) -> tuple[Path, EmailMessage]:
        """Wait for the mail with a Recording, and return its file and the parsed mail.

        Raises SandboxError after ``seconds``.
        """
        found: list[tuple[Path, EmailMessage]] = []

        async def arrived() -> bool:
            found[:] = [each for each in self.mails() if each[1]["X-Voxrec-Recording"] == recording_id]
            return bool(found)

        if not await self.wait_until(arrived, seconds):
            raise SandboxError(f"no mail with recording {recording_id} within {seconds:g} s\n{self.voxrec_log_tail()}")
        return found[0]

    def mails(self) -> list[tuple[Path, EmailMessage]]:
        """Return the file and the parsed content of each mail in the mailbox, oldest first."""
        files = sorted(self.mailbox_directory.glob("*.eml"), key=lambda path: path.stat().st_mtime_ns)
        parser = BytesParser(policy=email_policy)
        return [(path, parser.parsebytes(path.read_bytes())) for path in files]

    async def wait_until(self, condition: Callable[[], Any], seconds: float) -> bool:
        """Wait until the coroutine function ``condition`` returns true; return False if it does not in time."""
        deadline = self._reactor.seconds() + seconds
        while not await condition():
            if self._reactor.seconds() > deadline:
                return False
            await deferLater(self._reactor, POLL_SECONDS)
        return True


def _former_rest_port(config_file: Path) -> int | None:
    """Return the port of the REST API in an earlier run's settings file, so that its addresses remain valid.

    Return None if there was no earlier run, or if another program listens there now.
    """
    try:
        settings = yaml.safe_load(config_file.read_text())
        port = urlsplit(str(settings["rest"]["public_url"])).port
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError):
        return None
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port or 0))
        except OSError:
            return None
    return port


def _package_root() -> Path:
    """Return the directory from which ``python -m voxrec...`` imports the same package as this process."""
    return Path(__file__).parents[2]
