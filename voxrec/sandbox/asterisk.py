"""One private Asterisk with its own directory, ports and password, and the shared configuration of etc/asterisk.

The files in etc/asterisk that a real installation uses are copied unchanged and included; this module adds only ports,
addresses and paths. Whatever runs against the sandbox therefore also tests those files.
"""

import base64
import json
import os
import random
import secrets
import shutil
import socket
import sys
from collections import deque
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IReactorTCP, IReactorTime
from twisted.internet.task import deferLater
from twisted.web.client import Agent, HTTPConnectionPool, ResponseFailed, readBody
from twisted.web.http_headers import Headers

from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.namespaces import MountNamespace
from voxrec.sandbox.process import POLL_SECONDS, Process

LOOPBACK = "127.0.0.1"
SNIPPETS = (
    *("asterisk.conf", "modules.conf", "stasis.conf", "http.conf", "ari.conf", "manager.conf"),
    *("rtp.conf", "pjsip.conf", "extensions.conf"),
)
START_SECONDS = 30.0
ASTERISK_ACCOUNT = 64123  # user and group id that no system uses; the root file systems need not know it
HTTP_OK = 200

RTP_PORTS = (20000, 29998)
# Below RTP_PORTS, and below the ephemeral ports (32768 and above), which the kernel gives to outgoing connections.
LISTENING_PORTS = range(10000, 20000)
_RESERVED_PORTS = 100  # of each process; a program binds its port long before so many others are chosen

