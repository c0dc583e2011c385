"""LISTEN/NOTIFY: a dedicated connection that dispatches notifications and is reopened when it is lost."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

from psycopg2.extensions import quote_ident
from twisted.application.service import Service
from twisted.internet.base import ReactorBase
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger

from voxrec.deferreds import shielded
from voxrec.errors import StoreUnavailable
from voxrec.postgres.connection import RECONNECT_BACKOFF, Connection, open_connection
from voxrec.postgres.server_history import ServerHistory

PROFILES_CHANNEL: Final = "voxrec_profiles"
"""Notified when a Profile is created, changed or deleted; the payload is its id."""
PROMPTS_CHANNEL: Final = "voxrec_prompts"
"""Notified when a Prompt is created, changed or deleted; the payload is its id."""
TOKENS_CHANNEL: Final = "voxrec_tokens"
"""Notified when a Token is created, changed or deleted; the payload is its id."""
JOBS_CHANNEL: Final = "voxrec_jobs"
"""Notified when a job is inserted or its due time changes; the payload is its kind."""
WEBHOOKS_CHANNEL: Final = "voxrec_webhooks"
"""Notified when deliveries to webhooks become due; the payload is empty."""

T = TypeVar("T")

_TIMEOUT: Final = 10.0  # seconds, to connect and for each LISTEN


class Listener(Service):
    """Calls ``channels[name](payload)`` for each notification.

    ``on_recovered`` is called each time the connection has started to listen, including the first time. Notifications
    sent before are lost, so a subscriber that follows a table must read it again. ``listening`` is true meanwhile.
    """

    name = "listener"
    _log = Logger()

    def __init__(
        self,
        reactor: ReactorBase,
        dsn: str,
        channels: Mapping[str, Callable[[str], None]],
        on_recovered: Callable[[], None],
        history: ServerHistory | None = None,
    ) -> None:
        self._reactor = reactor
        self._dsn = dsn
        self._channels = channels
        self._on_recovered = on_recovered
        self._history = history or ServerHistory()
        self._history.subscribe(self._drop_former_primary)
        self._connection: Connection | None = None
        self.listening = False
        self._generation = 0  # changes at each start and stop, which ends the loop of an earlier start
        self._awaiting: Deferred[Any] | None = None  # what the loop waits for; None while callbacks run

    def startService(self) -> None:
        """Start to listen. Failed attempts are repeated until the service is stopped."""
        super().startService()
        self._generation += 1
        listening = Deferred.fromCoroutine(self._keep_listening(self._generation))
        listening.addErrback(lambda failure: self._log.failure("the listener has failed", failure))

    def stopService(self) -> Deferred[None]:
        """Close the connection. May be called from a callback."""
        super().stopService()
        self._generation += 1
        if self._awaiting is not None:
            self._awaiting.cancel()
        return succeed(None)

    async def _keep_listening(self, generation: int) -> None:
        """Listen, and again whenever the connection is lost. Not deferreds.retry: success does not end the loop."""
        failures = 0
        while generation == self._generation:
            lost: Deferred[str] = Deferred()
            try:
                await self._wait(Deferred.fromCoroutine(self._listen(partial(_report_lost, lost))))
                self.listening = True
                self._on_recovered()
                failures = 0
                if generation != self._generation:
                    return
                reason = await self._wait(lost)
                self._log.warn("no longer listening to PostgreSQL: {reason}; reconnecting", reason=reason)
            except CancelledError:
                return
            except StoreUnavailable:
                pass  # the pool uses the same server, and logs it
            except Exception:
                self._log.failure("listening to PostgreSQL failed; reconnecting")
            finally:
                self.listening = False
                if self._connection is not None:
                    self._connection.disconnect()
                    self._connection = None
            failures += 1
            try:
                await self._wait(deferLater(self._reactor, RECONNECT_BACKOFF.delay(failures)))
            except CancelledError:
                return

    async def _wait(self, operation: Deferred[T]) -> T:
        self._awaiting = operation
        try:
            return await operation
        finally:
            self._awaiting = None

    def _drop_former_primary(self) -> None:
        """Reconnect if the server has turned out to be a former primary, which may still respond."""
        connection = self._connection
        identity = connection.identity if connection is not None else None
        if connection is not None and identity is not None and self._history.is_former_primary(identity):
            connection.on_closed("its server is a former primary")

    async def _listen(self, on_lost: Callable[[Connection, str], None]) -> None:
        connection = self._connection = await open_connection(
            self._reactor,
            self._dsn,
            on_lost,
            self._history,
            connect_timeout=_TIMEOUT,
            statement_timeout=_TIMEOUT,
        )
        connection.addNotifyObserver(self._dispatch)
        for channel in self._channels:
            statement = f"LISTEN {quote_ident(channel, connection.pollable())}"
            await shielded(Deferred.fromCoroutine(connection.run(statement)))

    def _dispatch(self, notification: Any) -> None:
        try:
            self._channels[notification.channel](notification.payload)
        except Exception:
            self._log.failure("the handler of {notification} failed", notification=notification)


def _report_lost(lost: Deferred[str], _connection: Connection, reason: str) -> None:
    lost.callback(reason)
