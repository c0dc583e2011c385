"""Types of an SMTP session: the relay, the message with its envelope addresses, and the result for each recipient."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal

from voxrec.mailaddress import needs_smtputf8


@dataclass(frozen=True, slots=True)
class Relay:
    """The SMTP server that accepts mail from voxrec.

    ``timeout`` is the maximum wait for each complete reply, and for progress while the message is sent, in seconds.
    ``deadline`` limits the whole session, in seconds. An empty ``username`` means no authentication; the password is
    only sent under TLS or to this machine. Certificates are always verified: against ``ca_file`` (one or more PEM
    certificates, which may be self-signed) if set, otherwise against the system's certificate authorities.
    """

    host: str
    port: int = 25
    tls: Literal["none", "starttls", "implicit"] = "none"
    username: str = ""
    password: str = field(default="", repr=False)
    timeout: float = 60.0
    helo_domain: str = "localhost"
    ca_file: Path | None = None
    deadline: float = 1800.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """A recipient that the relay did not accept, with its reply. If ``permanent``, a retry cannot succeed.

    ``too_large`` means that a smaller message may be accepted.
    """

    recipient: str
    reply: str
    permanent: bool
    too_large: bool = False


@dataclass(frozen=True, slots=True)
class SendResult:
    """The result for each recipient. ``reply`` is the relay's last reply, which usually has its queue id.

    ``unconfirmed`` are recipients that may receive the message: the relay has accepted them and received all of the
    message, but not said whether it accepts that. ``reply`` is then the reason.
    """

    accepted: tuple[str, ...]
    refused: tuple[Refusal, ...]
    reply: str
    unconfirmed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UnconfirmedRetries:
    """How an unconfirmed mail is repeated: it is sent ``attempts`` times in all.

    ``interval`` is the time between the first two, which is four times as long after each further one. The default is
    the shortest retry interval that RFC 5321 section 4.5.4.1 recommends.
    """

    attempts: int = 3
    interval: timedelta = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message and its envelope addresses, which are valid (see `voxrec.mailaddress`).

    The message is ASCII, or has headers in UTF-8 (RFC 6532), which need a relay with SMTPUTF8.
    """

    sender: str
    recipients: list[str]
    message: bytes = field(repr=False)

    def recipients_for(self, *, smtputf8: bool) -> list[str]:
        """Return the recipients that a relay with or without SMTPUTF8 can have (RFC 6531 section 3.2)."""
        if smtputf8:
            return self.recipients
        if not self.message.isascii() or needs_smtputf8(self.sender):
            return []
        return [recipient for recipient in self.recipients if not needs_smtputf8(recipient)]

    @property
    def size(self) -> int:
        """The size that is sent, in bytes: with CRLF line ends, without dot-stuffing (RFC 1870 section 5)."""
        line_ends = self.message.count(b"\n")
        missing_line_end = 0 if self.message.endswith(b"\n") else 2
        return len(self.message) - self.message.count(b"\r") + line_ends + missing_line_end