# Modules that a gateway does not use. Each waits for a file, a database or a bus that the sandbox lacks, and logs
# errors about it. Patterns, because the set differs between releases.
UNNEEDED_MODULES = (
    "app_ad*", "app_agent*", "app_alarm*", "app_amd*", "app_confbridge*", "app_festival*", "app_followme*",
    "app_getcpeid*", "app_jack*", "app_meetme*", "app_minivm*", "app_page*", "app_queue*", "app_voicemail*",
    "cdr_*", "cel_*", "chan_[!bpr]*", "func_odbc*", "pbx_[!cl]*", "pbx_lua*",
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

# Asterisk plays tone: media (such as tone:ring) from these definitions.
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

# Dialplan that the benchmarks compare voxrec with, for a phone on the given loopback port: dial-5070 dials it,
# both-5070 also records both sides to one file, split-5070 to two; app-NAME-5070 enters the Stasis application NAME.
# The prefixes must not contain N, X or Z in either case: these are wildcards of a pattern.
_COMPARISONS = """\
[from-trunk](+)
exten => _dial-.,1,Goto(comparisons,${EXTEN},1)
exten => _both-.,1,Goto(comparisons,${EXTEN},1)
exten => _split-.,1,Goto(comparisons,${EXTEN},1)
exten => _app-.,1,Goto(comparisons,${EXTEN},1)
[comparisons]
exten => _dial-.,1,Dial(PJSIP/trunk/sip:desk@127.0.0.1:${EXTEN:5})
 same => n,Hangup(${HANGUPCAUSE})
exten => _both-.,1,MixMonitor(${ASTSPOOLDIR}/recording/mixed-${UNIQUEID}.wav)
 same => n,Goto(dial-${EXTEN:5},1)
exten => _split-.,1,Set(side=${ASTSPOOLDIR}/recording/split-${UNIQUEID})
 same => n,MixMonitor(,r(${side}-caller.wav)t(${side}-callee.wav))
 same => n,Goto(dial-${EXTEN:6},1)
exten => _app-.,1,Stasis(${CUT(EXTEN,-,2)},${CUT(EXTEN,-,3)})
 same => n,Hangup()
"""

_BASELINE_PREFIXES = {"none": "dial", "mixed": "both", "split": "split"}


class SandboxReactor(IReactorTCP, IReactorTime):
    """The reactor interfaces that the sandbox uses."""


def snippets_directory() -> Path:
    """Return the directory of the shared Asterisk configuration: the checkout's, else the one that pip installed.

    Raises SandboxError if neither exists.
    """
    checkout = Path(__file__).resolve().parents[2] / "etc" / "asterisk"
    installed = Path(sys.prefix) / "share" / "voxrec" / "etc" / "asterisk"
    for directory in (checkout, installed):
        if all((directory / name).is_file() for name in SNIPPETS):
            return directory
    raise SandboxError(f"voxrec's Asterisk configuration is neither in {checkout} nor in {installed}; reinstall voxrec")


_reservations: deque[socket.socket] = deque(maxlen=_RESERVED_PORTS)


def free_port(kind: socket.SocketKind) -> int:
    """Return an unused loopback port: SOCK_STREAM for TCP, SOCK_DGRAM for UDP.

    No other process gets it from this function while this one runs, so that it is still unused when a program binds it
    seconds later. A reservation is an abstract Unix socket, which ends with its process. Raises SandboxError if there
    is no such port.
    """
    for port in random.sample(LISTENING_PORTS, len(LISTENING_PORTS)):
        reservation = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            reservation.bind(f"\0voxrec-port-{port}")
            with socket.socket(socket.AF_INET, kind) as probe:
                probe.bind((LOOPBACK, port))
        except OSError:
            reservation.close()
        else:
            if len(_reservations) == _RESERVED_PORTS:
                _reservations[0].close()
            _reservations.append(reservation)
            return port
    raise SandboxError(f"no loopback port of {LISTENING_PORTS.start} to {LISTENING_PORTS.stop - 1} is free")


def uri_host(address: str) -> str:
    """Return an IP address as the host of a URI: an IPv6 address in brackets."""
    return f"[{address}]" if ":" in address else address


def unneeded_modules(root: Path) -> list[str]:
    """Return the file names of the Asterisk modules below ``root`` that a gateway does not need."""
    libraries = root / "usr" / "lib"
    found = [*libraries.glob("asterisk/modules/*.so"), *libraries.glob("*/asterisk/modules/*.so")]
    return sorted(path.name for path in found if any(fnmatch(path.name, pattern) for pattern in UNNEEDED_MODULES))


def baseline_extension(port: int, *, recording: Literal["none", "mixed", "split"] = "none") -> str:
    """Return the extension that dials the phone on a loopback port by dialplan alone, without voxrec.

    ``recording``: none; "mixed" records both sides to one file with MixMonitor; "split" each side to its own file.
    """
    return f"{_BASELINE_PREFIXES[recording]}-{port}"


def application_extension(app: str, port: int) -> str:
    """Return the extension that enters the Stasis application ``app`` with a phone's loopback port as its argument."""
    return f"app-{app}-{port}"


class SandboxAsterisk:
    """One Asterisk on the loopback interface. Its ports and password are chosen by the constructor and never change.

    ``rootfs`` is a root file system that contains Asterisk (see voxrec.sandbox.rootfs); None uses the one on PATH.
    ``directory`` belongs to this instance and is created if it is missing.
    """

    ari_user = "voxrec"
    ami_user = "voxrec"

    def __init__(self, directory: Path, rootfs: Path | None) -> None:
        self.directory = directory.absolute()
        self.ari_password = secrets.token_urlsafe(24)
        self.version = ""
        self.ami_password = secrets.token_urlsafe(24)
        self.additions: dict[str, str] = {}
        """Lines that an administrator would add to a configuration file, by the file's name; for the next start."""
        self.prefer_audio = False
        """Whether the kernel is to prefer Asterisk to programs without audio, as in an installation (`-p`)."""
        self._http_port = free_port(socket.SOCK_STREAM)
        self._ami_port = free_port(socket.SOCK_STREAM)
        self._sip_port = free_port(socket.SOCK_DGRAM)
        self._namespace = MountNamespace(rootfs, self.directory)
        self._process: Process | None = None

    @property
    def ari_url(self) -> str:
        """The base URL of ARI, without a trailing slash."""
        return f"http://{LOOPBACK}:{self._http_port}/ari"

    @property
    def ami_url(self) -> str:
        """The URL of AMI."""
        return f"tcp://{LOOPBACK}:{self._ami_port}"

    @property
    def sip_address(self) -> tuple[str, int]:
        """Host and UDP port for incoming calls."""
        return LOOPBACK, self._sip_port

    @property
    def recording_directory(self) -> Path:
        """Directory in which Asterisk stores recordings, as a path of the host."""
        return self.directory / "spool" / "recording"

    @property
    def sounds_directory(self) -> Path:
        """Directory for sounds to play, as a path of the host; see `sounds_prefix`. voxrec creates it."""
        return self.directory / "sounds"

    @property
    def sounds_prefix(self) -> str:
        """Path of `sounds_directory` in Asterisk: ``sound:{sounds_prefix}/hello`` plays hello.wav from it."""
        return self.path_inside(self.sounds_directory)

    def path_inside(self, path: Path) -> str:
        """Return the path under which Asterisk sees ``path``, a path below ``directory``."""
        return self._namespace.path_inside(path)

    @property
    def _account(self) -> int | None:
        """The id of the user and group that run Asterisk. If this is root, it is not voxrec's, as in an installation.

        Without a root file system of its own, Asterisk may not be able to enter the directories above the instance.
        """
        return ASTERISK_ACCOUNT if os.geteuid() == 0 and self._namespace.rootfs is not None else None

    @property
    def pid(self) -> int:
        """The process id of Asterisk."""
        return self._require_process().pid

    @property
    def running(self) -> bool:
        """Whether the process runs; ARI may not be available yet."""
        return self._process is not None and self._process.running

    async def start(self, reactor: SandboxReactor) -> None:
        """Start Asterisk, wait until ARI responds, and set ``version``.

        Raises SandboxError, with the end of the log, if it ends or does not respond within 30 s.
        """
        self._write_configuration()
        program = ["asterisk", "-f", "-C", self._namespace.path_inside(self.directory / "etc" / "asterisk.conf")]
        command = self._namespace.command(program, self._account)
        self._process = Process(command, self.directory / "log" / "asterisk.log")
        if self.prefer_audio:
            self._process.prefer_for_audio()
        deadline = reactor.seconds() + START_SECONDS
        while not (version := await self._request_version(reactor)):
            if not self._process.running:
                raise SandboxError(f"Asterisk ended while starting:\n{self.log_tail()}")
            if reactor.seconds() > deadline:
                self._process.kill()
                raise SandboxError(f"ARI did not respond within {START_SECONDS:g} s:\n{self.log_tail()}")
            await deferLater(reactor, POLL_SECONDS)
        self.version = version

    async def stop(self, reactor: IReactorTime) -> None:
        """Stop Asterisk if it runs; its calls are hung up."""
        if self._process is not None:
            await self._process.stop(reactor)

    def kill(self) -> None:
        """Kill Asterisk (SIGKILL): it sends no BYE and closes no file."""
        self._require_process().kill()

    async def restart(self, reactor: SandboxReactor) -> None:
        """Stop Asterisk if it runs, and start it with the same ports, password and directory."""
        await self.stop(reactor)
        await self.start(reactor)

    def console_command_line(self, command: str) -> list[str]:
        """Return the program that runs ``command`` on the console of the running Asterisk and prints its output."""
        configuration = self._namespace.path_inside(self.directory / "etc" / "asterisk.conf")
        return self._namespace.command(["asterisk", "-C", configuration, "-rx", command], self._account)

    async def run_console_command(self, reactor: IReactorTime, command: str) -> str:
        """Run ``command`` on Asterisk's console and return its output."""
        log = self.directory / "log" / f"console-{secrets.token_hex(4)}.log"
        process = Process(self.console_command_line(command), log)
        await process.wait_until_ended(reactor, START_SECONDS)
        output = log.read_text(errors="replace")
        log.unlink()
        return output

    def log_tail(self, lines: int = 20) -> str:
        """Return the last lines of its console output and of its log."""
        messages = self.directory / "log" / "messages.log"
        logged = messages.read_text(errors="replace").splitlines()[-lines:] if messages.exists() else []
        printed = self._process.log_tail(lines) if self._process is not None else ""
        return "\n".join([printed, *logged])

    def _require_process(self) -> Process:
        if self._process is None:
            raise SandboxError("Asterisk has not been started")
        return self._process

    async def _request_version(self, reactor: SandboxReactor) -> str | None:
        # No connection is kept open: a test must leave its reactor clean.
        agent = Agent(reactor, connectTimeout=1, pool=HTTPConnectionPool(reactor, persistent=False))
        credentials = base64.b64encode(f"{self.ari_user}:{self.ari_password}".encode())
        headers = Headers({b"Authorization": [b"Basic " + credentials]})
        try:
            response = await agent.request(b"GET", f"{self.ari_url}/asterisk/info".encode(), headers)
            body = await readBody(response)
        except (ConnectError, ResponseFailed):
            return None
        # Asterisk responds 404, then 503, while it loads its modules.
        if response.code != HTTP_OK:
            return None
        version: str = json.loads(body)["system"]["version"]
        return version

    def _write_configuration(self) -> None:
        self._namespace.prepare()
        directories = ["etc/voxrec", "db", "keys/keys", "log", "run", "spool/recording"]
        for name in directories:
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        for name in SNIPPETS:
            shutil.copyfile(snippets_directory() / name, self.directory / "etc" / "voxrec" / name)
        configuration = self._configuration()
        for name in configuration.keys() | self.additions.keys():
            text = configuration.get(name, "") + self.additions.get(name, "")
            (self.directory / "etc" / name).write_text(text)
        self.directory.chmod(0o711)  # voxrec's sounds are below it
        for name in ("etc", "db", "keys", "log", "run", "spool"):
            self._give_to_asterisk(self.directory / name)

    def _give_to_asterisk(self, directory: Path) -> None:
        """Make a directory and its content Asterisk's own, and unreadable for others: there are passwords in it."""
        directory.chmod(0o700)
        if (account := self._account) is not None:
            for path in (directory, *directory.rglob("*")):
                os.chown(path, account, account, follow_symlinks=False)

    def _configuration(self) -> dict[str, str]:
        """Return the configuration files by name. ``[section](+)`` adds to, or replaces in, an included section."""
        inside = self._namespace.path_inside
        root = self._namespace.rootfs or Path("/")
        return {
            "asterisk.conf": (
                "[directories]\n"
                f"astetcdir => {inside(self.directory / 'etc')}\n"
                f"astdbdir => {inside(self.directory / 'db')}\n"
                f"astkeydir => {inside(self.directory / 'keys')}\n"
                f"astspooldir => {inside(self.directory / 'spool')}\n"
                f"astrundir => {inside(self.directory / 'run')}\n"
                f"astlogdir => {inside(self.directory / 'log')}\n"
                # A relative path would be looked up in /etc/asterisk: astetcdir is not known yet.
                f'[options]\n#include "{inside(self.directory / "etc" / "voxrec" / "asterisk.conf")}"\n[options](+)\n'
                # The default is derived from the network card, which all instances on this host share.
                f"entityid = {_entity_id()}\n"
            ),
            "modules.conf": "\n".join(
                [
                    "[modules]",
                    "autoload = yes",
                    *(f"noload = {name}" for name in unneeded_modules(root)),
                    '#include "voxrec/modules.conf"',
                    "",
                ]
            ),
            "logger.conf": _LOGGER,
            "indications.conf": _INDICATIONS,
            "stasis.conf": '[declined_message_types]\n#include "voxrec/stasis.conf"\n',
            "rtp.conf": f'[general]\nrtpstart = {RTP_PORTS[0]}\nrtpend = {RTP_PORTS[1]}\n#include "voxrec/rtp.conf"\n',
            "http.conf": f'[general]\n#include "voxrec/http.conf"\n[general](+)\nbindport = {self._http_port}\n',
            "ari.conf": f'[general]\n#include "voxrec/ari.conf"\n[voxrec](+)\npassword = {self.ari_password}\n',
            "manager.conf": (
                f'[general]\n#include "voxrec/manager.conf"\n[general](+)\nport = {self._ami_port}\n'
                f"[voxrec](+)\nsecret = {self.ami_password}\n"
            ),
            "pjsip.conf": (
                '#include "voxrec/pjsip.conf"\n'
                f"[transport-udp](+)\nbind = {LOOPBACK}:{self._sip_port}\n"
                f"[trunk](+)\nmedia_address = {LOOPBACK}\nbind_rtp_to_media_address = yes\n"
                f"[trusted](+)\nmedia_address = {LOOPBACK}\nbind_rtp_to_media_address = yes\n"
                f"[trunk-identify](+)\nmatch = {LOOPBACK}\n"
            ),
            "extensions.conf": f'#include "voxrec/extensions.conf"\n{_COMPARISONS}',
        }


def _entity_id() -> str:
    # Bit 1 of the first octet marks a locally administered address, which no network card has.
    return ":".join(f"{byte:02x}" for byte in bytes([2, *secrets.token_bytes(5)]))
