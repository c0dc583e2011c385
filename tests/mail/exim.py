"""A fixture: Exim, with the shipped settings for voxrec."""

import os
import re
from pathlib import Path
from typing import Final

from tests.mail.mail_server import MailServer
from tests.test_config import REPOSITORY
from voxrec.sandbox.rootfs import Recipe

EXIM: Final = Recipe("exim", "bookworm", ("exim4-daemon-light",))
SETTINGS: Final = REPOSITORY / "etc" / "exim" / "voxrec.conf"
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


class Exim(MailServer):
    """Passes mail for ``voxrec.example`` to ``lmtp_port``, and all other mail to ``far_end_port``."""

    def __init__(self, directory: Path, far_end_port: int, lmtp_port: int) -> None:
        super().__init__(directory, EXIM)
        router, transport = self._shipped_parts()
        self._configuration = _CONFIGURATION.format(
            port=self.port,
            far_end_port=far_end_port,
            router=router,
            transport=transport.replace("port = 2424", f"port = {lmtp_port}"),
        )

    @staticmethod
    def _shipped_parts() -> tuple[str, str]:
        """Return the router and the transport of the shipped settings, unchanged."""
        router, transport = re.split(r"(?m)^# Section .*\n", SETTINGS.read_text())[1:]
        return router, transport

    def configure(self) -> list[str]:
        """See `MailServer.configure`."""
        spool = self.directory / "spool"
        spool.mkdir()
        os.chown(spool, *self.account("Debian-exim"))
        configuration = self.directory / "exim.conf"
        configuration.write_text(self._configuration)
        configuration.chmod(0o644)
        return ["/usr/sbin/exim4", "-C", "/mnt/exim.conf", "-bdf", "-q1s", "-oP", "/mnt/spool/exim.pid"]

    def log_tail(self) -> str:
        """Return the end of what it has logged."""
        lines = super().log_tail().splitlines()
        for log in (self.directory / "spool").glob("*log"):
            lines += log.read_text(errors="replace").splitlines()[-20:]
        return "\n".join(lines)
