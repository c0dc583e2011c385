"""One connection to PostgreSQL: opened in bounded time, one statement after the other, and its end told once.

txpostgres does the talking. What it leaves open is settled here: the time to connect, an answer that never comes, a
name server that blocks, the end of an idle connection (elsewhere an "Unhandled Error"), and psycopg2's errors, which
become voxrec's.
"""

import ipaddress
import select
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

import msgspec
import psycopg2
import psycopg2.extensions
import psycopg2.extras
from psycopg2.errors import ReadOnlySqlTransaction
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, make_dsn, parse_dsn
from twisted.internet.base import ReactorBase
from twisted.internet.defer import CancelledError, Deferred, TimeoutError  # noqa: A004
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Cooperator
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from txpostgres.txpostgres import Connection

from voxrec.errors import InvalidInput, StoreUnavailable

T = TypeVar("T")
Row = tuple[Any, ...]
Params = Sequence[object]

_GRACE: Final = 5.0  # seconds beyond statement_timeout after which a silent server counts as dead
_LAST_WORDS: Final = 8  # reads, at most, until the end of the stream: a notice, the reason, the end
_DSN_DEFAULTS: Final = {
    "fallback_application_name": "voxrec",
    # A peer that vanished without a word is noticed within about a minute; unix sockets ignore these.
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
_SESSION: Final = "SELECT set_config('TimeZone', 'UTC', false), set_config('statement_timeout', %s, false)"
# Nothing is wrong with the statement, but this server cannot do it now. Read-only: a standby, just after a failover.
_UNAVAILABLE: Final = (psycopg2.OperationalError, psycopg2.InterfaceError, ReadOnlySqlTransaction, ConnectionDone)

psycopg2.extras.register_uuid()
# its own reading of a UUID is a sixth of the time that a page of rows takes; msgspec's is not
_UUID: Final = psycopg2.extensions.new_type((2950,), "UUID", lambda text, _: text and msgspec.convert(text, UUID))
psycopg2.extensions.register_type(_UUID)
psycopg2.extensions.register_type(psycopg2.extensions.new_array_type((2951,), "UUID[]", _UUID))
psycopg2.extras.register_default_jsonb(globally=True, loads=msgspec.json.decode)


class Result(NamedTuple):
    """What a statement gave: its rows (none where it returns none), how many it touched, what PostgreSQL calls it."""

    rows: list[Row]
    touched: int
    tag: str


class Link(Connection):  # type: ignore[misc]
    """One connection. ``on_lost(link, why)`` is called once when it ends without ``shut``."""

    def __init__(self, reactor: ReactorBase, on_lost: "Callable[[Link, str], None]") -> None:
        super().__init__(reactor, Cooperator(scheduler=lambda turn: reactor.callLater(0, turn)))
        self._on_lost = on_lost
        self._live = False
        self._patience = 0.0
        self._running = False
        self._timer: IDelayedCall | None = None

    async def open(self, dsn: str, *, connect_timeout: float, statement_timeout: float) -> None:
        """Connect and set the session up; both times in seconds. StoreUnavailable where that fails."""
        self._patience = statement_timeout + _GRACE
        try:
            address = await self._with_address(dsn)
            await shielded(self.connect(address)).addTimeout(connect_timeout, self.reactor)
            await shielded(Deferred.fromCoroutine(self.run(_SESSION, (f"{round(statement_timeout * 1000)}ms",))))
        except TimeoutError as error:
            self.shut()
            raise StoreUnavailable(f"no connection within {connect_timeout:g} s") from error
        except (psycopg2.Error, OSError) as error:
            self.shut()
            raise StoreUnavailable(_readable(error)) from error
        except BaseException:
            self.shut()
            raise
        self._live = True
        self.reactor.addReader(self)  # also between statements: for NOTIFY, and for the server's farewell

    async def _with_address(self, dsn: str) -> str:
        """The DSN, with the host's addresses where it has a name: libpq would look it up and block the reactor."""
        wanted = {**_DSN_DEFAULTS, **parse_dsn(dsn)}
        host = str(wanted.get("host", ""))
        if "hostaddr" not in wanted and _is_name(host):
            found = await deferToThreadPool(
                self.reactor, self.reactor.getThreadPool(), socket.getaddrinfo, host, None, type=socket.SOCK_STREAM
            )
            addresses = [str(address[0]) for *_, address in found]
            wanted["hostaddr"] = ",".join(addresses)
            wanted["host"] = ",".join([host] * len(addresses))  # one for each, which TLS compares
        return str(make_dsn(**wanted))

    @property
    def usable(self) -> bool:
        """Whether a statement can be sent. A server's farewell that lies unread in the socket is read first."""
        for _ in range(_LAST_WORDS):
            if not self._live or not _has_something_to_read(self._connection.fileno()):
                break
            self.doRead()
        return self._live

    @property
    def in_transaction(self) -> bool:
        """Whether something was begun and neither committed nor rolled back."""
        return bool(self._connection.get_transaction_status() != TRANSACTION_STATUS_IDLE)

    async def run(self, sql: str, params: Params = ()) -> Result:
        """Send one statement and wait for what it gives.

        StoreUnavailable where PostgreSQL did not do it, or was lost on the way and nobody knows; InvalidInput where a
        value can never be stored; other psycopg2 errors, such as an IntegrityError, as they are.
        """
        self._running = True
        self._watch()
        try:
            # libpq closes the socket where the server has gone, and the reactor must not watch it then; while there is
            # something to wait for, poll() puts it back
            self.reactor.removeReader(self)
            cursor = self._connection.cursor()
            cursor.execute(sql, tuple(params) or None)
            await self.poll()
            return Result(cursor.fetchall() if cursor.description else [], cursor.rowcount, cursor.statusmessage)
        except CancelledError as error:  # txpostgres's word for statement_timeout
            raise StoreUnavailable("the statement took too long and was cancelled") from error
        except _UNAVAILABLE as error:
            raise StoreUnavailable(_readable(error)) from error
        except (psycopg2.DataError, ValueError) as error:  # ValueError: NUL, or half a surrogate pair, in a text
            raise InvalidInput(f"PostgreSQL cannot store this: {_readable(error)}") from error
        finally:
            self._running = False
            if self._connection.closed:
                self._end("the connection was lost")
            elif self._live:
                self.reactor.addReader(self)

    def shut(self) -> None:
        """Close at once. A statement under way fails with StoreUnavailable."""
        self._live = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._connection is not None:
            self.close()

    def _end(self, why: str) -> None:
        told, self._live = not self._live, False
        if not told:
            self.shut()
            self._on_lost(self, why)

    def _watch(self) -> None:
        """Begin to count the time of a statement anew. One timer for all: to put it off costs next to nothing."""
        if self._timer is None:
            self._timer = self.reactor.callLater(self._patience, self._give_up)
        else:
            self._timer.reset(self._patience)

    def _give_up(self) -> None:
        self._timer = None
        if not self._running:
            return
        self._end(f"no answer within {self._patience:g} s")
        self.shut()  # also where it never was live: while the session is set up

    # What the reactor calls.

    def doRead(self) -> None:  # noqa: N802
        """Go on connecting, or take what the server says between two statements: a NOTIFY, or its farewell.

        txpostgres's own would let an idle connection's end escape as an error, and go on watching a socket that libpq
        has closed because it could not connect.
        """
        self.reactor.removeReader(self)
        if self._connection.closed:
            return
        try:
            self.continuePolling()
        except psycopg2.Error as error:
            self._end(_readable(error))
            return
        self.checkForNotifies()
        if self._live and not self._connection.closed:
            self.reactor.addReader(self)

    def connectionLost(self, reason: Failure) -> None:
        """Take it that the socket is gone."""
        super().connectionLost(reason)
        self._end(_readable(reason.value))


def shielded(inner: "Deferred[T]") -> "Deferred[T]":
    """What ``inner`` gives; cancelling it leaves ``inner`` alone.

    A cancelled txpostgres query breaks its connection, and a cancelled transaction would be half done: who no longer
    waits for an answer has no say in whether the work is finished.
    """
    outer: Deferred[T] = Deferred()
    inner.addBoth(outer.callback)  # after a cancellation, Deferred lets this one result pass by
    return outer


def _is_name(host: str) -> bool:
    """Whether a name server would be asked. Several hosts in one DSN are left to libpq."""
    if not host or host.startswith("/") or "," in host:
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False


def _has_something_to_read(descriptor: int) -> bool:
    poll = select.poll()  # select() knows no descriptor above 1023
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _readable(error: BaseException | None) -> str:
    """In one line: libpq's messages have several, and end with a line feed."""
    return " ".join(str(error).split()) or type(error).__name__
