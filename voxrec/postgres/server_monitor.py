"""Observes the servers of a connection string with several hosts: former primaries, and standbys that are behind."""

import math
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxrec.deferreds import SingleFlight
from voxrec.errors import StoreUnavailable
from voxrec.postgres.server_history import ServerHistory
from voxrec.postgres.server_status import ServerStatus, current_primary, inspect_servers
from voxrec.threads import DeferToThread

INTERVAL: Final = 10.0
"""Seconds between two observations."""
_HISTORY: Final = 3600.0  # seconds for which positions of the primary are remembered


class ServerMonitor(Service):
    """Inspects all servers every 10 s.

    A server with a newer timeline is reported to ``history``, so that connections to a former primary that still
    responds are replaced. ``primaries`` and ``standbys`` are the numbers of servers that accept writes, or follow one.
    """

    name = "server monitor"
    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        dsn: str,
        history: ServerHistory,
        defer_to_thread: DeferToThread,
        inspect: Callable[[str], Sequence[ServerStatus]] = inspect_servers,
    ) -> None:
        self._clock = clock
        self._history = history
        self._inspect = partial(defer_to_thread, inspect, dsn)
        self._flight = SingleFlight(self._observe, self._failed)
        self._timer = LoopingCall(self._request)
        self._timer.clock = clock
        self._positions: deque[tuple[float, int]] = deque()  # of the primary: time and position, oldest first
        self._received: int | None = None  # the position of the standby that has received most
        self._former: set[str] = set()
        self.primaries = 0
        self.standbys = 0

    def startService(self) -> None:
        """Inspect the servers now, and every 10 s."""
        super().startService()
        self._timer.start(INTERVAL)

    def stopService(self) -> Deferred[None]:
        """Stop, and wait until an inspection in progress has ended."""
        super().stopService()
        if self._timer.running:
            self._timer.stop()
        return Deferred.fromCoroutine(self._flight.wait())

    @property
    def lag(self) -> float:
        """How long ago, in seconds, the primary wrote the first change that no standby has; NaN without a standby.

        Its resolution is the interval of the inspections.
        """
        if not self.standbys or self._received is None or not self._positions:
            return math.nan
        missing = (written for written, position in self._positions if position > self._received)
        first = next(missing, None)
        return 0.0 if first is None else self._clock.seconds() - first

    def _request(self) -> None:
        if not self._flight.running:
            self._flight.request()

    async def _observe(self) -> None:
        statuses = await self._inspect()
        primary = current_primary(statuses)
        self.primaries = sum(each.accepts_writes for each in statuses)
        self.standbys = sum(each.standby and not each.problem for each in statuses)
        self._received = max(
            (each.position for each in statuses if each.standby and each.position is not None), default=None
        )
        if primary is None:
            return
        if primary.position is not None:
            self._remember(primary.position)
        if primary.identity is not None:
            try:
                self._history.connected(primary.identity)
            except StoreUnavailable:
                self._log.debug("the only server that accepts writes is a former primary")
        self._report_former(statuses, primary)

    def _remember(self, position: int) -> None:
        now = self._clock.seconds()
        if self._positions and self._positions[-1][1] > position:  # another server is the primary now
            self._positions.clear()
        if not self._positions or self._positions[-1][1] < position:
            self._positions.append((now, position))
        while len(self._positions) > 1 and self._positions[0][0] < now - _HISTORY:
            self._positions.popleft()

    def _report_former(self, statuses: Sequence[ServerStatus], primary: ServerStatus) -> None:
        former = {str(each.server) for each in statuses if each.accepts_writes and each is not primary}
        for server in sorted(former - self._former):
            self._log.error(
                "{server} accepts writes although {primary} is the primary: stop it, and make it a standby; what is "
                "written to it is lost",
                server=server,
                primary=str(primary.server),
            )
        self._former = former

    def _failed(self, failure: Failure) -> None:
        self._log.failure("inspecting the servers of PostgreSQL failed; repeating it in 10 s", failure)
