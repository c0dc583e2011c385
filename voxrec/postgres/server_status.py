"""The state of each server of a connection string: primary, or standby and what it has received. Blocking."""

from collections.abc import Sequence
from contextlib import closing
from typing import Final, NamedTuple

import psycopg2

from voxrec.postgres.direct_connection import one_line
from voxrec.postgres.dsn import Server, server_dsn, servers
from voxrec.postgres.server_history import ServerIdentity

_CONNECT_TIMEOUT: Final = 3  # seconds, for each server
# Needs no privilege. The functions of the write-ahead log exist only on a primary, or only on a standby.
_STATUS: Final = """
    SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on',
           (SELECT system_identifier FROM pg_control_system()),
           CASE WHEN NOT pg_is_in_recovery()
                THEN ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::bigint END,
           pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn()
                                ELSE pg_current_wal_flush_lsn() END, '0/0')::bigint
"""


class ServerStatus(NamedTuple):
    """A server. ``position`` is the byte of the write-ahead log up to which it has received it; None: not known.

    ``problem`` is why it does not respond; the other fields mean nothing then.
    """

    server: Server
    problem: str = ""
    standby: bool = False
    read_only: bool = False
    identity: ServerIdentity | None = None
    position: int | None = None

    @property
    def accepts_writes(self) -> bool:
        """Whether it is a primary."""
        return not self.problem and not self.standby and not self.read_only


def inspect_servers(dsn: str) -> list[ServerStatus]:
    """Return the status of each server of a connection string, in its order. Waits at most 3 s for each."""
    return [_inspect(dsn, server) for server in servers(dsn)]


def current_primary(statuses: Sequence[ServerStatus]) -> ServerStatus | None:
    """Return the primary: of several servers that accept writes, the one that was promoted last."""
    candidates = [status for status in statuses if status.accepts_writes]
    return max(candidates, key=lambda each: each.identity.timeline if each.identity else 0, default=None)


def primary_dsn(dsn: str) -> str:
    """Return the connection string of the primary, or the same one if it has one server, or none is a primary."""
    if len(servers(dsn)) == 1:
        return dsn
    primary = current_primary(inspect_servers(dsn))
    return dsn if primary is None else server_dsn(dsn, primary.server)


def _inspect(dsn: str, server: Server) -> ServerStatus:
    try:
        # "any": a standby is asked, too
        with closing(
            psycopg2.connect(server_dsn(dsn, server), connect_timeout=_CONNECT_TIMEOUT, target_session_attrs="any")
        ) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(f"SET statement_timeout = '{_CONNECT_TIMEOUT}s'")
                cursor.execute(_STATUS)
                ((standby, read_only, system, timeline, position),) = cursor.fetchall()
    except psycopg2.Error as error:
        return ServerStatus(server, one_line(error))
    identity = None if timeline is None else ServerIdentity(system, timeline)
    return ServerStatus(server, "", standby, read_only and not standby, identity, position)
