"""Recognizes a failover, and a former primary, by the timeline of a PostgreSQL server.

Each promotion of a standby begins a new timeline (PostgreSQL documentation, section 25.3.5). Of two servers of one
system, the one with the lower timeline is a former primary: what is written there is not in the other one, and is lost
when it becomes a standby.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from twisted.logger import Logger

from voxrec.errors import StoreUnavailable
from voxrec.postgres.dsn import Server

IDENTITY: Final = """
    SELECT system_identifier, ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::bigint
    FROM pg_control_system()
"""
"""Returns the two fields of a ServerIdentity; an error on a standby, and where these functions do not exist."""


class ServerIdentity(NamedTuple):
    """``system`` is the identifier of a cluster and all its copies, ``timeline`` the number of promotions, from 1."""

    system: int
    timeline: int


class ServerHistory:
    """The newest timeline that this node has seen, which outlasts a restart in the file ``path``.

    Without ``path`` nothing outlasts a restart.
    """

    _log = Logger()

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._handled = self._newest = self._load()
        self._callbacks: list[Callable[[], object]] = []
        self.last_server: Server | None = None
        """The server to which the last connection was opened. It is tried first."""

    def subscribe(self, on_failover: Callable[[], object]) -> None:
        """Call ``on_failover`` when a connection shows that a standby has been promoted: now, or during a restart.

        It may be called several times for one failover, and is called again after a restart until `failover_handled`.
        """
        self._callbacks.append(on_failover)

    def is_former_primary(self, identity: ServerIdentity) -> bool:
        """Return whether a server of the same system with a newer timeline has been seen."""
        newest = self._newest
        return newest is not None and newest.system == identity.system and identity.timeline < newest.timeline

    def connected(self, identity: ServerIdentity) -> None:
        """Take note of the server of a new connection. Raises StoreUnavailable if it is a former primary."""
        newest = self._newest
        if self.is_former_primary(identity):
            assert newest is not None
            raise StoreUnavailable(
                f"the server is a former primary (timeline {identity.timeline}, but {newest.timeline} is the current "
                "one): stop it, and make it a standby of the current primary"
            )
        self._newest = identity
        if newest is None or newest.system != identity.system:
            self.failover_handled(identity)
        elif identity.timeline > newest.timeline:
            self._log.warn(
                "PostgreSQL has failed over: timeline {timeline} after {former}",
                timeline=identity.timeline,
                former=newest.timeline,
            )
            self._notify()
        elif self._handled != identity:
            self._notify()

    def _notify(self) -> None:
        for callback in self._callbacks:
            callback()

    @property
    def unhandled(self) -> ServerIdentity | None:
        """The server after the last failover, if what that requires has not been done."""
        return None if self._handled == self._newest else self._newest

    def failover_handled(self, identity: ServerIdentity) -> None:
        """Remember a server: what the failover to it requires has been done."""
        self._handled = identity
        if self._path is not None:
            try:
                new = self._path.with_suffix(".new")
                new.write_bytes(msgspec.json.encode(identity))
                new.replace(self._path)
            except OSError as error:
                self._log.warn(
                    "the timeline of PostgreSQL cannot be stored in {path}; a failover during a restart of voxrec "
                    "would not be noticed: {error}",
                    path=self._path,
                    error=error,
                )

    def _load(self) -> ServerIdentity | None:
        if self._path is None:
            return None
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=ServerIdentity)
        except (OSError, msgspec.DecodeError):
            return None
