"""A connection to PostgreSQL: connecting and every statement take a bounded time, and errors are voxrec's.

txpostgres connects; DirectConnection runs the statements.
"""

from collections.abc import Callable
from typing import Final

import psycopg2
from psycopg2.errors import FeatureNotSupported, InvalidSqlStatementName, ReadOnlySqlTransaction
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, QueryCanceledError
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred, TimeoutError  # noqa: A004
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater

from voxrec.deferreds import Backoff, shielded
from voxrec.errors import InvalidInput, StatementTimeout, StoreUnavailable
from voxrec.postgres.direct_connection import DirectConnection, one_line
from voxrec.postgres.dsn import addresses, server_dsn
from voxrec.postgres.server_history import IDENTITY, ServerHistory, ServerIdentity
from voxrec.postgres.statement import Params, PreparedStatement, Result

RECONNECT_BACKOFF: Final = Backoff(first=0.16, limit=5.0, factor=1.6, jitter=0.0)

_RESPONSE_GRACE: Final = 5.0  # seconds beyond statement_timeout after which the server counts as lost
_SHUTDOWN_READS: Final = 8  # reads that reach the end of the stream: a notice, the reason and the end, each in parts
_INITIALIZE_SESSION: Final = """
    SELECT set_config('TimeZone', 'UTC', false), set_config('statement_timeout', %s, false),
           current_setting('transaction_read_only')
"""
# The statement is valid but this server cannot run it now.
_UNAVAILABLE: Final = (psycopg2.OperationalError, psycopg2.InterfaceError, ConnectionClosed)
_READ_ONLY: Final = "the server is read-only: it is a standby, or default_transaction_read_only is on"


