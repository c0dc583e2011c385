"""A fixture: aiosmtpd, an SMTP server with a size limit that is independent of Twisted. It runs in a thread."""

import socket
from dataclasses import dataclass, field
from typing import Any, Final

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from voxrec.sandbox.asterisk import free_port

UNLIMITED: Final = 1 << 30  # bytes


@dataclass
class SizeLimitedRelay:
    """The messages received, by recipient, and the number of DATA commands.

    ``limit`` is the size limit in bytes, which the reply to EHLO has if ``advertised``. ``replies`` are the replies to
    MAIL, to RCPT by recipient, and to the end of the data, in place of success, to messages larger than ``limit``.
    ``smtputf8`` is whether the server offers SMTPUTF8. ``senders`` are those of the MAIL commands.
    """

    limit: int = UNLIMITED
    advertised: bool = True
    replies: dict[str, str] = field(default_factory=dict)
    messages: dict[str, list[bytes]] = field(default_factory=dict)
    senders: list[str] = field(default_factory=list)
    mail_options: list[list[str]] = field(default_factory=list)
    smtputf8: bool = False
    bytes_received: int = 0

    def start(self) -> int:
        """Start the server and return its port."""
        port = free_port(socket.SOCK_STREAM)
        # replies in place of aiosmtpd's own limit need a server that accepts the message
        data_size_limit = UNLIMITED if self.replies else self.limit
        self._controller = Controller(
            self,
            hostname="127.0.0.1",
            port=port,
            data_size_limit=data_size_limit,
            enable_SMTPUTF8=self.smtputf8,
            decode_data=False,
        )
        self._controller.start()
        return port

    def stop(self) -> None:
        self._controller.stop()

    # The hooks of aiosmtpd.

    async def handle_EHLO(  # noqa: N802
        self, _server: SMTP, session: Session, _envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return [line for line in responses if self.advertised or "SIZE" not in line]

    async def handle_MAIL(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.mail_options.append(options)
        declared = [int(option[5:]) for option in options if option.startswith("SIZE=")]
        envelope.declared_size = declared[0] if declared else 0  # type: ignore[attr-defined] # ours
        if "MAIL" in self.replies and declared and declared[0] > self.limit:
            return self.replies["MAIL"]
        envelope.mail_from = address
        self.senders.append(address)
        return "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Any, address: str, _options: list[str]
    ) -> str:
        if address in self.replies and envelope.declared_size > self.limit:
            return self.replies[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        self.bytes_received += len(envelope.content)
        if "DATA" in self.replies and len(envelope.content) > self.limit:
            return self.replies["DATA"]
        for recipient in envelope.rcpt_tos:
            self.messages.setdefault(recipient, []).append(envelope.content)
        return "250 2.0.0 queued"
