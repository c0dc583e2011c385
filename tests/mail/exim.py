"""A fixture: Exim, a mail server that returns what it cannot deliver, with the shipped settings for voxrec."""

import os
import re
import socket
from pathlib import Path
from typing import Final

from twisted.internet.interfaces import IReactorTime

from tests.test_config import REPOSITORY
from voxrec.sandbox.asterisk import free_port
from voxrec.sandbox.namespaces import MountNamespace
from voxrec.sandbox.process import Process, wait_until
from voxrec.sandbox.rootfs import Recipe, ensure_rootfs

EXIM: Final = Recipe("exim", "bookworm", ("exim4-daemon-light",))
SETTINGS: Final = REPOSITORY / "etc" / "exim" / "voxrec.conf"
_START_SECONDS: Final = 30.0
_CONFIGURATION: Final = """\
primary_hostname = mx.voxrec.example
domainlist relay_to_domains = voxrec.example
spool_directory = /mnt/spool
log_file_path = /mnt/spool/%slog
daemon_smtp_ports = {port}
local_interfaces = 127.0.0.1
tls_advertise_hosts =
host_lookup =
rfc1413_query_timeout = 0s
keep_environment =
acl_smtp_rcpt = accept_all
begin acl
accept_all:
  accept
begin routers
{router}
far_end:
  driver = manualroute
  route_list = * 127.0.0.1 byname
  self = send
  transport = far_end
begin transports
{transport}
far_end:
  driver = smtp
  port = {far_end_port}
  allow_localhost
  hosts_avoid_tls = *
begin retry
* * F,1h,1s
"""


class Exim:
    """One Exim, which passes mail for ``voxrec.example`` to ``lmtp_port``, and all other mail to ``far_end_port``.

    ``directory`` belongs to it. Only root can start it, since it changes its account.
    """

    def __init__(self, directory: Path, far_end_port: int, lmtp_port: int) -> None:
        self._directory = directory.absolute()
        rootfs = ensure_rootfs(EXIM, print)
        self._namespace = MountNamespace(rootfs, self._directory)
        self._account = self._find_account(rootfs)
        self.port = free_port(socket.SOCK_STREAM)
        router, transport = self._shipped_parts()
        self._configuration = _CONFIGURATION.format(
            port=self.port,
            far_end_port=far_end_port,
            router=router,
            transport=transport.replace("port = 2424", f"port = {lmtp_port}"),
        )
        self._process: Process | None = None

    @staticmethod
    def _find_account(rootfs: Path) -> tuple[int, int]:
        match = re.search(r"(?m)^Debian-exim:[^:]*:(\d+):(\d+):", (rootfs / "etc" / "passwd").read_text())
        assert match is not None, "the package creates the account"
        return int(match[1]), int(match[2])

    @staticmethod
    def _shipped_parts() -> tuple[str, str]:
        """Return the router and the transport of the shipped settings, unchanged."""
        router, transport = re.split(r"(?m)^# Section .*\n", SETTINGS.read_text())[1:]
        return router, transport

    async def start(self, reactor: IReactorTime) -> None:
        """Start the daemon, and wait until it listens."""
        self._namespace.prepare()
        spool = self._directory / "spool"
        spool.mkdir()
        os.chown(spool, *self._account)
        configuration = self._directory / "exim.conf"
        configuration.write_text(self._configuration)
        configuration.chmod(0o644)
        program = ["/usr/sbin/exim4", "-C", "/mnt/exim.conf", "-bdf", "-q1s", "-oP", "/mnt/spool/exim.pid"]
        self._process = process = Process(
            self._namespace.command(program, own_processes=True), self._directory / "exim.log"
        )
        listening = await wait_until(reactor, lambda: not process.running or self.listens(), _START_SECONDS)
        assert listening, self.log_tail()
        assert process.running, self.log_tail()

    def listens(self) -> bool:
        """Return whether it, or one of its processes, accepts connections."""
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def log_tail(self) -> str:
        """Return the end of what it has logged."""
        lines = [] if self._process is None else self._process.log_tail(40).splitlines()
        for log in (self._directory / "spool").glob("*log"):
            lines += log.read_text(errors="replace").splitlines()[-20:]
        return "\n".join(lines)

    def kill(self) -> None:
        """Kill all its processes."""
        if self._process is not None:
            self._process.kill()
