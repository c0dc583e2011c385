"""One connection to PostgreSQL: opened in bounded time, one statement after the other, and its end told once.

txpostgres connects. What it leaves open is settled here: the time to connect, an answer that never comes, a name server
that blocks, the end of an idle connection (elsewhere an "Unhandled Error"), and psycopg2's errors, which become
voxrec's. Statements go past its cursors, whose turns of the reactor for each of them are a good part of all that a call
or a REST request costs.
"""

import ipaddress
import os
import select
import socket
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, Final, NamedTuple, Self
from uuid import UUID

import msgspec
import psycopg2
import psycopg2.extensions
import psycopg2.extras
from psycopg2.errors import FeatureNotSupported, InvalidSqlStatementName, ReadOnlySqlTransaction
from psycopg2.extensions import (
    POLL_OK,
    POLL_WRITE,
    TRANSACTION_STATUS_IDLE,
    QueryCanceledError,
    make_dsn,
    parse_dsn,
)
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred, TimeoutError  # noqa: A004
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from txpostgres.txpostgres import Connection as TxConnection

from voxrec.deferreds import shielded
from voxrec.errors import InvalidInput, StoreUnavailable

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
_UNAVAILABLE: Final = (psycopg2.OperationalError, psycopg2.InterfaceError, ReadOnlySqlTransaction, ConnectionClosed)

psycopg2.extras.register_uuid()
# its own reading of a UUID is a sixth of the time that a page of rows takes; msgspec's is not
_UUID: Final = psycopg2.extensions.new_type((2950,), "UUID", lambda text, _: text and msgspec.convert(text, UUID))
psycopg2.extensions.register_type(_UUID)
psycopg2.extensions.register_type(psycopg2.extensions.new_array_type((2951,), "UUID[]", _UUID))
psycopg2.extras.register_default_jsonb(globally=True, loads=msgspec.json.decode)


class Result(NamedTuple):
    """What a statement gave: its rows (none where it returns none), how many it touched, what PostgreSQL calls it."""

    rows: list[Row]
    row_count: int
    command_tag: str


class Prepared(str):
    """One statement that a connection prepares when it first sends it, and from then on executes.

    To parse and to plan it is more than half of what a look-up by a key costs PostgreSQL. PostgreSQL finds the types of
    its parameters by where they stand; where it cannot, a cast has to tell. Inside a Transaction it is sent as it is.
    """

    name: str
    preparation: str
    execution: str
    _serial = count(1)

    def __new__(cls, sql: str) -> Self:
        """Of the statement as it would be sent; each parameter is a ``%s``."""
        made = super().__new__(cls, sql)
        places = sql.count("%s")
        made.name = f"voxrec_{next(cls._serial)}"
        made.preparation = f"PREPARE {made.name} AS {sql % tuple(f'${place}' for place in range(1, places + 1))}"
        made.execution = f"EXECUTE {made.name} ({', '.join(['%s'] * places)})"
        return made