class Connection(DirectConnection):
    """One connection, for one statement at a time.

    ``on_lost(connection, reason)`` is called once if the connection ends other than by `disconnect`.
    """

    def __init__(self, reactor: ReactorBase, on_lost: "Callable[[Connection, str], None]") -> None:
        super().__init__(reactor)
        self._on_lost = on_lost
        self._is_open = False
        self._prepared: set[str] = set()
        self._response_timeout = 0.0
        self._response_timer: IDelayedCall | None = None
        self.identity: ServerIdentity | None = None
        """The server of the open connection, if it has revealed that."""

    async def open(self, dsn: str, *, connect_timeout: float, statement_timeout: float) -> None:
        """Connect and initialize the session; both timeouts are seconds.

        ``dsn`` has one server, with its address. Raises StoreUnavailable if that fails, or the server is read-only.
        """
        self._response_timeout = statement_timeout + _RESPONSE_GRACE
        try:
            await shielded(self.connect(dsn)).addTimeout(connect_timeout, self.reactor)
            self.take_over_socket()
            timeout = f"{round(statement_timeout * 1000)}ms"
            result = await shielded(Deferred.fromCoroutine(self.run(_INITIALIZE_SESSION, (timeout,))))
            if result.rows[0][-1] == "on":
                raise StoreUnavailable(_READ_ONLY)
            self.identity = await shielded(Deferred.fromCoroutine(self._identify()))
        except TimeoutError as error:
            self.disconnect()
            raise StoreUnavailable(f"no connection within {connect_timeout:g} s") from error
        except psycopg2.Error as error:
            self.disconnect()
            raise StoreUnavailable(one_line(error)) from error
        except BaseException:
            self.disconnect()
            raise
        self._is_open = True

    async def _identify(self) -> ServerIdentity | None:
        """Return the identity of the server, or None if it does not reveal it, as some that are compatible."""
        try:
            ((system, timeline),) = (await self.run(IDENTITY)).rows
        except psycopg2.Error:
            return None
        return ServerIdentity(system, timeline)

    @property
    def is_open(self) -> bool:
        """Whether the connection is open as far as the data read so far tell; see `is_usable`."""
        return self._is_open

    @property
    def is_usable(self) -> bool:
        """Whether a statement can be sent. Reads a shutdown message that is still in the socket's buffer."""
        for _ in range(_SHUTDOWN_READS):
            if not self._is_open or not self.has_unread_data:
                break
            self.process_io()
        return self._is_open

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return bool(self.pollable().get_transaction_status() != TRANSACTION_STATUS_IDLE)

    async def run(self, sql: str, params: Params = ()) -> Result:
        """Run a statement and return its result.

        Raises StoreUnavailable if PostgreSQL could not run it, or the connection was lost and the outcome is unknown;
        InvalidInput if a value cannot be stored in its type; and other psycopg2 errors, such as IntegrityError,
        unchanged.
        """
        text = await self._prepare(sql) if isinstance(sql, PreparedStatement) else sql
        try:
            self._restart_response_timer()
            cursor, result = self.send(text, params)
            if result.called:  # callers rely on run() never completing within the call
                await deferLater(self.reactor, 0)
            await result
            return Result(cursor.fetchall() if cursor.description else [], cursor.rowcount, cursor.statusmessage)
        except (FeatureNotSupported, InvalidSqlStatementName) as error:
            if isinstance(sql, PreparedStatement):
                # A table was altered, or the session's statements were deallocated. A new connection prepares anew.
                self.on_closed("a prepared statement has become invalid")
                raise StoreUnavailable(one_line(error)) from error
            raise
        except ReadOnlySqlTransaction as error:  # since it was connected; another one may be the primary now
            self.on_closed(_READ_ONLY)
            raise StoreUnavailable(one_line(error)) from error
        except QueryCanceledError as error:
            raise StatementTimeout("the statement took too long and was cancelled") from error
        except _UNAVAILABLE as error:
            raise StoreUnavailable(one_line(error)) from error
        except (psycopg2.DataError, ValueError) as error:  # ValueError: a string with NUL or half a surrogate pair
            raise InvalidInput(f"PostgreSQL cannot store this: {_without_sql(error)}") from error
        finally:
            if self.pollable().closed:
                self.on_closed("the connection was lost")

    async def _prepare(self, sql: PreparedStatement) -> str:
        if sql.name not in self._prepared:
            await self.run(sql.prepare_sql)
            self._prepared.add(sql.name)
        return sql.execute_sql

    def disconnect(self) -> None:
        """Close the connection at once. A statement in progress fails with StoreUnavailable."""
        self._is_open = False
        if self._response_timer is not None:
            self._response_timer.cancel()
            self._response_timer = None
        if self.pollable() is not None:
            self.close()  # calls connectionLost
        self.release_socket()

    def on_closed(self, reason: str) -> None:
        """Disconnect and call ``on_lost``, unless the connection is closed already."""
        if self._is_open:
            self.disconnect()
            self._on_lost(self, reason)

    def _restart_response_timer(self) -> None:
        """Restart the time limit of a statement. One timer serves all of them: resetting it costs next to nothing."""
        if self._response_timer is None:
            self._response_timer = self.reactor.callLater(self._response_timeout, self._response_timed_out)
        else:
            self._response_timer.reset(self._response_timeout)

    def _response_timed_out(self) -> None:
        self._response_timer = None
        if self.is_executing:
            self.on_closed(f"no response within {self._response_timeout:g} s")
            self.disconnect()  # also if the connection is still being opened


async def open_connection(
    reactor: ReactorBase,
    dsn: str,
    on_lost: Callable[[Connection, str], None],
    history: ServerHistory,
    *,
    connect_timeout: float,
    statement_timeout: float,
) -> Connection:
    """Connect to the first of the servers of ``dsn`` that is the primary; both timeouts are seconds.

    Each address gets an equal share of ``connect_timeout``. libpq would try the servers itself, but without a limit for
    each of them, and would accept a former primary. Raises StoreUnavailable if there is no such server.
    """
    try:
        candidates = await addresses(reactor, dsn)
    except OSError as error:
        raise StoreUnavailable(one_line(error)) from error
    problems = []
    for server in sorted(candidates, key=lambda each: each != history.last_server):
        connection = Connection(reactor, on_lost)
        try:
            await connection.open(
                server_dsn(dsn, server),
                connect_timeout=connect_timeout / len(candidates),
                statement_timeout=statement_timeout,
            )
            if connection.identity is not None:
                history.connected(connection.identity)
        except StoreUnavailable as error:
            connection.disconnect()
            problems.append(error.detail if len(candidates) == 1 else f"{server}: {error.detail}")
        else:
            history.last_server = server
            return connection
    raise StoreUnavailable("; ".join(problems))


def _without_sql(error: psycopg2.DataError | ValueError) -> str:
    """Return what is wrong with a value, without the part of the statement in which it is."""
    diagnostics = getattr(error, "diag", None)
    return getattr(diagnostics, "message_primary", None) or one_line(error)
