"""What happens when the event websocket opens and closes: learn what Asterisk can do, catch up, clean up."""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from voxrec.ari.client import AriClient
from voxrec.ari.events import ApplicationReplaced, Event, handled_message_types
from voxrec.ari.transport import WebsocketTransport
from voxrec.calls.router import OrphanedChannels, Router
from voxrec.calls.unfinished_recordings import UnfinishedRecordings
from voxrec.errors import VoxrecError

# A caller may be in the application before the event that says so was read; only who is still a stranger after so many
# seconds belongs to a voxrec that is no more.
_STRANGER_TIME = 2.0


class StasisSession:
    """Owns the event stream's news: who is there, what was missed, what is left over from before."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        asterisk: AriClient,
        router: Router,
        leftovers: UnfinishedRecordings,
        give_way: Callable[[], object],
        open_lane: Callable[[], object] = lambda: None,
    ) -> None:
        """``give_way`` closes the event stream for good: another program has the application now.

        ``open_lane`` opens another websocket for commands, where Asterisk takes them.
        """
        self._clock = clock
        self._asterisk = asterisk
        self._router = router
        self._leftovers = leftovers
        self._open_lane = open_lane
        self._give_way = give_way
        self._connection = 0
        self.replaced = False
        """Whether another program took the application over."""
        self.version: str | None = None
        """Asterisk's version while it is connected."""

    def stream_connected(self, transport: WebsocketTransport) -> None:
        """The websocket is open."""
        self._connection += 1
        Deferred.fromCoroutine(self._came_up(transport, self._connection))

    def event_received(self, event: Event) -> None:
        """Something happened in Asterisk."""
        if isinstance(event, ApplicationReplaced):
            self._lose(event.application)
            return
        self._router.handle(event)

    def _lose(self, application: str) -> None:
        """Two that fight for an application would lose calls; the one that came later has them all by now."""
        self._log.critical(
            "Asterisk: another program took over the application {app}, and with it the calls; no two may use one. "
            "This voxrec takes no more calls until it is restarted.",
            app=application,
        )
        self.replaced = True
        self._router.let_go_all()
        self._give_way()

    def stream_disconnected(self) -> None:
        """The websocket is closed: live calls go on in Asterisk, and commands go over HTTP."""
        self.version = None
        self._connection += 1
        self._asterisk.use_http()

    async def _came_up(self, transport: WebsocketTransport, connection: int) -> None:
        try:
            self.version = version = await self._asterisk.detect_capabilities()
            Deferred.fromCoroutine(self._try_websocket(transport, connection))
            await self._asterisk.set_event_filter(handled_message_types())
            self._log.info("Asterisk {version}: connected", version=version)
            await self._clean_up(await self._router.reconcile(), connection)
        except VoxrecError as error:
            self._log.error("Asterisk: could not catch up: {error}", error=error)
        except Exception:
            self._log.failure("Asterisk: could not catch up")

    async def _try_websocket(self, transport: WebsocketTransport, connection: int) -> None:
        """Older ones never answer a request on the websocket, so commands go over HTTP until this one has."""
        try:
            await transport.request("GET", ("asterisk", "ping"), {})
        except VoxrecError:
            self._log.info("Asterisk takes no requests over the websocket; commands go over HTTP")
            return
        if connection == self._connection:
            self._asterisk.use_transport(transport)
            self._open_lane()

    async def _clean_up(self, strays: OrphanedChannels, connection: int) -> None:
        if strays.channels or strays.bridges:
            await deferLater(self._clock, _STRANGER_TIME)
            await self._router.clear_away(strays.still(await self._router.reconcile()))
        if connection == self._connection:
            await self._leftovers.take_up()

    async def sweep(self) -> None:
        """Look for what nobody ended, as at every connect: for whoever calls this now and then."""
        if self.version is None:
            return
        try:
            await self._leftovers.take_up()
        except VoxrecError as error:
            self._log.warn("could not look for leftover recordings: {error}", error=error)
