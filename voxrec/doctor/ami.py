"""Checks of the Asterisk Manager Interface (AMI), through which calls are recorded."""

import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Final
from urllib.parse import urlsplit

from voxrec.ami.connection import MODULE, default_port
from voxrec.ami.messages import BANNER, LINE_LIMIT, MessageDecoder, encode_action, login_key
from voxrec.config import Asterisk, Config
from voxrec.doctor.finding import Finding, failed, ok, warning
from voxrec.errors import AsteriskUnavailable

_TIMEOUT: Final = 5.0  # seconds
_INCLUDE: Final = "include voxrec/manager.conf in /etc/asterisk/manager.conf as the README says, and restart Asterisk"
# Each of them stands for a class that voxrec does not need.
_UNNEEDED: Final = {
    "Originate": "originate",
    "Command": "command",
    "UpdateConfig": "config",
    "Setvar": "call",
    "MessageSend": "message",
}


def check_ami(config: Config) -> Iterator[Finding]:
    """Check that AMI is reachable, accepts the user, permits MixMonitor and not much more, and has its module."""
    settings = config.asterisk
    try:
        with closing(_Session(settings.ami_url)) as session:
            yield from _check_session(session, settings)
    except (OSError, AsteriskUnavailable) as error:
        yield failed(
            "ami", f"AMI does not respond at {settings.ami_url}: {error}", f"check asterisk.ami_url; {_INCLUDE}"
        )


def _check_session(session: "_Session", settings: Asterisk) -> Iterator[Finding]:
    challenge = session.action("Challenge", {"AuthType": "MD5"}).get("Challenge", "")
    key = login_key(challenge, settings.ami_secret)
    login = session.action("Login", {"Username": settings.ami_user, "AuthType": "MD5", "Key": key, "Events": "off"})
    if login["Response"] != "Success":
        secret = "asterisk.ami_password" if settings.ami_password else "asterisk.password"
        yield failed(
            "ami",
            f"Asterisk refuses the login of {settings.ami_user} with {secret}: {login.get('Message')}",
            f"set the same secret in the section [{settings.ami_user}] of /etc/asterisk/manager.conf, permit this host "
            "there, and run asterisk -rx 'manager reload'",
        )
        return
    yield ok("ami", f"credentials of {settings.ami_user} accepted")
    yield _check_module(session, settings.ami_user)
    yield _check_privileges(session, settings.ami_user)


def _check_module(session: "_Session", user: str) -> Finding:
    answer = session.action("ModuleCheck", {"Module": MODULE})
    if answer["Response"] == "Success":
        return ok("ami module", f"{MODULE} is loaded")
    if answer.get("Message") == "Permission denied":
        return failed(
            "ami module",
            f"{user} does not have the class system, which MixMonitor requires",
            f"set write = system in the section [{user}] of /etc/asterisk/manager.conf, and manager reload",
        )
    return failed(
        "ami module",
        f"{MODULE} is not loaded; calls cannot be recorded",
        f"install it and load it in /etc/asterisk/modules.conf, or run asterisk -rx 'module load {MODULE}'",
    )


def _check_privileges(session: "_Session", user: str) -> Finding:
    commands = session.action("ListCommands", {})
    classes = [name for action, name in _UNNEEDED.items() if action in commands]
    if classes:
        return warning(
            "ami privileges",
            f"{user} also has the classes {', '.join(classes)}, which voxrec does not need",
            f"set write = system in the section [{user}] of /etc/asterisk/manager.conf, and manager reload",
        )
    return ok("ami privileges", f"{user} has the class system and no other that can place calls or run commands")


class _Session:
    """A connection that executes one action after the other."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        host = parts.hostname or ""
        self._socket = socket.create_connection((host, parts.port or default_port(url)), _TIMEOUT)
        try:
            if parts.scheme == "tls":
                self._socket = ssl.create_default_context().wrap_socket(self._socket, server_hostname=host)
            self._stream = self._socket.makefile("rb")
            if not BANNER.fullmatch(self._read_line()):
                raise AsteriskUnavailable("the peer did not send the banner of AMI")
        except BaseException:
            self._socket.close()
            raise

    def action(self, action: str, fields: Mapping[str, str]) -> Mapping[str, str]:
        """Execute an action, and return the fields of the response."""
        self._socket.sendall(encode_action(action, action, fields))
        decoder = MessageDecoder()
        while True:
            message = decoder.line_received(self._read_line())
            if message is not None and "Response" in message:
                return message

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()
        self._socket.close()

    def _read_line(self) -> bytes:
        line = self._stream.readline(LINE_LIMIT + 2)
        if not line.endswith(b"\r\n"):
            raise AsteriskUnavailable("the peer closed the connection, or does not speak AMI")
        return line[:-2]
