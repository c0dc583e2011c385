"""A private Asterisk for one test, demo or benchmark: its own directory, ports and password, the shared configuration.

The lines that a real installation needs (etc/asterisk) are copied as they are and included; what is written here only
adds ports, addresses and places. So whatever runs against the sandbox also proves those lines.
"""

import base64
import json
import secrets
import shutil
import socket
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IReactorTCP, IReactorTime
from twisted.internet.task import deferLater
from twisted.web.client import Agent, HTTPConnectionPool, ResponseFailed, readBody
from twisted.web.http_headers import Headers

from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.namespaces import Cell
from voxrec.sandbox.process import POLL_SECONDS, Process

LOOPBACK = "127.0.0.1"
SNIPPETS = ("http.conf", "ari.conf", "pjsip.conf", "extensions.conf")
START_SECONDS = 30.0
HTTP_OK = 200

# Below the range that the kernel gives out for connections, so no phone's or SIPp's free port lies in it.
RTP_PORTS = (20000, 29998)

# What a gateway never uses. Each waits for a file, a database or a bus that a sandbox has not, and fills the log with
# complaints about it. By pattern, since every release has its own.
UNNEEDED_MODULES = (
    "app_ad*", "app_agent*", "app_alarm*", "app_amd*", "app_confbridge*", "app_festival*", "app_followme*",
    "app_getcpeid*", "app_jack*", "app_meetme*", "app_minivm*", "app_page*", "app_queue*", "app_voicemail*",
    "cdr_*", "cel_*", "chan_[!bpr]*", "func_odbc*", "pbx_[!c]*",
    "res_adsi*", "res_ael*", "res_aeap*", "res_calendar*", "res_clialiases*", "res_config_*", "res_corosync*",
    "res_fax*", "res_hep*", "res_odbc*", "res_parking*", "res_phoneprov*", "res_pjsip_config_wizard*",
    "res_pjsip_notify*", "res_pjsip_phoneprov*", "res_pjsip_stir_shaken*", "res_pjsip_transport_websocket*",
    "res_prometheus*", "res_smdi*", "res_snmp*", "res_speech_aeap*", "res_stir_shaken*", "res_stun_monitor*",
    "res_xmpp*",
)  # fmt: skip

_LOGGER = """\
[general]
[logfiles]
messages.log => notice,warning,error
"""

# ARI's tone:ring and its like are looked up here.
_INDICATIONS = """\
[general]
country = us
[us]
description = United States
ringcadence = 2000,4000
dial = 350+440
busy = 480+620/500,0/500
ring = 440+480/2000,0/4000
congestion = 480+620/250,0/250
"""

# What the benchmarks measure voxrec against, each with what listens on a loopback port: dial-5070 calls it and nothing
# else, recorded-5070 records both sides in one file meanwhile, apart-5070 in two; app-NAME-5070 is a program's own.
_COMPARISONS = """\
[from-trunk](+)
exten => _dial-.,1,Dial(PJSIP/trunk/sip:desk@127.0.0.1:${EXTEN:5})
 same => n,Hangup(${HANGUPCAUSE})
exten => _recorded-.,1,MixMonitor(${ASTSPOOLDIR}/recording/mixed-${UNIQUEID}.wav)
 same => n,Goto(dial-${EXTEN:9},1)
exten => _apart-.,1,Set(side=${ASTSPOOLDIR}/recording/apart-${UNIQUEID})
 same => n,MixMonitor(,r(${side}-caller.wav)t(${side}-callee.wav))
 same => n,Goto(dial-${EXTEN:6},1)
exten => _app-.,1,Stasis(${CUT(EXTEN,-,2)},${CUT(EXTEN,-,3)})
 same => n,Hangup()
"""


class SandboxReactor(IReactorTCP, IReactorTime):
    """What the sandbox needs of a reactor: connections and time."""


def snippets_directory() -> Path:
    """Return where the shared Asterisk configuration lies: beside the package in a checkout, else where pip put it."""
    checkout = Path(__file__).resolve().parents[2] / "etc" / "asterisk"
    installed = Path(sys.prefix) / "share" / "voxrec" / "etc" / "asterisk"
    for directory in (checkout, installed):
        if all((directory / name).is_file() for name in SNIPPETS):
            return directory
    raise SandboxError(f"voxrec's Asterisk configuration is neither in {checkout} nor in {installed}: reinstall voxrec")


