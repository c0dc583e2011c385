"""Connection strings: voxrec's defaults, and host names resolved without blocking the reactor."""

import ipaddress
import socket
from itertools import zip_longest
from typing import Final, NamedTuple

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
# With several servers there is another one to which voxrec can turn: within about 10 s.
_DEFAULTS_OF_SEVERAL: Final = {
    **_DEFAULTS,
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "tcp_user_timeout": "10000",
}


class Server(NamedTuple):
    """One of the servers of a connection string; empty strings stand for libpq's defaults."""

    host: str
    address: str
    port: str

    def __str__(self) -> str:
        """Return the server for people, as ``host:port``."""
        host = self.host or self.address or "local"
        return f"{host}:{self.port}" if self.port else host


def servers(dsn: str) -> list[Server]:
    """Return the servers of a connection string, in its order (libpq: Specifying Multiple Hosts)."""
    parameters = parse_dsn(dsn)
    hosts, addresses, ports = (str(parameters.get(name, "")).split(",") for name in ("host", "hostaddr", "port"))
    several = max(len(hosts), len(addresses))
    if len(ports) == 1:
        ports *= several
    return [Server(*each) for each in zip_longest(hosts, addresses, ports, fillvalue="")][:several]


def server_dsn(dsn: str, server: Server) -> str:
    """Return the connection string of one of the servers, with voxrec's defaults."""
    defaults = _DEFAULTS_OF_SEVERAL if len(servers(dsn)) > 1 else _DEFAULTS
    # psycopg2 would use the encoding of the environment, the role or the database
    parameters = {**defaults, **parse_dsn(dsn), "client_encoding": "UTF8"}
    for name, value in (("host", server.host), ("hostaddr", server.address), ("port", server.port)):
        parameters.pop(name, None)
        if value:
            parameters[name] = value
    return str(make_dsn(**parameters))


async def addresses(reactor: ReactorBase, dsn: str) -> list[Server]:
    """Return the servers of a connection string, one for each address of a name.

    libpq would resolve names itself, and block the reactor meanwhile; and it would wait for a server that does not
    respond for as long as for all of them. Raises OSError if no name can be resolved.
    """
    found: list[Server] = []
    failure: OSError | None = None
    for server in servers(dsn):
        if server.address or not _is_name(server.host):
            found.append(server)
            continue
        try:
            resolved = await deferToThreadPool(
                reactor, reactor.getThreadPool(), socket.getaddrinfo, server.host, None, type=socket.SOCK_STREAM
            )
        except OSError as error:
            failure = error
        else:
            found += [server._replace(address=str(address[0])) for *_, address in resolved]
    if failure is not None and not found:
        raise failure
    return found


def describe_dsn(dsn: str) -> str:
    """Return host, port and database of a connection string, without its secrets."""
    parameters = parse_dsn(dsn)
    return " ".join(f"{key}={parameters[key]}" for key in ("host", "port", "dbname") if key in parameters)


def _is_name(host: str) -> bool:
    """Return whether a host needs a name server."""
    if not host or host.startswith("/"):
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False
