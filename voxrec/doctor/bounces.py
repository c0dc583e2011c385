"""Check of the LMTP server for returned mails, as the mail server of this machine uses it."""

import smtplib
from collections.abc import Iterator
from typing import Final
from uuid import uuid4

from voxrec.bounce_address import BounceKey, BounceMailbox
from voxrec.config import Config
from voxrec.doctor.finding import Finding, failed, ok, warning

_TIMEOUT: Final = 10.0  # seconds
_UNKNOWN_ADDRESS: Final = 550


def check_bounces(config: Config) -> Iterator[Finding]:
    """Check that the server responds, and refuses an address that voxrec has not signed, if there is one."""
    settings = config.bounces
    if not settings.address:
        return
    if not settings.listen:
        remedy = "set bounces.listen on one node at least"
        yield warning("bounces", "this node does not accept returned mails; another one must", remedy)
        return
    address = BounceMailbox.parse(settings.address).address(BounceKey(0, b"").sign(uuid4(), 1))
    try:
        with _connect(settings.listen) as client:
            client.ehlo_or_helo_if_needed()
            client.mail("")
            code, reply = client.rcpt(address)
    except (OSError, smtplib.SMTPException) as error:
        yield failed("bounces", f"{settings.listen}: {error}", "is voxrec running? The log says why it does not listen")
        return
    if code == _UNKNOWN_ADDRESS:
        yield ok("bounces", f"{settings.listen} responds")
    else:
        text = reply.decode("utf-8", "replace")
        remedy = "see the state of PostgreSQL; otherwise another program listens there"
        yield failed("bounces", f"{settings.listen} replies {code} {text} to an unsigned address", remedy)


def _connect(listen: str) -> smtplib.LMTP:
    kind, _, rest = listen.partition(":")
    if kind == "unix":
        return smtplib.LMTP(rest.partition(":")[0], timeout=_TIMEOUT)
    port, _, interface = rest.partition(":interface=")
    return smtplib.LMTP(interface.replace("\\:", ":"), int(port), timeout=_TIMEOUT)