def free_port(kind: socket.SocketKind) -> int:
    """Return a loopback port that nothing listens on: SOCK_STREAM for TCP, SOCK_DGRAM for UDP."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def unneeded_modules(root: Path) -> list[str]:
    """Return the file names of the modules under ``root`` that a gateway can do without."""
    libraries = root / "usr" / "lib"
    found = [*libraries.glob("asterisk/modules/*.so"), *libraries.glob("*/asterisk/modules/*.so")]
    return sorted(path.name for path in found if any(fnmatch(path.name, pattern) for pattern in UNNEEDED_MODULES))


def plain_extension(port: int, *, way: Literal["dial", "recorded", "apart"] = "dial") -> str:
    """Return the number whose dialplan is nothing but a Dial of the phone on this loopback port.

    ``way``: nothing recorded; MixMonitor of both sides in one file; MixMonitor of each side in a file of its own.
    """
    return f"{way}-{port}"


def application_extension(app: str, port: int) -> str:
    """Return the number that enters a Stasis application, with the phone's loopback port as its argument."""
    return f"app-{app}-{port}"


class SandboxAsterisk:
    """One Asterisk on the loopback. Ports and password are chosen at construction and stay over restarts.

    ``rootfs`` is a root file system with Asterisk in it (voxrec.sandbox.rootfs); None means the one on PATH.
    ``directory`` is the instance's own and is made when missing.
    """

    ari_user = "voxrec"

    def __init__(self, directory: Path, rootfs: Path | None) -> None:
        self.directory = directory.absolute()
        self.ari_password = secrets.token_urlsafe(24)
        self.version = ""
        self._http_port = free_port(socket.SOCK_STREAM)
        self._sip_port = free_port(socket.SOCK_DGRAM)
        self._cell = Cell(rootfs, self.directory)
        self._process: Process | None = None

    @property
    def ari_url(self) -> str:
        """Where ARI answers, without a slash at the end."""
        return f"http://{LOOPBACK}:{self._http_port}/ari"

    @property
    def sip_address(self) -> tuple[str, int]:
        """Host and UDP port where calls come in."""
        return LOOPBACK, self._sip_port

    @property
    def recording_directory(self) -> Path:
        """Where Asterisk writes recordings, as the machine sees it."""
        return self.directory / "spool" / "recording"

    @property
    def sounds_directory(self) -> Path:
        """A directory for sounds to play, as the machine sees it; ``sounds_prefix`` is what Asterisk calls it."""
        return self.directory / "sounds"

    @property
    def sounds_prefix(self) -> str:
        """What stands before a sound's name in ARI: ``sound:{sounds_prefix}/hello`` plays hello.wav from there."""
        return self._cell.inside(self.sounds_directory)

    @property
    def pid(self) -> int:
        """The process id of Asterisk itself."""
        return self._running().pid

    @property
    def running(self) -> bool:
        """Whether the process runs; ARI may not answer yet."""
        return self._process is not None and self._process.running

    async def start(self, reactor: SandboxReactor) -> None:
        """Start it and wait until ARI answers, which sets ``version``; SandboxError when it does not."""
        self._write_configuration()
        program = ["asterisk", "-f", "-C", self._cell.inside(self.directory / "etc" / "asterisk.conf")]
        self._process = Process(self._cell.command(program), self.directory / "log" / "asterisk.log")
        deadline = reactor.seconds() + START_SECONDS
        while not (answer := await self._ask_version(reactor)):
            if not self._process.running:
                raise SandboxError(f"Asterisk ended as it started:\n{self.log_tail()}")
            if reactor.seconds() > deadline:
                self._process.kill()
                raise SandboxError(f"ARI did not answer within {START_SECONDS:g} s:\n{self.log_tail()}")
            await deferLater(reactor, POLL_SECONDS)
        self.version = answer

    async def stop(self, reactor: IReactorTime) -> None:
        """Stop it in order; calls are hung up. Nothing happens when it does not run."""
        if self._process is not None:
            await self._process.stop(reactor)

    def kill(self) -> None:
        """End it as a crash would: no BYE, no file closed."""
        self._running().kill()

    async def restart(self, reactor: SandboxReactor) -> None:
        """Stop it when it runs, and start it with the same ports, password and directory."""
        await self.stop(reactor)
        await self.start(reactor)

    def command_line(self, command: str) -> list[str]:
        """Return the program that has a running one do a command of its console, and prints what it says."""
        configuration = self._cell.inside(self.directory / "etc" / "asterisk.conf")
        return self._cell.command(["asterisk", "-C", configuration, "-rx", command])

    async def console(self, reactor: IReactorTime, command: str) -> str:
        """Return what its console answers to a command."""
        program = ["asterisk", "-C", self._cell.inside(self.directory / "etc" / "asterisk.conf"), "-rx", command]
        log = self.directory / "log" / f"console-{secrets.token_hex(4)}.log"
        process = Process(self._cell.command(program), log)
        await process.ended(reactor, START_SECONDS)
        told = log.read_text(errors="replace")
        log.unlink()
        return told

    def log_tail(self, lines: int = 20) -> str:
        """Return the end of its console and of its log."""
        messages = self.directory / "log" / "messages.log"
        logged = messages.read_text(errors="replace").splitlines()[-lines:] if messages.exists() else []
        printed = self._process.log_tail(lines) if self._process is not None else ""
        return "\n".join([printed, *logged])

    def _running(self) -> Process:
        if self._process is None:
            raise SandboxError("this Asterisk was never started")
        return self._process

    async def _ask_version(self, reactor: SandboxReactor) -> str | None:
        # No connection is kept: a test's reactor must be left as clean as it was found.
        agent = Agent(reactor, connectTimeout=1, pool=HTTPConnectionPool(reactor, persistent=False))
        credentials = base64.b64encode(f"{self.ari_user}:{self.ari_password}".encode())
        headers = Headers({b"Authorization": [b"Basic " + credentials]})
        try:
            response = await agent.request(b"GET", f"{self.ari_url}/asterisk/info".encode(), headers)
            body = await readBody(response)
        except (ConnectError, ResponseFailed):
            return None
        # While its modules load Asterisk answers 404, then 503.
        if response.code != HTTP_OK:
            return None
        version: str = json.loads(body)["system"]["version"]
        return version

    def _write_configuration(self) -> None:
        self._cell.prepare()
        self.directory.chmod(0o700)
        directories = ["etc/voxrec", "db", "keys/keys", "log", "run", "sounds", "spool/recording"]
        for name in directories:
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        for name in SNIPPETS:
            shutil.copyfile(snippets_directory() / name, self.directory / "etc" / "voxrec" / name)
        for name, text in self._configuration().items():
            (self.directory / "etc" / name).write_text(text)

    def _configuration(self) -> dict[str, str]:
        """Return what is written beside the snippets. ``[section](+)`` adds to, or replaces in, an included section."""
        inside = self._cell.inside
        root = self._cell.rootfs or Path("/")
        return {
            "asterisk.conf": (
                "[directories]\n"
                f"astetcdir => {inside(self.directory / 'etc')}\n"
                f"astdbdir => {inside(self.directory / 'db')}\n"
                f"astkeydir => {inside(self.directory / 'keys')}\n"
                f"astspooldir => {inside(self.directory / 'spool')}\n"
                f"astrundir => {inside(self.directory / 'run')}\n"
                f"astlogdir => {inside(self.directory / 'log')}\n"
                "[options]\n"
                # The default comes from the network card, which every instance on this machine shares.
                f"entityid = {_entity_id()}\n"
            ),
            "modules.conf": "\n".join(
                ["[modules]", "autoload = yes", *(f"noload = {name}" for name in unneeded_modules(root)), ""]
            ),
            "logger.conf": _LOGGER,
            "indications.conf": _INDICATIONS,
            "rtp.conf": f"[general]\nrtpstart = {RTP_PORTS[0]}\nrtpend = {RTP_PORTS[1]}\n",
            "http.conf": f'#include "voxrec/http.conf"\n[general](+)\nbindport = {self._http_port}\n',
            "ari.conf": f'#include "voxrec/ari.conf"\n[voxrec](+)\npassword = {self.ari_password}\n',
            "pjsip.conf": (
                '#include "voxrec/pjsip.conf"\n'
                f"[transport-udp](+)\nbind = {LOOPBACK}:{self._sip_port}\n"
                f"[trunk](+)\nmedia_address = {LOOPBACK}\nbind_rtp_to_media_address = yes\n"
                # Any phone on this machine is the trunk.
                "[trunk-identify](+)\nmatch = 127.0.0.0/8\n"
            ),
            "extensions.conf": f'#include "voxrec/extensions.conf"\n{_COMPARISONS}',
        }


def _entity_id() -> str:
    # The second bit of the first byte marks an address as locally administered: no card has it.
    return ":".join(f"{byte:02x}" for byte in bytes([2, *secrets.token_bytes(5)]))
