"""The embedded PostgreSQL as a service: used if no database is configured."""

from pathlib import Path
from typing import Final

from twisted.application.service import Service
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from voxrec.postgres.cluster import Cluster

_WATCH_INTERVAL: Final = 1.0  # seconds


class EmbeddedPostgres(Service):
    """Starts a PostgreSQL server, restarts it if it dies, and stops it. ``dsn`` is its connection string."""

    name = "embedded PostgreSQL"
    _log = Logger()

    def __init__(self, reactor: ReactorBase, directory: Path) -> None:
        self._reactor = reactor
        self._cluster = Cluster(directory)
        self._watch = LoopingCall(self._restart_if_dead)
        self._watch.clock = reactor

    @property
    def dsn(self) -> str:
        """The connection string, valid once the service has started."""
        return self._cluster.dsn()

    def startService(self) -> Deferred[None]:
        """Start the server and wait until it accepts connections. Fails with StoreUnavailable if it cannot start."""
        super().startService()
        return Deferred.fromCoroutine(self._start())

    def stopService(self) -> Deferred[None]:
        """Stop the server, which disconnects its clients."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _start(self) -> None:
        threads = self._reactor.getThreadPool()
        await deferToThreadPool(self._reactor, threads, self._cluster.prepare)
        self._cluster.launch()
        try:
            await deferToThreadPool(self._reactor, threads, self._cluster.wait_until_ready)
        except BaseException:
            await deferToThreadPool(self._reactor, threads, self._cluster.stop)
            raise
        self._watch.start(_WATCH_INTERVAL, now=False)

    async def _stop(self) -> None:
        if self._watch.running:
            self._watch.stop()
        await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._cluster.stop)

    def _restart_if_dead(self) -> None:
        if not self._cluster.running:
            self._log.critical("the embedded PostgreSQL has died, restarting it: {log}", log=self._cluster.log_tail())
            self._cluster.launch()
