"""The session of voxrec's Stasis application: what happens when its event websocket connects and disconnects."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Final, Protocol

from twisted.application.internet import TimerService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from voxrec.ari.client import AriClient
from voxrec.ari.events import ApplicationReplaced, Event, Playback, PlaybackFinished, handled_message_types
from voxrec.ari.transport import WebsocketTransport
from voxrec.calls.live_call import LiveCall
from voxrec.calls.live_calls import LiveCalls
from voxrec.calls.recording.unfinished_recordings import UnfinishedRecordings
from voxrec.calls.stasis.reconciliation import OrphanedChannels, Reconciler
from voxrec.calls.stasis.router import Router
from voxrec.deferreds import Backoff, gather, retry
from voxrec.errors import VoxrecError

# seconds; a new caller can be in the application before its StasisStart is read, and is then no orphan
_ORPHAN_GRACE: Final = 2.0
_RETRY_BACKOFF: Final = Backoff(
    first=2.0, limit=2.0, jitter=0.0
)  # seconds until a reconciliation that failed is repeated
_UNFINISHED_INTERVAL: Final = 60.0  # seconds between searches for unfinished recordings


class AnnouncementCheck(Protocol):
    """The check whether Asterisk can play the announcement (`voxrec.calls.announcements.announcement_check`)."""

    async def asterisk_connected(self) -> None:
        """Check now, and from now on."""

    def asterisk_disconnected(self) -> None:
        """Wait for the next connect."""

    def playback_finished(self, playback: Playback) -> None:
        """Handle PlaybackFinished."""


async def _cannot_stand_by() -> bool:
    return False


class StasisSession(TimerService):
    """Listens to the event stream: reconciles after each connect, and passes events to the router.

    As a Service it also searches for unfinished recordings every 60 s.
    """

    name = "Stasis session"
    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        asterisk: AriClient,
        live_calls: LiveCalls,
        router: Router,
        reconciler: Reconciler,
        unfinished_recordings: UnfinishedRecordings,
        *,
        announcement_check: AnnouncementCheck,
        close_stream: Callable[[], object],
        stand_by: Callable[[], Awaitable[bool]] = _cannot_stand_by,
        observe: Callable[[Event], object] = lambda _event: None,
    ) -> None:
        """``close_stream`` closes the event stream for good, because another program has the application.

        If that program is voxrec, ``stand_by`` lets this process wait for the application, and returns True.
        ``observe`` is called with each event before the router.
        """
        super().__init__(_UNFINISHED_INTERVAL, self.finish_recordings)
        self.clock = clock
        self._clock = clock
        self._asterisk = asterisk
        self._live_calls = live_calls
        self._router = router
        self._reconciler = reconciler
        self._unfinished_recordings = unfinished_recordings
        self._announcement_check = announcement_check
        self._close_stream = close_stream
        self._stand_by = stand_by
        self._observe = observe
        self._reconciliation_failed = False  # whether the log says so last
        self._search_failed = False  # whether the last search for unfinished recordings has failed
        self._connection = 0  # counts connects and disconnects
        self.replaced = False
        """Whether another program has taken over the application."""
        self.version: str | None = None
        """The version of Asterisk; None while the websocket is not connected."""

    def stream_connected(self, transport: WebsocketTransport) -> None:
        """Handle the opening of the websocket."""
        self._connection += 1
        if self.replaced:  # this process stood by, and is active now
            self.replaced = False
            self._live_calls.attach()
        Deferred.fromCoroutine(self._start_session(transport, self._connection))

    def event_received(self, event: Event) -> None:
        """Handle an event."""
        if isinstance(event, ApplicationReplaced):
            self.yield_application(event.application)
            return
        if isinstance(event, PlaybackFinished):
            self._announcement_check.playback_finished(event.playback)
        self._observe(event)
        self._router.handle(event)

    def stream_disconnected(self) -> None:
        """Handle the closing of the websocket: calls continue in Asterisk, and commands are sent over HTTP."""
        self.version = None
        self._connection += 1
        self._asterisk.use_http()
        self._announcement_check.asterisk_disconnected()

    def yield_application(self, application: str) -> None:
        """Leave all calls to the other program: two programs that compete for an application would lose calls."""
        if not self.replaced:
            self.replaced = True
            self._live_calls.detach_all()
            Deferred.fromCoroutine(self._wait_or_close(application))

    async def _wait_or_close(self, application: str) -> None:
        self._asterisk.use_http()
        try:
            if await self._stand_by():
                self._log.warn(
                    "another voxrec has taken over the Stasis application {application} with all its calls; this one "
                    "stands by",
                    application=application,
                )
                return
        except VoxrecError as error:
            self._log.debug("the lease of the application could not be read: {error}", error=error)
        self._log.critical(
            "another program has taken over the Stasis application {application} with all its calls; configure another"
            " name for one of them and restart voxrec, which accepts no calls until then",
            application=application,
        )
        self._close_stream()

    async def _start_session(self, transport: WebsocketTransport, connection: int) -> None:
        started_before, calls = self._asterisk.started_at, list(self._live_calls)
        try:
            await self._repeat(connection, partial(self._prepare, transport, connection))
            await self._repeat(connection, partial(self._reconcile, started_before, calls))
            if self._reconciliation_failed and connection == self._connection:
                self._reconciliation_failed = False
                self._log.info("reconciliation with Asterisk has succeeded")
            if connection == self._connection:
                await self._announcement_check.asterisk_connected()
                await self.finish_recordings()
        except Exception:
            self._log.failure("reconciliation with Asterisk failed, and is repeated at the next connect")

    async def _repeat(self, connection: int, attempt: Callable[[], Awaitable[None]]) -> None:
        """Call ``attempt`` until it succeeds, or the websocket is closed."""

        async def attempt_if_connected() -> None:
            if connection == self._connection:
                await attempt()

        await retry(
            self._clock, attempt_if_connected, on=VoxrecError, backoff=_RETRY_BACKOFF, report=self._report_failure
        )

    def _report_failure(self, error: Exception, delay: float) -> None:
        self._reconciliation_failed = True
        self._log.error(
            "reconciliation with Asterisk failed; repeating it every {delay:g} s: {error}", delay=delay, error=error
        )

    async def _prepare(self, transport: WebsocketTransport, connection: int) -> None:
        self.version = version = await self._asterisk.detect_capabilities()
        Deferred.fromCoroutine(self._try_websocket_commands(transport, connection))
        await self._asterisk.set_event_filter(handled_message_types())
        self._log.info("connected to Asterisk {version}", version=version)

    async def _reconcile(self, started_before: datetime | None, calls: Sequence[LiveCall]) -> None:
        """Reconcile: ``calls`` were live at the connect, and ``started_before`` was known as the start of Asterisk."""
        comparison = await self._reconciler.compare()
        if started_before not in (None, self._asterisk.started_at):
            for call in calls:
                call.asterisk_ended()
        # in parallel: calls that are taken over wait for PostgreSQL, and callers that wait for voxrec must not
        await gather(self._reconciler.take_over(comparison), self._end_orphaned(comparison.orphaned))

    async def _try_websocket_commands(self, transport: WebsocketTransport, connection: int) -> None:
        """Send commands over the websocket once it has answered one: older versions of Asterisk never answer."""
        try:
            await transport.request("GET", ("asterisk", "ping"), {})
        except VoxrecError:
            self._log.info("Asterisk does not accept commands over the websocket; they are sent over HTTP")
            return
        if connection == self._connection:
            self._asterisk.use_transport(transport)

    async def _end_orphaned(self, orphaned: OrphanedChannels) -> None:
        if orphaned:
            await deferLater(self._clock, _ORPHAN_GRACE)
            await self._reconciler.end_orphaned(orphaned.still_orphaned(await self._reconciler.reconcile()))

    async def finish_recordings(self) -> None:
        """Search for unfinished recordings while Asterisk is connected."""
        if self.version is None:
            return
        try:
            await self._unfinished_recordings.finish_all()
        except VoxrecError as error:
            if not self._search_failed:
                self._log.warn(
                    "the search for unfinished recordings failed; it is repeated every minute, and when PostgreSQL is "
                    "available again: {error}",
                    error=error,
                )
            self._search_failed = True
        else:
            self._search_failed = False
