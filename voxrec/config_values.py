"""Checks of single values in the settings: URLs, connection strings, networks, hosts, names of nodes, and tokens."""

import base64
import ipaddress
import re
from collections.abc import Collection, Iterator
from typing import Final
from urllib.parse import urlsplit

import psycopg2
from psycopg2.extensions import parse_dsn

from voxrec.bounce_address import MAX_MAILBOX
from voxrec.errors import FieldError
from voxrec.loopback import is_loopback_address
from voxrec.mailaddress import MailAddressError, check_mail_address

_NODE_NAME: Final = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?"
NODE_NAME_RULE: Final = (
    "1 to 64 letters, digits, dots, hyphens and underscores, with a letter or a digit at the beginning and the end"
)
_UNIX_SOCKET: Final = re.compile(r"unix:/[^:]+(?::mode=[0-7]{3,4})?")
_TCP_PORT: Final = re.compile(r"tcp:([1-9][0-9]{0,4}):interface=((?:[^:\\]|\\:)+)")
_PRIMARY: Final = ("read-write", "primary")
_PORT_LIMIT: Final = 65536
_CUSTOMER_KEY_LENGTH: Final = 32  # bytes, as SSE-C demands
_MIN_TOKEN_LENGTH: Final = 20  # characters; 20 random hexadecimal digits have 80 bits of entropy
_MIN_TOKEN_VARIETY: Final = 8  # different characters; random tokens of the minimum length nearly always have more


def is_url(url: str, schemes: Collection[str]) -> bool:
    """Return whether ``url`` has one of the ``schemes``, a host, and, if it has a port, a valid one."""
    try:
        parts = urlsplit(url)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def is_ip_address(text: str) -> bool:
    """Return whether ``text`` is an IPv4 or IPv6 address, without a scope."""
    try:
        return not getattr(ipaddress.ip_address(text), "scope_id", None)
    except ValueError:
        return False


def dsn_problem(dsn: str) -> str | None:
    """Return what is wrong with a connection string of PostgreSQL, and what is allowed; None: nothing."""
    try:
        parameters = {name: str(value) for name, value in parse_dsn(dsn).items()}
    except psycopg2.ProgrammingError as error:
        return f"invalid PostgreSQL connection string: {str(error).strip()}"
    hosts, addresses, ports = (parameters.get(name, "").split(",") for name in ("host", "hostaddr", "port"))
    several = max(len(hosts), len(addresses))
    if len(hosts) not in (1, several) or (len(hosts) == 1 and hosts[0] and several > 1):
        return f"{len(hosts)} hosts in host, but {len(addresses)} addresses in hostaddr; expected the same number"
    if "hostaddr" in parameters and len(addresses) != several:
        return f"{len(addresses)} addresses in hostaddr, but {len(hosts)} hosts in host; expected the same number"
    if len(ports) not in (1, several):
        return f"{len(ports)} ports, but {several} hosts; expected one port, or one for each host"
    for port in ports:
        if port and not (port.isascii() and port.isdigit() and 0 < int(port) < _PORT_LIMIT):
            return f"invalid port {port!r}; expected a number from 1 to 65535"
    wanted = parameters.get("target_session_attrs", "any")
    if wanted not in _PRIMARY and (wanted != "any" or several > 1):
        return (
            f"target_session_attrs={wanted}, but voxrec needs the server that accepts writes; expected "
            f"target_session_attrs=read-write{'' if several > 1 else ', or none with a single host'}"
        )
    return None


def bounce_errors(address: str, listen: str) -> Iterator[FieldError]:
    """Yield what is wrong with the address to which mails are returned, and with where they are received."""
    if address and (problem := _bounce_address_problem(address)):
        yield FieldError("bounces.address", f"invalid email address {address!r}: it {problem}")
    if listen and not address:
        yield FieldError("bounces.address", "required if bounces.listen is set")
    if listen and not _is_local_endpoint(listen):
        yield FieldError(
            "bounces.listen",
            f"invalid value {listen!r}; expected a socket that only this machine can reach: unix:/path, "
            "unix:/path:mode=660 or tcp:port:interface=127.0.0.1",
        )


