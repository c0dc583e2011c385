"""The connection pool that the whole daemon shares: connections are opened on demand and replaced when they are lost.

txpostgres's own ConnectionPool does not start without its server, does not recover, and hands out dead connections.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from twisted.application.service import Service
from twisted.internet.base import ReactorBase
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, succeed  # noqa: A004
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxrec.deferreds import SingleFlight, shielded
from voxrec.errors import StoreUnavailable
from voxrec.postgres.connection import RECONNECT_BACKOFF, Connection, open_connection
from voxrec.postgres.dsn import describe_dsn
from voxrec.postgres.server_history import ServerHistory
from voxrec.postgres.statement import Params, Result, Row
from voxrec.postgres.transaction import Transaction

T = TypeVar("T")

_DRAIN_TIMEOUT: Final = 10.0  # seconds that stopService waits for statements in progress


class Pool(Service):
    """A pool of at most ``size`` connections. Timeouts are seconds.

    While PostgreSQL is known to be down, every method raises StoreUnavailable at once. Cancelling the Deferred of a
    statement or transaction does not interrupt it. ``history`` is shared by all that connect to the same servers.
    """

    name = "pool"
    _log = Logger()

    def __init__(
        self,
        reactor: ReactorBase,
        dsn: str,
        *,
        size: int = 10,
        statement_timeout: float = 30.0,
        connect_timeout: float = 10.0,
        history: ServerHistory | None = None,
    ) -> None:
        self._reactor = reactor
        self._dsn = dsn
        self._size = size
        self._statement_timeout = statement_timeout
        self._connect_timeout = connect_timeout
        self._history = history or ServerHistory()
        self._history.subscribe(self._drop_former_primary)
        self._connections: set[Connection] = set()
        self._idle: list[Connection] = []
        self._queue: deque[tuple[float, Deferred[Connection]]] = deque()  # requests for a connection, by deadline
        self._queue_timer: IDelayedCall | None = None
        self._ready_waiters: list[Deferred[None]] = []
        self._opener = SingleFlight(self._open_connections, self._opener_failed)
        self._failures = 0  # consecutive attempts to connect that failed
        self._drained: Deferred[None] | None = None
        self._unavailable_reason = "not connected yet"
        self._logged_state: bool | None = None  # whether the log says last that PostgreSQL is available

    def startService(self) -> None:
        """Start to connect. Failed attempts are repeated until the pool is stopped."""
        super().startService()
        self._failures = 0
        self._open_if_needed()

    def stopService(self) -> Deferred[None]:
        """Wait up to 10 s for statements in progress, then close every connection."""
        if not self.running:
            return succeed(None)
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._unavailable_reason = "this program is stopping"
        self._opener.cancel()
        if self._queue_timer is not None:
            self._queue_timer.cancel()
            self._queue_timer = None
        self._reject_queue()
        waiters, self._ready_waiters = self._ready_waiters, []
        for waiter in waiters:
            waiter.errback(StoreUnavailable(self._unavailable_reason))
        if self.busy:
            self._drained = Deferred()
            try:
                await self._drained.addTimeout(_DRAIN_TIMEOUT, self._reactor)
            except TimeoutError:
                self._log.warn(
                    "{busy} statements are still in progress after {timeout:g} s; closing their connections",
                    busy=self.busy,
                    timeout=_DRAIN_TIMEOUT,
                )
        for connection in tuple(self._connections):
            connection.disconnect()
        self._connections.clear()
        self._idle.clear()

    @property
    def ready(self) -> bool:
        """Whether a connection is open."""
        return bool(self.running and self._connections)

    @property
    def busy(self) -> int:
        """The number of connections in use."""
        return len(self._connections) - len(self._idle)

    async def when_ready(self) -> None:
        """Wait until a connection is open. Raises StoreUnavailable if the pool is stopped meanwhile."""
        if not self.ready:
            waiter: Deferred[None] = Deferred(self._ready_waiters.remove)
            self._ready_waiters.append(waiter)
            await waiter

    # Statements and transactions

    async def ping(self) -> None:
        """Check that PostgreSQL responds. Raises StoreUnavailable if it does not."""
        await self.query("SELECT 1")

    async def query(self, sql: str, params: Params = ()) -> list[Row]:
        """Run a read-only statement and return its rows. It is repeated once if its connection is lost."""
        return (await shielded(Deferred.fromCoroutine(self._read(sql, params)))).rows

    async def execute(self, sql: str, params: Params = ()) -> int:
        """Run a statement and return the number of rows that it changed.

        It is never repeated: after StoreUnavailable it may have been committed.
        """
        return (await shielded(Deferred.fromCoroutine(self._write(sql, params)))).row_count

    async def returning(self, sql: str, params: Params = ()) -> list[Row]:
        """Run a statement that changes rows and returns some (``RETURNING``). It is never repeated, see `execute`."""
        return (await shielded(Deferred.fromCoroutine(self._write(sql, params)))).rows

    async def transaction(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Call ``work`` in a transaction, commit, and return its result; roll back if it raises.

        ``work`` must use the Transaction only, since the pool may have no second connection to lend.
        """
        return await shielded(Deferred.fromCoroutine(self._transact(work)))

    async def _read(self, sql: str, params: Params) -> Result:
        connection = await self._borrow()
        try:
            return await connection.run(sql, params)
        except StoreUnavailable:
            if connection.is_usable:
                raise
        finally:
            self._release(connection)
        return await self._write(sql, params)

    async def _write(self, sql: str, params: Params) -> Result:
        connection = await self._borrow()
        try:
            return await connection.run(sql, params)
        finally:
            self._release(connection)

    async def _transact(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        connection = await self._borrow()
        try:
            try:
                transaction = Transaction(connection)
                result = await work(transaction)
                await transaction.commit()
            except Exception:
                await self._roll_back(connection)
                raise
            return result
        finally:
            self._release(connection)

    async def _roll_back(self, connection: Connection) -> None:
        try:
            if connection.is_usable and connection.in_transaction:
                await connection.run("ROLLBACK")
        except StoreUnavailable:
            connection.disconnect()  # the server rolls back when its side of the connection ends

    # Lending connections

    async def _borrow(self) -> Connection:
        if not self.running or (self._failures and not self._connections):
            raise self._unavailable()
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
        request: Deferred[Connection] = Deferred()
        self._queue.append((self._reactor.seconds() + self._statement_timeout, request))
        if self._queue_timer is None:
            self._queue_timer = self._reactor.callLater(self._statement_timeout, self._reject_overdue)
        self._open_if_needed()
        return await request

    def _release(self, connection: Connection) -> None:
        # A shutdown message of the server that has not been read is read before the connection is lent again.
        if not connection.is_open or connection.in_transaction or (self._queue and not connection.is_usable):
            connection.disconnect()
            self._remove(connection, "the connection was lost")
        elif self._queue:
            _, request = self._queue.popleft()
            request.callback(connection)
        else:
            self._idle.append(connection)
        self._check_drained()

    def _reject_overdue(self) -> None:
        """Fail the requests that have waited too long. One timer serves all, since all wait equally long."""
        self._queue_timer = None
        now = self._reactor.seconds()
        while self._queue and self._queue[0][0] <= now:
            _, request = self._queue.popleft()
            detail = f"all {self._size} connections were busy for {self._statement_timeout:g} s"
            request.errback(StoreUnavailable(detail))
        if self._queue:
            self._queue_timer = self._reactor.callLater(self._queue[0][0] - now, self._reject_overdue)

    def _reject_queue(self) -> None:
        queue, self._queue = self._queue, deque()
        for _, request in queue:
            request.errback(self._unavailable())

    def _unavailable(self) -> StoreUnavailable:
        return StoreUnavailable(f"PostgreSQL is unavailable: {self._unavailable_reason}")

    # Opening and removing connections

    @property
    def _needs_connection(self) -> bool:
        return not self._connections or (bool(self._queue) and len(self._connections) < self._size)

    def _open_if_needed(self) -> None:
        if self.running and self._needs_connection:
            self._opener.request()

    async def _open_connections(self) -> None:
        """Open connections, one after the other, while one is needed."""
        while self.running and self._needs_connection:
            try:
                connection = await open_connection(
                    self._reactor,
                    self._dsn,
                    self._remove,
                    self._history,
                    connect_timeout=self._connect_timeout,
                    statement_timeout=self._statement_timeout,
                )
            except CancelledError:
                raise
            except Exception as error:
                self._failures += 1
                if not self._connections:
                    self._set_unavailable(str(error))
                await deferLater(self._reactor, RECONNECT_BACKOFF.delay(self._failures))
            else:
                self._failures = 0
                self._add(connection)

    def _opener_failed(self, failure: Failure) -> None:
        self._log.failure("opening connections to PostgreSQL failed", failure)

    def _add(self, connection: Connection) -> None:
        self._connections.add(connection)
        self._release(connection)
        if len(self._connections) == 1:
            self._set_available()

    def _remove(self, connection: Connection, reason: str) -> None:
        if connection not in self._connections:
            return
        self._connections.remove(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._log.debug("a connection to PostgreSQL was lost: {reason}", reason=reason)
        self._open_if_needed()
        self._check_drained()

    def _drop_former_primary(self) -> None:
        """Close the connections to a server that has turned out to be a former primary, which may still respond."""
        for connection in tuple(self._connections):
            if connection.identity is not None and self._history.is_former_primary(connection.identity):
                connection.on_closed("its server is a former primary")

    def _check_drained(self) -> None:
        if self._drained is not None and not self.busy:
            drained, self._drained = self._drained, None
            drained.callback(None)

    def _set_available(self) -> None:
        if not self._logged_state:
            self._logged_state = True
            self._log.info("connected to PostgreSQL: {server}", server=describe_dsn(self._dsn))
        waiters, self._ready_waiters = self._ready_waiters, []
        for waiter in waiters:
            waiter.callback(None)

    def _set_unavailable(self, reason: str) -> None:
        self._unavailable_reason = reason
        if self._logged_state is not False:
            self._logged_state = False
            self._log.error(
                "PostgreSQL is unavailable: {server}: {reason}; retrying until it is available",
                server=describe_dsn(self._dsn),
                reason=reason,
            )
        self._reject_queue()
