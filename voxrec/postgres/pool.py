"""The connections to PostgreSQL that everybody shares: opened as they are needed, replaced when they are lost.

txpostgres's own ConnectionPool neither starts nor heals without its server and hands out dead connections. Here one
keeper opens one connection after the other, with a growing pause while PostgreSQL is down, and only live ones are
handed out.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from psycopg2.extensions import parse_dsn
from twisted.application.internet import backoffPolicy
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred, TimeoutError  # noqa: A004
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxrec.deferreds import shielded
from voxrec.errors import StoreUnavailable
from voxrec.postgres.connection import Connection, Params, Result, Row

T = TypeVar("T")

_DRAIN: Final = 10.0  # seconds that stop() gives to what is under way


class Transaction:
    """Statements that are done all together or not at all. Good until the ``work`` that got it returns."""

    def __init__(self, link: Connection) -> None:
        self._link = link
        self._last_sql: list[str] = []
        self._last_params: list[object] = []

    async def query(self, sql: str, params: Params = ()) -> list[Row]:
        """The rows that a statement gives; of several, separated by semicolons, those of the last."""
        return (await self._run(sql, params)).rows

    async def execute(self, sql: str, params: Params = ()) -> int:
        """How many rows a statement touched."""
        return (await self._run(sql, params)).row_count

    async def execute_at_commit(self, sql: str, params: Params = ()) -> None:
        """Have a statement done as the last one, whatever comes of it: it goes to the server with the COMMIT."""
        self._last_sql.append(sql)
        self._last_params += params

    async def commit(self) -> None:
        """End it, where it has begun. RuntimeError where a statement had failed and the work went on all the same."""
        if not self._last_sql and not self._link.in_transaction:
            return
        # ROLLBACK is PostgreSQL's quiet answer to a COMMIT of a failed transaction
        if (await self._run("; ".join([*self._last_sql, "COMMIT"]), self._last_params)).command_tag != "COMMIT":
            raise RuntimeError("the work went on after a statement had failed: nothing was committed")

    async def _run(self, sql: str, params: Params) -> Result:
        # it begins with its first statement, which saves a way to the server and back
        return await self._link.run(sql if self._link.in_transaction else f"BEGIN; {sql}", params)


class Pool:
    """At most ``size`` connections, times in seconds.

    Everything raises StoreUnavailable while PostgreSQL is known to be down, at once and without waiting; and nothing
    is broken off because its caller was cancelled.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: ReactorBase,
        dsn: str,
        *,
        size: int = 10,
        statement_timeout: float = 30.0,
        connect_timeout: float = 10.0,
    ) -> None:
        self._reactor = reactor
        self._dsn = dsn
        self._size = size
        self._statement_timeout = statement_timeout
        self._connect_timeout = connect_timeout
        self._pause = backoffPolicy(initialDelay=0.1, maxDelay=5.0, factor=1.6, jitter=lambda: 0.0)
        self._links: set[Connection] = set()
        self._idle: list[Connection] = []
        self._waiting: deque[tuple[float, Deferred[Connection]]] = deque()  # and until when
        self._overdue: IDelayedCall | None = None
        self._ready_waiters: list[Deferred[None]] = []
        self._running = False
        self._opening: Deferred[None] | None = None
        self._retry: IDelayedCall | None = None
        self._failures = 0
        self._drained: Deferred[None] | None = None
        self._down = "it has not been reached yet"
        self._answers: bool | None = None  # what the log says last

    # The life of the pool.

    def start(self) -> None:
        """Begin to connect, and go on trying."""
        self._running = True
        self._failures = 0
        self._keep()

    async def stop(self) -> None:
        """Let what is under way finish, for ten seconds at most, and close every connection."""
        if not self._running:
            return
        self._running = False
        self._down = "this program is stopping"
        if self._opening is not None:
            self._opening.cancel()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None
        self._refuse_the_waiting()
        waiters, self._ready_waiters = self._ready_waiters, []
        for waiter in waiters:
            waiter.errback(StoreUnavailable(self._down))
        if self.busy:
            self._drained = Deferred()
            try:
                await self._drained.addTimeout(_DRAIN, self._reactor)
            except TimeoutError:
                self._log.warn("{busy} statements were still under way after {time:g} s", busy=self.busy, time=_DRAIN)
        for link in tuple(self._links):
            link.shut()
        self._links.clear()
        self._idle.clear()

    @property
    def ready(self) -> bool:
        """Whether PostgreSQL can be asked now."""
        return self._running and bool(self._links)

    @property
    def busy(self) -> int:
        """How many connections have something to do."""
        return len(self._links) - len(self._idle)

    async def when_ready(self) -> None:
        """Wait until PostgreSQL can be asked. StoreUnavailable where the pool is stopped meanwhile."""
        if not self.ready:
            waiter: Deferred[None] = Deferred(self._ready_waiters.remove)
            self._ready_waiters.append(waiter)
            await waiter

    # What it is for.

    async def query(self, sql: str, params: Params = ()) -> list[Row]:
        """The rows of one statement that only reads: it may be sent again when its connection is lost."""
        return (await shielded(Deferred.fromCoroutine(self._read(sql, params)))).rows

    async def execute(self, sql: str, params: Params = ()) -> int:
        """How many rows one statement touched. Sent once: where its connection is lost, nobody knows if it was done."""
        return (await shielded(Deferred.fromCoroutine(self._write(sql, params)))).row_count

    async def returning(self, sql: str, params: Params = ()) -> list[Row]:
        """The rows of one statement that writes (``RETURNING``), sent once like ``execute``."""
        return (await shielded(Deferred.fromCoroutine(self._write(sql, params)))).rows

    async def transaction(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Commit what ``work`` does, or nothing of it where it raises.

        Inside, use the Transaction alone: the pool may have no further connection to give.
        """
        return await shielded(Deferred.fromCoroutine(self._transact(work)))

    async def _read(self, sql: str, params: Params) -> Result:
        link = await self._borrow()
        try:
            return await link.run(sql, params)
        except StoreUnavailable:
            if link.usable:
                raise
        finally:
            self._give_back(link)
        return await self._write(sql, params)

    async def _write(self, sql: str, params: Params) -> Result:
        link = await self._borrow()
        try:
            return await link.run(sql, params)
        finally:
            self._give_back(link)

    async def _transact(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        link = await self._borrow()
        try:
            try:
                transaction = Transaction(link)
                result = await work(transaction)
                await transaction.commit()
            except Exception:
                await self._roll_back(link)
                raise
            return result
        finally:
            self._give_back(link)

    async def _roll_back(self, link: Connection) -> None:
        try:
            if link.usable and link.in_transaction:
                await link.run("ROLLBACK")
        except StoreUnavailable:
            link.shut()  # the server rolls back when its side sees the end

    # Lending.

    async def _borrow(self) -> Connection:
        if not self._running or (self._failures and not self._links):
            raise StoreUnavailable(f"PostgreSQL does not answer: {self._down}")
        while self._idle:
            link = self._idle.pop()
            if link.usable:
                return link
        waiter: Deferred[Connection] = Deferred()
        self._waiting.append((self._reactor.seconds() + self._statement_timeout, waiter))
        if self._overdue is None:
            self._overdue = self._reactor.callLater(self._statement_timeout, self._refuse_overdue)
        self._keep()
        return await waiter

    def _give_back(self, link: Connection) -> None:
        # a farewell that nobody has read yet is read before it is lent again
        if not link.live or link.in_transaction or (self._waiting and not link.usable):
            link.shut()
            self._forget(link, "the connection was lost")
        elif self._waiting:
            _, waiter = self._waiting.popleft()
            waiter.callback(link)
        else:
            self._idle.append(link)
        self._tell_the_stopping()

    def _refuse_overdue(self) -> None:
        """Tell those who have waited too long. One timer for all: each of them waits as long as the others."""
        self._overdue = None
        now = self._reactor.seconds()
        while self._waiting and self._waiting[0][0] <= now:
            _, waiter = self._waiting.popleft()
            detail = f"all {self._size} connections were busy for {self._statement_timeout:g} s"
            waiter.errback(StoreUnavailable(detail))
        if self._waiting:
            self._overdue = self._reactor.callLater(self._waiting[0][0] - now, self._refuse_overdue)

    # Keeping.

    def _keep(self) -> None:
        """Open one more connection where one is missing, unless that is under way already."""
        enough = bool(self._links) and (not self._waiting or len(self._links) >= self._size)
        if enough or not self._running or self._opening is not None or self._retry is not None:
            return
        link = Connection(self._reactor, self._forget)
        opening = link.open(self._dsn, connect_timeout=self._connect_timeout, statement_timeout=self._statement_timeout)
        self._opening = Deferred.fromCoroutine(opening)
        self._opening.addCallbacks(self._opened, self._not_opened, callbackArgs=(link,))

    def _opened(self, _: None, link: Connection) -> None:
        self._opening = None
        self._failures = 0
        self._links.add(link)
        self._give_back(link)
        if len(self._links) == 1:
            self._is_up()
        self._keep()

    def _not_opened(self, failure: Failure) -> None:
        self._opening = None
        if not self._running:
            return
        self._failures += 1
        self._retry = self._reactor.callLater(self._pause(self._failures), self._try_again)
        if not self._links:
            self._is_down(failure.getErrorMessage())

    def _try_again(self) -> None:
        self._retry = None
        self._keep()

    def _forget(self, link: Connection, why: str) -> None:
        if link not in self._links:
            return
        self._links.remove(link)
        if link in self._idle:
            self._idle.remove(link)
        self._log.debug("a connection to PostgreSQL was lost: {why}", why=why)
        self._keep()
        self._tell_the_stopping()

    def _tell_the_stopping(self) -> None:
        if self._drained is not None and not self.busy:
            drained, self._drained = self._drained, None
            drained.callback(None)

    def _is_up(self) -> None:
        if not self._answers:
            self._answers = True
            self._log.info("PostgreSQL answers: {where}", where=self._where)
        waiters, self._ready_waiters = self._ready_waiters, []
        for waiter in waiters:
            waiter.callback(None)

    def _is_down(self, why: str) -> None:
        self._down = why
        if self._answers is not False:
            self._answers = False
            self._log.error(
                "PostgreSQL does not answer: {where}: {why}; trying again until it does", where=self._where, why=why
            )
        self._refuse_the_waiting()

    @property
    def _where(self) -> str:
        given = parse_dsn(self._dsn)
        return " ".join(f"{key}={given[key]}" for key in ("host", "port", "dbname") if key in given)

    def _refuse_the_waiting(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        for _, waiter in waiting:
            waiter.errback(StoreUnavailable(f"PostgreSQL does not answer: {self._down}"))