def _bounce_address_problem(address: str) -> str | None:
    try:
        check_mail_address(address)
    except MailAddressError as error:
        return str(error)
    local_part = address.rpartition("@")[0]
    if not re.fullmatch(rf"[A-Za-z0-9._-]{{1,{MAX_MAILBOX}}}", local_part):
        return f"needs before the @ at most {MAX_MAILBOX} letters, digits, dots, hyphens and underscores"
    return None


def _is_local_endpoint(listen: str) -> bool:
    if _UNIX_SOCKET.fullmatch(listen):
        return True
    match = _TCP_PORT.fullmatch(listen)
    return match is not None and int(match[1]) < _PORT_LIMIT and is_loopback_address(match[2].replace("\\:", ":"))


def is_network(entry: str) -> bool:
    """Return whether ``entry`` is an IP address or a network whose host bits are 0."""
    try:
        ipaddress.ip_network(entry)
    except ValueError:
        return False
    return True


def network_errors(setting: str, entries: Collection[str], *, also: Collection[str] = ()) -> Iterator[FieldError]:
    """Yield an error for each entry that is neither an IP address, nor a network, nor one of ``also``."""
    words = "".join(f", or {word}" for word in also)
    for entry in entries:
        if entry not in also and not is_network(entry):
            yield FieldError(
                setting,
                f"invalid entry {entry!r}; expected an IP address, a network such as 10.0.0.0/8 (host bits 0){words}",
            )


def is_host_entry(entry: str) -> bool:
    """Return whether ``entry`` is a host name, ``*.domain``, an IP address or a network."""
    try:
        ipaddress.ip_network(entry, strict=False)
    except ValueError:
        # digits, dots and slashes only: an invalid IP address and not a host name
        return re.fullmatch(
            r"(\*\.)?[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?\.?", entry
        ) is not None and not re.fullmatch(r"[0-9./]+", entry)
    return True


def is_node_name(name: str) -> bool:
    """Return whether ``name`` obeys `NODE_NAME_RULE`. Host names do (RFC 1123 section 2.1), unless they are longer."""
    return re.fullmatch(_NODE_NAME, name) is not None


def token_weakness(token: str) -> str | None:
    """Return why an administrator's token is refused, or None. An empty one is not used."""
    advice = "generate one, for example with: openssl rand -hex 32"
    if not token:
        return None
    if not re.fullmatch(r"[!-~]+", token):
        return f"must consist of visible ASCII characters, because clients send it in a header; {advice}"
    if len(token) < _MIN_TOKEN_LENGTH:
        return f"has {len(token)} characters; at least {_MIN_TOKEN_LENGTH} are required; {advice}"
    if len(set(token)) < _MIN_TOKEN_VARIETY:
        return f"has {len(set(token))} different characters; at least {_MIN_TOKEN_VARIETY} are required; {advice}"
    return None


def customer_keys(text: str) -> tuple[bytes, ...]:
    """Return the keys of SSE-C in ``text``: one of 32 bytes in Base64 in each line. Raises ValueError."""
    keys = []
    for number, line in enumerate(text.split(), 1):
        try:
            keys.append(base64.b64decode(line, validate=True))
        except ValueError as error:
            advice = "generate a key with: openssl rand -base64 32"
            raise ValueError(f"line {number} is not Base64: {error}; {advice}") from error
        if len(keys[-1]) != _CUSTOMER_KEY_LENGTH:
            raise ValueError(
                f"line {number} is a key of {len(keys[-1])} bytes; expected {_CUSTOMER_KEY_LENGTH}; "
                "generate one with: openssl rand -base64 32"
            )
    return tuple(keys)
