"""Statements on the psycopg2 connection inside a txpostgres Connection, without txpostgres's cursors.

A txpostgres cursor spends several turns of the reactor on each statement: it removes and adds the descriptor, and
delivers the result by ``callLater(0)``. That is a good part of the cost of a call or a REST request; bench/postgres.py
measures it. This is the only module that relies on how txpostgres works inside;
tests/postgres/test_direct_connection.py states what it relies on, and fails if a new version differs.
"""

import os
import select
from collections.abc import Iterable
from typing import Any

import psycopg2
from psycopg2.extensions import POLL_OK, POLL_WRITE
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from txpostgres.txpostgres import Connection as TxConnection

from voxrec.postgres.statement import Params


class DirectConnection(TxConnection):  # type: ignore[misc]
    """A txpostgres connection for one statement at a time.

    txpostgres's ``connect`` opens it; `take_over_socket` ends txpostgres's part. Subclasses override `on_closed`.
    """

    def __init__(self, reactor: ReactorBase) -> None:
        super().__init__(reactor, cooperator=_ImmediateCooperator())
        self._descriptor = -1  # a duplicate of libpq's socket, from `take_over_socket` on
        self._readable = select.poll()  # select.select() does not support descriptors above 1023
        self._result: Deferred[None] | None = None  # of the statement in progress
        self._watched_for_writing = False

    def on_closed(self, reason: str) -> None:
        """Handle the end of the connection, whether the server or `close` ended it. May be called more than once."""

    def take_over_socket(self) -> None:
        """Watch the socket of the open connection, also between statements: for NOTIFY and for the server's shutdown.

        libpq closes its socket when the server has gone. A reactor that still watches that descriptor would mistake the
        next socket with the same number for it, so it watches a duplicate, which only `release_socket` closes.
        """
        self.reactor.removeReader(self)
        self._descriptor = os.dup(self.pollable().fileno())
        self._readable.register(self._descriptor, select.POLLIN)
        self.reactor.addReader(self)

    def release_socket(self) -> None:
        """Close the duplicate of the socket."""
        if self._descriptor != -1:
            os.close(self._descriptor)
            self._descriptor = -1

    @property
    def is_executing(self) -> bool:
        """Whether a statement is in progress."""
        return self._result is not None

    @property
    def has_unread_data(self) -> bool:
        """Whether the server has sent something that has not been read."""
        return bool(self._readable.poll(0))

    def send(self, sql: str, params: Params) -> tuple[Any, Deferred[None]]:
        """Send a statement; return its psycopg2 cursor, and a Deferred that fires when the result is complete.

        The Deferred may have fired already. Raises psycopg2.Error or ValueError if the statement cannot be sent.
        """
        cursor = self.pollable().cursor()
        cursor.execute(sql, tuple(params) or None)
        result = self._result = Deferred()
        self.process_io()
        return cursor, result

    def process_io(self) -> None:
        """Write what is pending and read what has arrived: a result, notifications, or the server's shutdown."""
        connection = self.pollable()
        try:
            state = connection.poll()
        except psycopg2.Error as error:
            if self._result is None:
                self.on_closed(one_line(error))
            else:
                self._fail(Failure())
            return
        if (state == POLL_WRITE) is not self._watched_for_writing:
            self._watched_for_writing = not self._watched_for_writing
            (self.reactor.addWriter if self._watched_for_writing else self.reactor.removeWriter)(self)
        if connection.notifies:
            self.checkForNotifies()
        result = self._result
        if state == POLL_OK and result is not None:
            self._result = None
            result.callback(None)

    def _fail(self, failure: Failure) -> None:
        result, self._result = self._result, None
        if result is not None:
            result.errback(failure)

    # IReadWriteDescriptor. Until take_over_socket has been called, txpostgres is connecting.

    def fileno(self) -> int:
        """Return the descriptor to watch; while connecting, libpq's socket, which may change with each address."""
        return self._descriptor if self._descriptor != -1 else int(super().fileno())

    def doRead(self) -> None:  # noqa: N802
        """Read."""
        if self._descriptor != -1:
            self.process_io()
            return
        self.reactor.removeReader(self)  # libpq closes the socket if it cannot connect
        if not self.pollable().closed:
            self.continuePolling()

    def doWrite(self) -> None:  # noqa: N802
        """Write."""
        if self._descriptor != -1:
            self.process_io()
        else:
            super().doWrite()

    def connectionLost(self, reason: Failure) -> None:
        """Fail the statement in progress; the socket has been closed."""
        if self._descriptor == -1:
            super().connectionLost(reason)
        self.on_closed(one_line(reason.value))
        self._fail(reason)


class _ImmediateCooperator:
    """Delivers notifications at once. txpostgres's default delivers one in each turn of the reactor."""

    def cooperate(self, iterator: Iterable[object]) -> None:
        """Exhaust an iterator."""
        for _ in iterator:
            pass


def one_line(error: BaseException | None) -> str:
    """Return the message of an error on one line; libpq's have several lines."""
    return " ".join(str(error).split()) or type(error).__name__
