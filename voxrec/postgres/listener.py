"""What PostgreSQL tells by itself: a connection of its own that listens, and listens again after it was lost."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from psycopg2.extensions import quote_ident
from twisted.application.internet import backoffPolicy
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxrec.deferreds import shielded
from voxrec.errors import StoreUnavailable
from voxrec.postgres.connection import Connection

PROFILES_CHANNEL: Final = "voxrec_profiles"  # carries the id of a Profile that came, changed or went
PROMPTS_CHANNEL: Final = "voxrec_prompts"  # carries the id of a Prompt that came, changed or went
TOKENS_CHANNEL: Final = "voxrec_tokens"  # carries the id of a Token that came, changed or went
JOBS_CHANNEL: Final = "voxrec_jobs"  # carries the kind of a job that came, or became due at another time

_TIMEOUT: Final = 10.0  # seconds, to connect and for LISTEN


class Listener:
    """Calls ``channels[name](payload)`` for each notification.

    ``on_recovered`` is called each time that listening has begun, the first time included: nobody knows what was told
    before, so whoever follows a table reads it again.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: ReactorBase,
        dsn: str,
        channels: Mapping[str, Callable[[str], None]],
        on_recovered: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._dsn = dsn
        self._channels = channels
        self._on_recovered = on_recovered
        self._pause = backoffPolicy(initialDelay=0.1, maxDelay=5.0, factor=1.6, jitter=lambda: 0.0)
        self._running = False
        self._link: Connection | None = None
        self._opening: Deferred[None] | None = None
        self._retry: IDelayedCall | None = None
        self._failures = 0

    def start(self) -> None:
        """Begin to listen, and go on trying."""
        self._running = True
        self._try()

    async def stop(self) -> None:
        """Close the connection."""
        self._running = False
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._opening is not None:
            self._opening.cancel()
        if self._link is not None:
            self._link.shut()

    def _try(self) -> None:
        self._retry = None
        self._link = Connection(self._reactor, self._lost)
        self._opening = Deferred.fromCoroutine(self._listen(self._link))
        self._opening.addCallbacks(self._listening, self._not_listening)

    async def _listen(self, link: Connection) -> None:
        await link.open(self._dsn, connect_timeout=_TIMEOUT, statement_timeout=_TIMEOUT)
        link.addNotifyObserver(self._told)
        for channel in self._channels:
            await shielded(Deferred.fromCoroutine(link.run(f"LISTEN {quote_ident(channel, link.pollable())}")))

    def _listening(self, _: None) -> None:
        self._opening = None
        try:
            self._on_recovered()
        except Exception:
            self._log.failure("what PostgreSQL tells could not be taken up; beginning again")
            self._begin_again()
        else:
            self._failures = 0

    def _not_listening(self, failure: Failure) -> None:
        self._opening = None
        if self._running and not failure.check(StoreUnavailable):  # that, the pool has said: it is the same server
            self._log.failure("listening to PostgreSQL failed", failure)
        self._begin_again()

    def _lost(self, _: Connection, why: str) -> None:
        if self._opening is None:  # otherwise _listen fails
            self._log.warn("no longer listening to PostgreSQL: {why}", why=why)
            self._begin_again()

    def _begin_again(self) -> None:
        if self._link is not None:
            self._link.shut()
            self._link = None
        if self._running:
            self._failures += 1
            self._retry = self._reactor.callLater(self._pause(self._failures), self._try)

    def _told(self, notification: Any) -> None:
        try:
            self._channels[notification.channel](notification.payload)
        except Exception:
            self._log.failure("{notification} could not be taken", notification=notification)
