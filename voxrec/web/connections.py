"""The open connections of the HTTP server: how many there may be, and which is closed when there are too many."""

import enum
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final, Protocol

from twisted.logger import Logger

MAX_CONNECTIONS: Final = 1000
MAX_CONNECTIONS_PER_ADDRESS: Final = 200
RESERVED_CONNECTIONS: Final = 16
"""Connections beyond the maximum, for requests that must always be answered, such as those of health checks."""
LOCAL: Final = "unix"
"""The source of connections over a UNIX socket, and from trusted reverse proxies."""


class ConnectionState(enum.Enum):
    """What a connection is doing."""

    RECEIVING_HEAD = enum.auto()
    RECEIVING_BODY = enum.auto()
    RESPONDING = enum.auto()
    IDLE = enum.auto()  # between two requests
    CLOSING = enum.auto()  # the rest of the last response is being sent


_CLOSED_FIRST: Final = (
    frozenset({ConnectionState.RECEIVING_HEAD, ConnectionState.RECEIVING_BODY, ConnectionState.CLOSING}),
    frozenset({ConnectionState.IDLE}),
)


class Connection(Protocol):
    """An open connection."""

    @property
    def source(self) -> str:
        """The address or network of the client, or LOCAL."""

    @property
    def state(self) -> ConnectionState:
        """What the connection is doing."""

    def abort(self) -> None:
        """Close the connection now."""

    def check_deadline(self, now: float, /) -> None:
        """Close the connection if its deadline has passed."""


class Admission(enum.Enum):
    """Whether a new connection may be used."""

    GRANTED = enum.auto()
    RESERVED = enum.auto()  # only for requests that must always be answered
    REFUSED = enum.auto()


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The maximum number of connections, and that of one client. ``per_address`` 0: no limit for one client."""

    total: int = MAX_CONNECTIONS
    per_address: int = MAX_CONNECTIONS_PER_ADDRESS


class Connections:
    """The open connections, within ``limits``.

    A connection that exceeds a limit takes the place of the oldest one whose request is incomplete, or that is idle; if
    all are waiting for responses, it is one of RESERVED_CONNECTIONS. Therefore clients that open connections without
    sending requests shut out only themselves.
    """

    _log = Logger()

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._by_source: defaultdict[str, dict[Connection, None]] = defaultdict(dict)  # the oldest first
        self._reserved: dict[Connection, None] = {}
        self._count = 0
        self._reported: set[str] = set()

    def __len__(self) -> int:
        return self._count + len(self._reserved)

    def __iter__(self) -> Iterator[Connection]:
        return chain(*self._by_source.values(), self._reserved)

    def open(self, connection: Connection) -> Admission:
        """Add a new connection, unless it is refused."""
        source = connection.source
        siblings = self._by_source.get(source, {})
        if self.limits.per_address and source != LOCAL and len(siblings) >= self.limits.per_address:
            self._report(source, self.limits.per_address, source)
            if not self._make_room(siblings):
                return self._open_reserved(connection)
        if self._count >= self.limits.total:
            self._report("", self.limits.total, "the server")
            by_number = sorted(self._by_source.values(), key=len, reverse=True)
            if not any(map(self._make_room, by_number)):
                return self._open_reserved(connection)
        self._by_source[source][connection] = None
        self._count += 1
        return Admission.GRANTED

    def close(self, connection: Connection) -> None:
        """Remove a connection, if it has not been removed yet."""
        source = connection.source
        if connection in self._reserved:
            del self._reserved[connection]
        elif connection in self._by_source.get(source, {}):
            del self._by_source[source][connection]
            self._count -= 1
            if not self._by_source[source]:
                del self._by_source[source]
            if len(self._by_source.get(source, {})) <= self.limits.per_address // 2:
                self._reported.discard(source)
            if self._count <= self.limits.total // 2:
                self._reported.discard("")

    def _open_reserved(self, connection: Connection) -> Admission:
        if len(self._reserved) >= RESERVED_CONNECTIONS and not self._make_room(self._reserved):
            return Admission.REFUSED
        self._reserved[connection] = None
        return Admission.RESERVED

    def _make_room(self, connections: dict[Connection, None]) -> bool:
        """Close the oldest connection that is not waiting for a response. Return whether there was one."""
        for states in _CLOSED_FIRST:
            for connection in connections:
                if connection.state in states:
                    self.close(connection)
                    connection.abort()
                    return True
        return False

    def _report(self, key: str, limit: int, subject: str) -> None:
        if key not in self._reported:
            self._reported.add(key)
            self._log.warn(
                "REST: {subject} has the maximum of {limit} connections; closing the oldest incomplete ones",
                subject=subject,
                limit=limit,
            )
