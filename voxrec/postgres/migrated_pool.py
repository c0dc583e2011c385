"""Starts the connection pool once the schema is up to date."""

from collections.abc import Awaitable, Callable

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxrec.deferreds import Backoff, retry
from voxrec.errors import VoxrecError


class MigratedPool(Service):
    """Applies the schema migrations, then starts ``pool``. A failed attempt is repeated after the delay of ``backoff``.

    The start does not wait for PostgreSQL: until it is available, the users of the pool get StoreUnavailable.
    """

    name = "database"
    _log = Logger()

    def __init__(
        self, clock: IReactorTime, pool: Service, migrate: Callable[[], Awaitable[None]], backoff: Backoff
    ) -> None:
        self._clock = clock
        self._pool = pool
        self._migrate = migrate
        self._backoff = backoff
        self._migration: Deferred[None] | None = None

    def startService(self) -> None:
        """Start to apply the migrations."""
        super().startService()
        self._migration = Deferred.fromCoroutine(self._migrate_and_start_pool())
        self._migration.addErrback(self._migration_failed)

    def stopService(self) -> Deferred[None]:
        """Stop the pool."""
        super().stopService()
        if self._migration is not None:
            self._migration.cancel()
        return maybeDeferred(self._pool.stopService)

    async def _migrate_and_start_pool(self) -> None:
        await retry(self._clock, self._migrate, on=VoxrecError, backoff=self._backoff, report=self._log_error)
        self._pool.startService()

    def _log_error(self, error: Exception, delay: float) -> None:
        self._log.error("PostgreSQL: {error}; retrying every {delay:g} s", error=error, delay=delay)

    def _migration_failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure(
                "PostgreSQL: the schema migrations failed; the database is not used until voxrec is restarted", failure
            )