class Connection(TxConnection):  # type: ignore[misc]
    """One connection. ``on_lost(link, why)`` is called once when it ends without ``shut``."""

    def __init__(self, reactor: ReactorBase, on_lost: "Callable[[Connection, str], None]") -> None:
        super().__init__(reactor)
        self._on_lost = on_lost
        self._live = False
        self._prepared: set[str] = set()
        self._patience = 0.0
        self._socket = -1  # of an open connection, and ours
        self._glance = select.poll()  # select() knows no descriptor above 1023
        self._answer: Deferred[None] | None = None  # of the statement under way
        self._writing = False
        self._timer: IDelayedCall | None = None

    async def open(self, dsn: str, *, connect_timeout: float, statement_timeout: float) -> None:
        """Connect and set the session up; both times in seconds. StoreUnavailable where that fails."""
        self._patience = statement_timeout + _GRACE
        try:
            address = await self._with_address(dsn)
            await shielded(self.connect(address)).addTimeout(connect_timeout, self.reactor)
            self._watch_socket()
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

    def _watch_socket(self) -> None:
        """Have the reactor watch it from now on, also between statements: for NOTIFY, and for the server's farewell.

        libpq closes the socket by itself where the server has gone, and a reactor that watches it then takes the next
        one of the same number for it. So it watches a descriptor of our own, which nobody else closes.
        """
        self.reactor.removeReader(self)
        self._socket = os.dup(self._connection.fileno())
        self._glance.register(self._socket, select.POLLIN)
        self.reactor.addReader(self)

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
            if not self._live or not self._glance.poll(0):
                break
            self._go_on()
        return self._live

    @property
    def live(self) -> bool:
        """Whether it has not ended, as far as anybody has looked."""
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
        text = await self._execution(sql) if isinstance(sql, Prepared) else sql
        try:
            cursor = self._connection.cursor()
            cursor.execute(text, tuple(params) or None)
            answer = self._answer = Deferred()
            self._be_patient()
            self._go_on()
            if answer.called:  # PostgreSQL was that quick; whoever asks may count on not being answered at once
                await deferLater(self.reactor, 0)
            await answer
            return Result(cursor.fetchall() if cursor.description else [], cursor.rowcount, cursor.statusmessage)
        except (FeatureNotSupported, InvalidSqlStatementName) as error:
            if isinstance(sql, Prepared):
                # a table is not what it was, or somebody has cleared the session: the next connection begins anew
                self._end("a prepared statement is of no use any more")
                raise StoreUnavailable(_readable(error)) from error
            raise
        except QueryCanceledError as error:  # by statement_timeout
            raise StoreUnavailable("the statement took too long and was cancelled") from error
        except _UNAVAILABLE as error:
            raise StoreUnavailable(_readable(error)) from error
        except (psycopg2.DataError, ValueError) as error:  # ValueError: NUL, or half a surrogate pair, in a text
            raise InvalidInput(f"PostgreSQL cannot store this: {_readable(error)}") from error
        finally:
            if self._connection.closed:
                self._end("the connection was lost")

    async def _execution(self, sql: Prepared) -> str:
        if sql.name not in self._prepared:
            await self.run(sql.preparation)
            self._prepared.add(sql.name)
        return sql.execution

    def shut(self) -> None:
        """Close at once. A statement under way fails with StoreUnavailable."""
        self._live = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._connection is not None:
            self.close()  # tells connectionLost, below
        if self._socket != -1:
            os.close(self._socket)
            self._socket = -1

    def _end(self, why: str) -> None:
        told, self._live = not self._live, False
        if not told:
            self.shut()
            self._on_lost(self, why)

    def _be_patient(self) -> None:
        """Begin to count the time of a statement anew. One timer for all: to put it off costs next to nothing."""
        if self._timer is None:
            self._timer = self.reactor.callLater(self._patience, self._give_up)
        else:
            self._timer.reset(self._patience)

    def _give_up(self) -> None:
        self._timer = None
        if self._answer is None:
            return
        self._end(f"no answer within {self._patience:g} s")
        self.shut()  # also where it never was live: while the session is set up

    def _go_on(self) -> None:
        """Send what is still to be sent, and take what is there: an answer, a NOTIFY, the server's farewell."""
        try:
            state = self._connection.poll()
        except psycopg2.Error as error:
            if self._answer is None:
                self._end(_readable(error))
            else:
                self._fail(Failure())
            return
        if (state == POLL_WRITE) is not self._writing:
            self._writing = not self._writing
            (self.reactor.addWriter if self._writing else self.reactor.removeWriter)(self)
        if self._connection.notifies:
            self.checkForNotifies()
        answer = self._answer
        if state == POLL_OK and answer is not None:
            self._answer = None
            answer.callback(None)

    def _fail(self, failure: Failure) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.errback(failure)

    def checkForNotifies(self) -> None:  # noqa: N802
        """Tell the observers what was notified, in order."""
        notifies = self._connection.notifies
        told = notifies[:]
        del notifies[:]
        for notification in told:
            for observer in tuple(self._notifyObservers):
                observer(notification)

    # What the reactor calls.

    def fileno(self) -> int:
        """What to watch: libpq's own socket, which may be another one at each address, until the connection is open."""
        return self._socket if self._socket != -1 else int(super().fileno())

    def doRead(self) -> None:  # noqa: N802
        """Go on, with connecting or else."""
        if self._socket == -1:
            self.reactor.removeReader(self)  # libpq closes the socket where it cannot connect
            if not self._connection.closed:
                self.continuePolling()
        else:
            self._go_on()

    def doWrite(self) -> None:  # noqa: N802
        """Go on, with connecting or else."""
        if self._socket == -1:
            super().doWrite()
        else:
            self._go_on()

    def connectionLost(self, reason: Failure) -> None:
        """Take it that the socket is gone."""
        if self._socket == -1:
            super().connectionLost(reason)
        self._end(_readable(reason.value))
        self._fail(reason)


def _is_name(host: str) -> bool:
    """Whether a name server would be asked. Several hosts in one DSN are left to libpq."""
    if not host or host.startswith("/") or "," in host:
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False


def _readable(error: BaseException | None) -> str:
    """In one line: libpq's messages have several, and end with a line feed."""
    return " ".join(str(error).split()) or type(error).__name__
