"""A fixture: Postfix with Debian's configuration and the shipped settings for voxrec."""

import os
import re
import shutil
from pathlib import Path
from typing import Final

from tests.certificates import write_certificate
from tests.mail.mail_server import MailServer
from tests.test_config import REPOSITORY
from voxrec.sandbox.rootfs import Recipe

POSTFIX: Final = Recipe("postfix", "bookworm", ("postfix",))
SETTINGS: Final = REPOSITORY / "etc" / "postfix" / "voxrec.cf"
OUTSIDE: Final = "127.0.0.2"
"""A client with this address is not in ``mynetworks``, like one in the Internet."""
SIZE_LIMIT: Final = 200_000  # bytes
# Where the files are, the account that Debian's package creates, and what an administrator sets for this machine. The
# times are shorter than the defaults, so that a test need not wait.
_MAIN: Final = """\
compatibility_level = 3.6
config_directory = /mnt/postfix
queue_directory = /mnt/spool
data_directory = /mnt/data
mail_owner = postfix
setgid_group = postdrop
maillog_file = /dev/stdout
myhostname = mx.voxrec.example
mydestination = localhost
mynetworks = 127.0.0.1/32
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
relayhost = [127.0.0.1]:{far_end_port}
alias_maps =
alias_database =
message_size_limit = {size_limit}
smtpd_tls_cert_file = /mnt/certificate.pem
smtpd_tls_key_file = /mnt/key.pem
smtpd_tls_security_level = may
smtpd_client_restrictions = check_policy_service inet:127.0.0.1:{policy_port}
queue_run_delay = 1s
minimal_backoff_time = 1s
address_verify_poll_delay = 1s
"""


class Postfix(MailServer):
    """Passes mail for ``voxrec.example`` to ``lmtp_port``, and all other mail to ``far_end_port``.

    The server at ``policy_port`` decides about clients (Postfix's SMTPD_POLICY_README), as for greylisting.
    """

    def __init__(self, directory: Path, far_end_port: int, lmtp_port: int, policy_port: int) -> None:
        super().__init__(directory, POSTFIX)
        self.certificate = self.directory / "certificate.pem"
        own = _MAIN.format(far_end_port=far_end_port, policy_port=policy_port, size_limit=SIZE_LIMIT)
        self._main = own + SETTINGS.read_text().replace("127.0.0.1:2424", f"127.0.0.1:{lmtp_port}")

    def configure(self) -> list[str]:
        """See `MailServer.configure`."""
        for name in ("spool", "data"):
            (self.directory / name).mkdir()
        os.chown(self.directory / "data", *self.account("postfix"))
        write_certificate(self.directory, "127.0.0.1")
        settings = self.directory / "postfix"
        shutil.copytree(self.rootfs / "etc" / "postfix", settings, symlinks=True)
        (settings / "main.cf").write_text(self._main)
        master = settings / "master.cf"
        text = (settings / "master.cf.proto").read_text()
        text, listeners = re.subn(r"(?m)^smtp( +inet )", rf"127.0.0.1:{self.port}\1", text)
        assert listeners == 1, "the package listens on the port of SMTP"
        master.write_text(text)
        return ["/usr/sbin/postfix", "-c", "/mnt/postfix", "start-fg"]
