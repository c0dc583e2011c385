"""One private Kamailio with the shipped etc/kamailio/kamailio.cfg, unchanged, in front of nodes on loopback."""

import shutil
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from twisted.internet.interfaces import IReactorTime

from voxrec.sandbox.asterisk import LOOPBACK, free_port
from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.namespaces import MountNamespace
from voxrec.sandbox.process import Process, wait_until

CONFIGURATION: Final = "kamailio.cfg"
READY_EXTENSION: Final = "voxrec-ready"
_START_SECONDS: Final = 30.0
_TRUNKS_GROUP, _READY_GROUP, _ALL_GROUP = 1, 1, 2  # of kamailio.cfg


def configuration_file() -> Path:
    """Return the shipped kamailio.cfg: the checkout's, else the one that pip installed. Raises SandboxError."""
    checkout = Path(__file__).resolve().parents[2] / "etc" / "kamailio" / CONFIGURATION
    installed = Path(sys.prefix) / "share" / "voxrec" / "etc" / "kamailio" / CONFIGURATION
    for path in (checkout, installed):
        if path.is_file():
            return path
    raise SandboxError(f"voxrec's Kamailio configuration is neither {checkout} nor {installed}; reinstall voxrec")


class SandboxKamailio:
    """One Kamailio. Its port is chosen by the constructor and never changes.

    ``rootfs`` is a root file system that contains Kamailio (`voxrec.sandbox.rootfs.KAMAILIO`). ``directory`` belongs to
    this instance. ``nodes`` are the SIP addresses of the nodes, host and port. ``no_progress``: seconds that replace
    NO_PROGRESS of kamailio.cfg. ``certificate``: it also listens for TLS with this PEM, which contains the private key.
    """

    def __init__(
        self,
        directory: Path,
        rootfs: Path,
        nodes: Sequence[tuple[str, int]],
        *,
        no_progress: float | None = None,
        certificate: bytes | None = None,
    ) -> None:
        self.directory = directory.absolute()
        self.nodes = tuple(nodes)
        self._no_progress = no_progress
        self._certificate = certificate
        self._port = free_port(socket.SOCK_DGRAM)
        self.tls_port = free_port(socket.SOCK_STREAM)
        """TCP port on which it listens for TLS if it has a certificate."""
        self._namespace = MountNamespace(rootfs, self.directory)
        self._process: Process | None = None

    @property
    def sip_address(self) -> tuple[str, int]:
        """Host and UDP port to which the trunk sends its calls."""
        return LOOPBACK, self._port

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.running

    async def start(self, reactor: IReactorTime) -> None:
        """Start Kamailio, and wait until it knows which nodes are ready.

        Raises SandboxError, with the end of the log, if it ends or is not ready within 30 s.
        """
        self.write_configuration()
        etc = self._namespace.path_inside(self.directory / "etc")
        program = ["kamailio", "-DD", "-E", "-f", f"{etc}/{CONFIGURATION}", "-A", f'DIRECTORY="{etc}/"']
        if self._no_progress is not None:
            program += ["-A", f"NO_PROGRESS={round(self._no_progress * 1000)}"]
        self._process = Process(
            self._namespace.command([*program, "-m", "64", "-M", "8"], own_processes=True),
            self.directory / "kamailio.log",
        )
        process = self._process
        in_time = await wait_until(reactor, lambda: not process.running or self._listens(), _START_SECONDS)
        if not process.running or not in_time:
            process.kill()
            raise SandboxError(f"Kamailio does not start:\n{process.log_tail(40)}")

    def kill(self) -> None:
        """Kill all its processes (SIGKILL)."""
        if self._process is not None:
            self._process.kill()

    def log_tail(self, lines: int = 40) -> str:
        """Return the last lines of its log."""
        return "" if self._process is None else self._process.log_tail(lines)

    def _listens(self) -> bool:
        sockets = Path("/proc/net/udp").read_text().splitlines()[1:]
        return any(line.split()[1].endswith(f":{self._port:04X}") for line in sockets)

    def _tls_configuration(self, etc: Path) -> str:
        """Return the lines for TLS (docs/scaling.md), and write the certificate."""
        if self._certificate is None:
            return ""
        file = etc / "tls.pem"
        file.write_bytes(self._certificate)
        inside = self._namespace.path_inside(file)
        return (
            f'enable_tls=yes\nlisten=tls:{LOOPBACK}:{self.tls_port}\nloadmodule "tls.so"\n'
            'modparam("tls", "tls_method", "TLSv1.2+")\n'
            f'modparam("tls", "certificate", "{inside}")\nmodparam("tls", "private_key", "{inside}")\n'
        )

    def write_configuration(self) -> None:
        """Write the shipped file, and those that an administrator writes next to it."""
        self._namespace.prepare()
        etc = self.directory / "etc"
        etc.mkdir(exist_ok=True)
        shutil.copyfile(configuration_file(), etc / CONFIGURATION)
        control = self._namespace.path_inside(self.directory / "control")
        (etc / "voxrec-local.cfg").write_text(
            f'listen=udp:{LOOPBACK}:{self._port}\nlog_stderror=yes\nmodparam("ctl", "binrpc", "unix:{control}")\n'
            + self._tls_configuration(etc)
        )
        (etc / "trunks.list").write_text(f"{_TRUNKS_GROUP} {LOOPBACK} 32\n")
        (etc / "dispatcher.list").write_text(
            "".join(
                f"{_READY_GROUP} sip:{READY_EXTENSION}@{host}:{port}\n{_ALL_GROUP} sip:{host}:{port}\n"
                for host, port in self.nodes
            )
        )
