"""Connection strings: voxrec's defaults, and host names resolved without blocking the reactor."""

import ipaddress
import socket
from typing import Final

from psycopg2.extensions import make_dsn, parse_dsn
from twisted.internet.base import ReactorBase
from twisted.internet.threads import deferToThreadPool

_DEFAULTS: Final = {
    "fallback_application_name": "voxrec",
    # A peer that disappears without closing the connection is detected within about a minute. Unix sockets ignore
    # these.
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}


async def complete_dsn(reactor: ReactorBase, dsn: str) -> str:
    """Return a connection string with defaults added and the host name resolved to ``hostaddr``.

    libpq would resolve the name itself, and block the reactor meanwhile. Raises OSError if the name cannot be
    resolved.
    """
    # psycopg2 would use the encoding of the environment, the role or the database
    parameters = {**_DEFAULTS, **parse_dsn(dsn), "client_encoding": "UTF8"}
    host = str(parameters.get("host", ""))
    if "hostaddr" not in parameters and _is_name(host):
        found = await deferToThreadPool(
            reactor, reactor.getThreadPool(), socket.getaddrinfo, host, None, type=socket.SOCK_STREAM
        )
        addresses = [str(address[0]) for *_, address in found]
        parameters["hostaddr"] = ",".join(addresses)
        parameters["host"] = ",".join([host] * len(addresses))  # one for each address; TLS verifies it
    return str(make_dsn(**parameters))


def describe_dsn(dsn: str) -> str:
    """Return host, port and database of a connection string, without its secrets."""
    parameters = parse_dsn(dsn)
    return " ".join(f"{key}={parameters[key]}" for key in ("host", "port", "dbname") if key in parameters)


def _is_name(host: str) -> bool:
    """Return whether a host needs a name server. A list of several hosts is left to libpq."""
    if not host or host.startswith("/") or "," in host:
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False
