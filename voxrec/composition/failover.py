"""What a node does when a standby of PostgreSQL has been promoted."""

from twisted.application.service import Service
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxrec.composition.database import Database
from voxrec.composition.environment import Environment
from voxrec.deferreds import SingleFlight
from voxrec.errors import StoreUnavailable
from voxrec.journal.recording_journal import RecordingJournal
from voxrec.postgres.dsn import servers
from voxrec.postgres.server_monitor import ServerMonitor


class FailoverHandler:
    """Repeats what the new primary may not have received: the last snapshots of this node's Recordings.

    Results of finishing are repeated by the ``finish`` jobs themselves (`voxrec.recordings.results`). What follows
    tables by notifications reads them again, because its connection is a new one.
    """

    _log = Logger()

    def __init__(self, database: Database, journal: RecordingJournal) -> None:
        self._database = database
        self._journal = journal
        self._flight = SingleFlight(self._handle, self._failed)

    def failed_over(self) -> None:
        """Begin, unless that is in progress."""
        if not self._flight.running:
            self._flight.request()

    async def _handle(self) -> None:
        history = self._database.history
        try:
            while (identity := history.unhandled) is not None:  # another failover may follow meanwhile
                await self._database.pool.when_ready()
                await self._database.events.skip_ids()
                await self._journal.replay()
                if not self._journal.running:
                    return
                history.failover_handled(identity)
        except StoreUnavailable:
            return  # the next connection begins again

    def _failed(self, failure: Failure) -> None:
        self._log.failure("what follows a failover of PostgreSQL failed; it is repeated after the next one", failure)


def build_server_monitor(env: Environment, database: Database) -> list[Service]:
    """Build the monitor of the servers of PostgreSQL and its gauges, if there are several."""
    if len(servers(database.dsn)) == 1:
        return []
    monitor = ServerMonitor(env.reactor, database.dsn, database.history, env.defer_to_thread)
    env.metrics.add_gauge(
        "voxrec_postgresql_primaries",
        "Servers of database.dsn that accept writes. More than one: a former primary has returned.",
        lambda: monitor.primaries,
    )
    env.metrics.add_gauge(
        "voxrec_postgresql_standbys", "Servers of database.dsn that are standbys.", lambda: monitor.standbys
    )
    env.metrics.add_gauge(
        "voxrec_postgresql_replication_lag_seconds",
        "Age of the oldest change that no standby has received. A failover would lose what is younger.",
        lambda: monitor.lag,
    )
    return [monitor]
