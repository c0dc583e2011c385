"""The whole of it in a box: Asterisk, a mailbox, and voxrec itself, started the way an administrator starts it."""

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

import msgspec
import yaml
from treq.client import HTTPClient
from twisted.internet.error import ConnectError
from twisted.internet.task import deferLater
from twisted.web.client import Agent, HTTPConnectionPool, ResponseFailed, ResponseNeverReceived

from voxrec.sandbox.asterisk import LOOPBACK, SandboxAsterisk, free_port
from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.process import Process, dying_with_parent

READY_SECONDS = 60.0
POLL_SECONDS = 0.1
STOP_SECONDS = 30.0

Say = Callable[[str], None]


class Answer(msgspec.Struct, frozen=True):
    """What REST answered: its status, its headers by lower-case name, and its body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, read as JSON."""
        return msgspec.json.decode(self.body)


class Stack:
    """One running voxrec with all that it needs, in ``directory``.

    ``settings`` are put over the sandbox's own, section by section. ``mail_port`` is where somebody else serves a
    mailbox; without it the stack starts one.
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
        self._mails_here = mail_port is None
        self.directory = directory.absolute()
        self.asterisk = SandboxAsterisk(self.directory / "asterisk", rootfs)
        self.mailbox_directory = self.directory / "mailbox"
        self.archive_directory = self.directory / "archive"
        self.token = secrets.token_urlsafe(24)
        self._mail_port = free_port(socket.SOCK_STREAM) if mail_port is None else mail_port
        self._rest_port = free_port(socket.SOCK_STREAM)
        self._mailbox: Process | None = None
        self._voxrec: Process | None = None

    @property
    def url(self) -> str:
        """REST's base URL."""
        return f"http://{LOOPBACK}:{self._rest_port}"

    @property
    def sip(self) -> str:
        """Where the gateway takes calls, as host:port."""
        host, port = self.asterisk.sip_address
        return f"{host}:{port}"

    @property
    def config_file(self) -> Path:
        """The settings that voxrec runs with."""
        return self.directory / "voxrec.yaml"

    @property
    def log_file(self) -> Path:
        """What voxrec logs."""
        return self.directory / "voxrec.log"

    @property
    def pid(self) -> int:
        """The process id of twistd."""
        return self._running().pid

    @property
    def running(self) -> bool:
        """Whether voxrec's process runs."""
        return self._voxrec is not None and self._voxrec.running

    async def start(self, say: Say = lambda _: None) -> None:
        """Start all and wait until voxrec is ready; SandboxError, with its log, where it does not become so."""
        await self.start_surroundings(say)
        await self.start_voxrec()
        say(f"voxrec: REST on {self.url}, process {self.pid}")

    async def start_surroundings(self, say: Say = lambda _: None) -> None:
        """Start all that voxrec needs, and write its settings."""
        self.archive_directory.mkdir(parents=True, exist_ok=True)
        say("Asterisk")
        await self.asterisk.start(self._reactor)
        say(f"Asterisk {self.asterisk.version}: SIP on {self.sip}")
        if self._mails_here:
            self._start_mailbox()
        say(f"mailbox: SMTP on {LOOPBACK}:{self._mail_port}")
        self.write_configuration()

    async def stop(self) -> None:
        """Stop all, the last started first."""
        await self.stop_voxrec()
        if self._mailbox is not None:
            await self._mailbox.stop(self._reactor)
        await self.asterisk.stop(self._reactor)

    def kill(self) -> None:
        """End all at once, without a reactor; PostgreSQL ends with voxrec by itself."""
        for process in (self._voxrec, self._mailbox):
            if process is not None:
                process.kill()
        if self.asterisk.running:
            self.asterisk.kill()

    def _start_mailbox(self) -> None:
        self.mailbox_directory.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "voxrec.sandbox.mailbox", str(self.mailbox_directory), str(self._mail_port)]
        self._mailbox = Process(dying_with_parent(command), self.directory / "mailbox.log", directory=_package_root())

    def write_configuration(self) -> None:
        """Write the settings to `config_file`."""
        settings: dict[str, Any] = {
            "data_directory": str(self.directory / "data"),
            "asterisk": {
                "url": self.asterisk.ari_url,
                "user": self.asterisk.ari_user,
                "password": self.asterisk.ari_password,
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
            "mail": {"host": LOOPBACK, "port": self._mail_port, "sender": "voxrec@voxrec.test"},
        }
        for section, values in self._settings.items():
            settings.setdefault(section, {}).update(values)
        self.config_file.touch(mode=0o600)
        self.config_file.write_text(yaml.safe_dump(settings))

    async def start_voxrec(self) -> None:
        """Start voxrec alone and wait until it is ready."""
        self.launch_voxrec()
        await self.ready()

    def launch_voxrec(self) -> None:
        """Start voxrec alone."""
        command = self.daemon_command(self.config_file)
        self._voxrec = Process(dying_with_parent(command), self.log_file, directory=self.directory)

    def daemon_command(self, config_file: Path) -> list[str]:
        """The command line of a voxrec with these settings: ``twistd --nodaemon voxrec --config ...``."""
        twistd = Path(sys.executable).with_name("twistd")
        return [str(twistd), "--nodaemon", "--pidfile=", "voxrec", "--config", str(config_file)]

    async def ready(self) -> None:
        """Wait until voxrec says that it is ready; SandboxError, with its log, where it does not become so."""
        voxrec = self._running()

        async def ready_or_ended() -> bool:
            return not voxrec.running or await self.health() == 200

        in_time = await self.until(ready_or_ended, READY_SECONDS)
        if not voxrec.running:
            raise SandboxError(f"voxrec ended as it started:\n{voxrec.log_tail(40)}")
        if not in_time:
            raise SandboxError(f"voxrec was not ready in {READY_SECONDS:g} s:\n{voxrec.log_tail(40)}")

    async def health(self) -> int | None:
        """The status of /health/ready; None while REST does not answer."""
        try:
            return (await self.request("GET", "/health/ready")).status
        except (ConnectError, ResponseFailed, ResponseNeverReceived):
            return None

    async def stop_voxrec(self) -> int | None:
        """Stop voxrec alone, as systemd would; give back how it ended."""
        if self._voxrec is None:
            return None
        return await self._voxrec.stop(self._reactor, STOP_SECONDS)

    async def voxrec_ended(self, seconds: float) -> int:
        """Wait for voxrec's own end, and give back its exit status."""
        return await self._running().ended(self._reactor, seconds)

    def kill_voxrec(self) -> None:
        """End voxrec as a crash would."""
        self._running().kill()

    def signal_voxrec(self, number: signal.Signals) -> None:
        """Send voxrec a signal."""
        self._running().send(number)

    def logged(self, text: str) -> int:
        """How many lines of voxrec's log hold a text."""
        log = self.log_file.read_text(errors="replace") if self.log_file.exists() else ""
        return sum(text in line for line in log.splitlines())

    def voxrec_log(self, lines: int = 40) -> str:
        """The end of what voxrec logged."""
        return self._running().log_tail(lines)

    def _running(self) -> Process:
        if self._voxrec is None:
            raise SandboxError("voxrec was never started")
        return self._voxrec

    async def request(
        self, method: str, path: str, body: object | None = None, *, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Ask REST as the administrator; ``body`` is sent as JSON."""
        # no connection is kept: a test's reactor must be left as clean as it was found
        http = HTTPClient(Agent(self._reactor, pool=HTTPConnectionPool(self._reactor, persistent=False)))
        given = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        data = None
        if body is not None:
            data = msgspec.json.encode(body)
            given = {"Content-Type": "application/json", **given}
        response = await http.request(
            method,
            f"{self.url}{path}",
            headers=cast("Any", given),
            data=data,
            unbuffered=False,
            reactor=self._reactor,
            timeout=30,
        )
        content = await response.content()
        shown = {
            name.decode("latin-1").lower(): values[-1].decode("latin-1")
            for name, values in response.headers.getAllRawHeaders()
        }
        return Answer(response.code, shown, content)

    async def ask(self, method: str, path: str, body: object | None = None) -> Any:
        """Ask REST for something that must succeed, and give back the JSON of its answer."""
        answer = await self.request(method, path, body)
        if not 200 <= answer.status < 300:
            raise SandboxError(f"{method} {path}: {answer.status} {answer.body.decode(errors='replace')}")
        return answer.json() if answer.body else None

    async def recording_of(self, profile_id: str, seconds: float = 30.0) -> dict[str, Any]:
        """Wait for the Profile's newest Recording to reach a final state, and give it back."""
        recordings: list[dict[str, Any]] = []

        async def final() -> bool:
            recordings[:] = await self.ask("GET", f"/profiles/{profile_id}/recordings")
            return bool(recordings) and recordings[0]["state"] in ("completed", "failed", "absent")

        if not await self.until(final, seconds):
            raise SandboxError(f"no finished recording in {seconds:g} s: {recordings}\n{self.voxrec_log()}")
        return recordings[0]

    async def mail_about(self, recording_id: str, seconds: float = 30.0) -> tuple[Path, EmailMessage]:
        """Wait for the mail about a Recording, and give back its file and the mail."""
        found: list[tuple[Path, EmailMessage]] = []

        async def arrived() -> bool:
            found[:] = [each for each in self.mails() if each[1]["X-Voxrec-Recording"] == recording_id]
            return bool(found)

        if not await self.until(arrived, seconds):
            raise SandboxError(f"no mail about {recording_id} in {seconds:g} s\n{self.voxrec_log()}")
        return found[0]

    def mails(self) -> list[tuple[Path, EmailMessage]]:
        """All mails in the mailbox, oldest first."""
        files = sorted(self.mailbox_directory.glob("*.eml"), key=lambda path: path.stat().st_mtime_ns)
        parser = BytesParser(policy=email_policy)
        return [(path, parser.parsebytes(path.read_bytes())) for path in files]

    async def until(self, condition: Callable[[], Any], seconds: float) -> bool:
        """Ask an async ``condition`` again and again until it holds; False where it did not in time."""
        deadline = self._reactor.seconds() + seconds
        while not await condition():
            if self._reactor.seconds() > deadline:
                return False
            await deferLater(self._reactor, POLL_SECONDS)
        return True


def _package_root() -> Path:
    """From where ``-m voxrec...`` finds the same package as this process did."""
    return Path(__file__).parents[2]
