"""The only place that knows everyone: wires each collaborator once, starts them in order and stops them in reverse."""

import gc
import math
import os
import shutil
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

import txaio
from treq.client import HTTPClient
from twisted.application.internet import TimerService
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, gatherResults, maybeDeferred  # noqa: A004
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool

from voxrec.api.app import Repositories, RestApp, RestDependencies, RestSettings
from voxrec.api.authentication import StaticTokens, StoredTokens
from voxrec.api.event_broadcaster import EventBroadcaster
from voxrec.archive.local import LocalArchive
from voxrec.ari.client import AriClient
from voxrec.ari.command_connection import CommandConnection
from voxrec.ari.event_stream import EventStream, EventStreamListener, endpoint_for
from voxrec.ari.transport import HttpTransport, TimedTransport
from voxrec.audio.formats import FORMATS
from voxrec.calls.announcements import DEFAULT, Announcements
from voxrec.calls.core import DISK_FULL, CallSettings
from voxrec.calls.disk_space import DiskSpaceMonitor
from voxrec.calls.router import Router
from voxrec.calls.stasis_session import StasisSession
from voxrec.calls.unfinished_recordings import UnfinishedRecordings
from voxrec.config import Config
from voxrec.deferreds import Backoff
from voxrec.errors import VoxrecError
from voxrec.jobs.worker import Worker
from voxrec.journal.recording_journal import RecordingJournal
from voxrec.mail.mailer import Mailer
from voxrec.mail.message import MessageDefaults
from voxrec.mail.smtp import Relay
from voxrec.metrics import Metrics
from voxrec.model import JobKind, Profile, Role
from voxrec.postgres.embedded import EmbeddedPostgres
from voxrec.postgres.listener import JOBS_CHANNEL, PROFILES_CHANNEL, PROMPTS_CHANNEL, TOKENS_CHANNEL, Listener
from voxrec.postgres.migrate import migrate
from voxrec.postgres.pool import Pool
from voxrec.recordings.erase import Eraser
from voxrec.recordings.finish import Finisher
from voxrec.recordings.orphans import OrphanSweeper
from voxrec.recordings.retention import RetentionSweeper
from voxrec.service_tree import RETRY_BACKOFF, CoroutineService, RetryingServerService, SequentialMultiService
from voxrec.store.audit import Audit
from voxrec.store.deliveries import Deliveries
from voxrec.store.events import EVENTS_CHANNEL, EventQueue, Events
from voxrec.store.idempotency import Idempotency
from voxrec.store.jobs import Jobs
from voxrec.store.profile_cache import ProfileCache
from voxrec.store.profile_snapshot import ProfileSnapshot
from voxrec.store.profiles import Profiles
from voxrec.store.prompts import Prompts
from voxrec.store.recording_lookup import RecordingLookup
from voxrec.store.recordings import Recordings
from voxrec.store.statistics import PendingJobs, read_statistics
from voxrec.store.tokens import Tokens
from voxrec.systemd import sd_notify
from voxrec.web.auth import ChainAuthenticator
from voxrec.web.site import RestSite
from voxrec.web.uploads import remove_stale_files

_SWITCH = 0.0005  # seconds; Python's own 5 ms are as long as all of a call's set-up
_FULL_LOOKS = 50  # of the middle generation before one at everything; Python's own 10 made one each second under load
_PATIENCE = 5.0  # seconds that Asterisk waits for the Profiles; live calls of before must not wait longer
_KEEP = 1.0  # seconds between looks whether the next start should know of other Profiles
_SWEEP = 60.0  # seconds between looks for recordings that nobody ended
_FORGET = 3600.0  # seconds between looks for what is too old to be kept
_ERASED = timedelta(days=30)  # for which it is known that a Recording was there: no journal is older
_LAST_WORDS = 15.0  # seconds for calls to end once voxrec has hung up

P = ParamSpec("P")
R = TypeVar("R")


class Voxrec(SequentialMultiService):
    """The whole daemon: its database, and on top of it the gateway."""

    def __init__(self, reactor: Any, config: Config) -> None:
        super().__init__()
        # a thread that works on audio lets the reactor, and with it a caller, wait no longer than that
        sys.setswitchinterval(_SWITCH)
        # each connection would log its coming and going, and Autobahn what the stream says in plain words
        Factory.noisy = False
        txaio.set_global_log_level("critical")  # type: ignore[attr-defined] # Autobahn puts it there
        self._reactor = reactor
        self._config = config
        self._postgres = EmbeddedPostgres(reactor, Path(config.data_directory, "postgres"))
        self._gateway: _Gateway | None = None
        self._dsn = str(config.database.dsn)
        CoroutineService("database", self._start_database, self._stop_database).setServiceParent(self)
        CoroutineService("gateway", self._start_gateway, self._stop_gateway).setServiceParent(self)

    def privilegedStartService(self) -> None:
        """Make the data directory."""
        super().privilegedStartService()
        Path(self._config.data_directory).mkdir(parents=True, exist_ok=True)
        if not self._config.archive.directory:
            # one that is configured is not made: where it is missing, so is the disk that it should be on
            self._config.archive_directory.mkdir(exist_ok=True)

    def startService(self) -> Deferred[None]:
        """Start all, and tell systemd; what can never work ends the process with the status for a bad configuration."""
        started = super().startService()
        started.addCallbacks(self._up, self._failed)
        return started

    def stopService(self) -> Deferred[None]:
        """Stop all: first the calls, which get their time, the database last."""
        sd_notify("STOPPING=1")
        return super().stopService()

    def _up(self, _: None) -> None:
        # what is there by now stays; to look it through for garbage would stop everything for some 50 ms now and then
        gc.collect()
        gc.freeze()
        # and neither what the Profiles in memory consist of, which each look for garbage of all ages goes through
        gc.set_threshold(*gc.get_threshold()[:2], _FULL_LOOKS)
        self._log.info("voxrec is up")
        sd_notify("READY=1")

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        if failure.check(VoxrecError):
            self._log.critical("voxrec cannot start: {error}", error=failure.value)
        else:
            self._log.failure("voxrec cannot start", failure)
        # twistd itself ends with 0 whatever happened; what was started is stopped first
        self._reactor.addSystemEventTrigger("after", "shutdown", os._exit, os.EX_CONFIG)
        self._reactor.stop()

    async def _start_database(self) -> None:
        if self._dsn:
            return
        await self._insist("the embedded PostgreSQL does not start", self._postgres.startService)
        self._dsn = self._postgres.dsn

    async def _stop_database(self) -> None:
        if not self._config.database.dsn:
            await self._postgres.stopService()

    async def _start_gateway(self) -> None:
        self._gateway = _Gateway(self._reactor, self._config, self._dsn)
        await self._gateway.startService()

    async def _stop_gateway(self) -> None:
        if self._gateway is not None:
            await self._gateway.stopService()

    async def _insist(self, complaint: str, attempt: Callable[[], Awaitable[None]]) -> None:
        complained = ""
        while True:
            try:
                return await attempt()
            except VoxrecError as error:
                if error.detail != complained:
                    complained = error.detail
                    self._log.error("{complaint}, trying on: {error}", complaint=complaint, error=error)
            await deferLater(self._reactor, RETRY_BACKOFF.first)


class _Gateway(SequentialMultiService):
    """All that stands on the database, lowest first."""

    def __init__(self, reactor: Any, config: Config, dsn: str) -> None:
        super().__init__()
        self._reactor = reactor
        self._config = config
        self._dsn = dsn
        data = Path(config.data_directory)
        self._work = config.archive_directory / ".work"

        self._pool = Pool(
            reactor,
            dsn,
            size=config.database.pool_size,
            statement_timeout=config.database.statement_timeout,
            connect_timeout=config.database.connect_timeout,
        )
        self._metrics = metrics = Metrics(metadata.version("voxrec"))
        profiles = Profiles(self._pool)
        recordings = Recordings(self._pool)
        self._events = Events(self._pool)
        self._feed = EventBroadcaster(reactor, self._events, self._listen_to_events)
        self._event_listener = Listener(
            reactor, dsn, {EVENTS_CHANNEL: lambda _: self._feed.refresh()}, on_recovered=self._feed.refresh
        )
        news = EventQueue(reactor, self._events, metrics.count_dropped_events)
        tokens = Tokens(self._pool)
        self._stored_tokens = StoredTokens(reactor, tokens)
        prompts = Prompts(self._pool)
        idempotency = Idempotency(self._pool)
        jobs = Jobs(self._pool)
        archive = LocalArchive(config.archive_directory)
        self._directory = ProfileCache(
            reactor, profiles, self._pool, ProfileSnapshot(data / "profiles.jsonl"), self._defer_to_thread
        )
        mailer = Mailer(
            reactor,
            _relay(config),
            MessageDefaults(sender=config.mail.sender, attach_limit=config.mail.attach_limit),
            recordings=recordings,
            profiles=profiles,
            deliveries=Deliveries(self._pool),
            archive=archive,
            audio_url=partial(_audio_url, config.rest.public_url),
            defer_to_thread=self._defer_to_thread,
            on_reply=metrics.count_mail_recipient,
        )
        finisher = Finisher(
            reactor,
            recordings,
            archive,
            Path(config.asterisk.recordings),
            self._work,
            self._defer_to_thread,
        )
        eraser = Eraser(recordings, archive, Path(config.asterisk.recordings), self._defer_to_thread)
        lease = timedelta(seconds=config.queue.lease)
        self._worker = Worker(
            reactor,
            jobs,
            {JobKind.FINISH: finisher, JobKind.MAIL: mailer, JobKind.ERASE: eraser},
            concurrency=config.queue.concurrency,
            lease=lease,
            backoff=Backoff(first=config.queue.retry_first, limit=config.queue.retry_limit),
            max_attempts=config.queue.attempts,
            on_attempt_ended=metrics.count_job_attempt,
        )
        journal = RecordingJournal(
            reactor,
            data / "journal",
            recordings,
            self._pool,
            available_slots=lambda: self._worker.available_slots,
            lease=lease,
            on_claimed=lambda job, recording: self._worker.run_claimed(job, lambda _: finisher.finish(recording)),
        )
        orphans = OrphanSweeper(
            reactor,
            recordings,
            archive,
            Path(config.asterisk.recordings),
            lambda: journal.pending,
            self._defer_to_thread,
        )
        self._announcements = Announcements(
            reactor,
            prompts,
            Path(config.asterisk.sounds),
            self._defer_to_thread,
            default=config.calls.announcement or f"sound:{config.asterisk.sounds_in_asterisk}/{DEFAULT}",
            in_asterisk=config.asterisk.sounds_in_asterisk,
            # no call asks for its announcement later than that after it began
            grace=config.calls.setup_timeout + config.calls.ring_timeout + 60,
        )
        self._listener = Listener(
            reactor,
            dsn,
            {
                PROFILES_CHANNEL: self._directory.invalidate,
                PROMPTS_CHANNEL: self._announcements.prompt_changed,
                TOKENS_CHANNEL: self._tokens_changed,
                JOBS_CHANNEL: lambda _: self._worker.wake(),
            },
            self._caught_up,
        )
        self._asterisk = AriClient(
            _http(reactor, config),
            config.asterisk.app,
            partial(TimedTransport, reactor, metrics.observe_ari_request),
        )
        self._router = Router(
            reactor,
            self._asterisk,
            self._directory,
            journal,
            _call_settings(config, self._announcements.media_for, lambda: self._disk_space.sufficient),
            RecordingLookup(reactor, self._pool, journal.when_applied, recordings),
            allowed_hosts=config.calls.allowed_hosts,
            max_calls=config.calls.max_calls,
            watchers=(metrics, news),
        )
        self._disk_space = DiskSpaceMonitor(
            reactor,
            Path(config.asterisk.recordings),
            config.asterisk.recordings_floor,
            self._defer_to_thread,
            on_low=lambda: self._router.stop_recordings(DISK_FULL),
        )
        leftovers = UnfinishedRecordings(
            self._asterisk,
            recordings,
            journal,
            Path(config.asterisk.recordings),
            self._router.owns,
            self._defer_to_thread,
        )
        self._link = StasisSession(
            reactor,
            self._asterisk,
            self._router,
            leftovers,
            lambda: Deferred.fromCoroutine(self._close_streams()),
            self._open_lane,
        )
        self._stream = _event_stream(reactor, config, self._link, config.asterisk.app)
        # an application of its own, into which nothing ever comes
        self._lane = _event_stream(
            reactor, config, CommandConnection(self._asterisk), f"{config.asterisk.app}-commands"
        )
        rest = RestApp(
            reactor,
            Repositories(
                profiles=profiles,
                recordings=recordings,
                prompts=prompts,
                tokens=tokens,
                audit=Audit(self._pool),
                idempotency=idempotency,
                jobs=jobs,
            ),
            RestSettings(
                public_url=config.rest.public_url,
                allowed_hosts=config.calls.allowed_hosts,
                formats=FORMATS,
                body_limit=config.rest.body_limit,
                audio_limit=config.rest.audio_limit,
                upload_directory=self._work,
                metrics_role=None if config.rest.metrics == "open" else Role.READ,
                cors_origins=config.rest.cors_origins,
            ),
            RestDependencies(
                archive=archive,
                authenticator=ChainAuthenticator(
                    StaticTokens({"admin": config.rest.admin_token} if config.rest.admin_token else {}),
                    self._stored_tokens,
                ),
                broadcaster=self._feed,
                call_control=self._router,
                metrics=metrics,
                refresh_statistics=self._look_up,
                probes={"postgresql": self._database_state, "asterisk": self._asterisk_state},
                defer_to_thread=self._defer_to_thread,
            ),
        )
        site = RestSite(
            rest.resource(),
            body_limit=config.rest.body_limit,
            reactor=reactor,
            upload_policy=rest.upload_policy,
            max_connections=config.rest.connections,
            access_log=config.rest.access_log,
        )
        metrics.add_gauge("voxrec_calls_live", "Calls of this daemon now.", lambda: len(tuple(self._router.calls)))
        metrics.add_gauge("voxrec_journal_pending", "What calls said and PostgreSQL lacks.", lambda: journal.pending)
        metrics.add_gauge("voxrec_orphaned_files", "Audio files that belong to no Recording.", lambda: orphans.count)
        metrics.add_gauge("voxrec_events_pending", "Events of calls that PostgreSQL lacks.", lambda: len(news))
        metrics.add_gauge("voxrec_event_clients", "Clients that follow /events.", lambda: self._feed.subscriber_count)
        metrics.add_gauge("voxrec_rest_connections", "Open connections of REST's.", lambda: site.connection_count)
        metrics.add_gauge("voxrec_postgresql_ready", "Whether PostgreSQL answers.", lambda: self._pool.ready)
        metrics.add_gauge(
            "voxrec_spool_low", "Whether calls are not recorded: no room.", lambda: not self._disk_space.sufficient
        )
        metrics.add_gauge("voxrec_spool_free_bytes", "Room where Asterisk records.", lambda: self._disk_space.free)
        metrics.add_gauge("voxrec_asterisk_connected", "Whether Asterisk does.", lambda: self._link.version is not None)

        for part in (
            CoroutineService("pool", self._start_pool, self._stop_pool),
            journal,
            CoroutineService("listener", self._start_listener, self._stop_listener),
            CoroutineService("worker", self._start_worker, self._worker.stopService),
            news,
            CoroutineService("events", _nothing, self._stop_events),
            RetryingServerService(reactor, config.rest.listen, site, "REST"),
            self._announcements,
            CoroutineService("calls", self._start_calls, self._stop_calls),
            self._disk_space,
            TimerService(_SWEEP, self._link.sweep),
            TimerService(_KEEP, self._directory.save_snapshot),
            TimerService(_FORGET, self._forget, idempotency, jobs),
            RetentionSweeper(reactor, recordings),
            orphans,
        ):
            part.setServiceParent(self)

    def _defer_to_thread(self, f: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Deferred[R]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), f, *args, **kwargs)

    async def _forget(self, idempotency: Idempotency, jobs: Jobs) -> None:
        """Clear away what nobody needs any more."""
        try:
            await self._defer_to_thread(remove_stale_files, self._work)
            await idempotency.delete_expired()
            await jobs.purge_erased(_ERASED)
            await self._events.delete_older_than(timedelta(days=self._config.rest.event_days))
        except (VoxrecError, OSError) as error:
            self._log.warn("could not clear away what is old: {error}", error=error)

    async def _look_up(self) -> None:
        """Bring the numbers up to date that must be asked for."""
        await gatherResults(
            [Deferred.fromCoroutine(self._look_up_figures()), Deferred.fromCoroutine(self._look_up_room())]
        )

    async def _look_up_figures(self) -> None:
        try:
            statistics = await read_statistics(self._pool)
        except VoxrecError:
            self._metrics.clear_database_metrics()
            return
        self._metrics.set_recordings(statistics.recordings, statistics.total_recordings)
        for kind in JobKind:
            owed = statistics.pending.get(kind, PendingJobs())
            dead = statistics.dead.get(kind, 0)
            self._metrics.set_jobs(kind, waiting=owed.count, due=owed.due, oldest_age=owed.oldest_age, dead=dead)

    async def _look_up_room(self) -> None:
        try:
            usage = await self._defer_to_thread(shutil.disk_usage, self._config.archive_directory)
        except OSError:
            self._metrics.set_archive_free_bytes(math.nan)
        else:
            self._metrics.set_archive_free_bytes(usage.free)

    async def _start_pool(self) -> None:
        """Nobody waits for PostgreSQL: what needs it says so until it is there."""
        self._migrating = Deferred.fromCoroutine(self._bring_up())
        self._migrating.addErrback(self._not_brought_up)

    async def _bring_up(self) -> None:
        complained = ""
        while True:
            try:
                await self._defer_to_thread(migrate, self._dsn)
                break
            except VoxrecError as error:
                if error.detail != complained:
                    complained = error.detail
                    self._log.error("PostgreSQL: {error}; trying on", error=error)
            await deferLater(self._reactor, RETRY_BACKOFF.first)
        self._pool.startService()

    def _not_brought_up(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("PostgreSQL: its tables cannot be used", failure)

    async def _stop_pool(self) -> None:
        self._migrating.cancel()
        await self._pool.stopService()

    async def _start_listener(self) -> None:
        await self._directory.startService()
        self._listener.startService()

    async def _stop_listener(self) -> None:
        await self._listener.stopService()
        await self._directory.stopService()

    def _listen_to_events(self, anybody_follows: bool) -> None:
        if anybody_follows:
            self._event_listener.startService()
        else:
            self._event_listener.stopService()

    async def _stop_events(self) -> None:
        await self._feed.stop()
        await self._event_listener.stopService()

    def _caught_up(self) -> None:
        self._tokens_changed()
        self._directory.invalidate_all()
        self._announcements.reload()
        if not self._worker.running:
            self._worker.startService()
        self._worker.wake()
        Deferred.fromCoroutine(self._link.sweep())

    def _tokens_changed(self, token_id: str = "") -> None:
        self._stored_tokens.invalidate(token_id)
        self._feed.disconnect_all()

    async def _start_worker(self) -> None:
        """It has nothing to do before PostgreSQL first answers (`_caught_up`)."""

    def _open_lane(self) -> None:
        if not self._lane.running:
            self._lane.startService()

    async def _close_streams(self) -> None:
        await maybeDeferred(self._stream.stopService)
        if self._lane.running:
            await maybeDeferred(self._lane.stopService)

    async def _start_calls(self) -> None:
        # whoever opens the websocket gets the calls, and should know what to do with them
        await self._directory.when_loaded(_PATIENCE)
        self._stream.startService()

    async def _stop_calls(self) -> None:
        """Leave the live calls to the next voxrec, or, as it is configured, see them to their end."""
        if self._config.calls.on_stop == "keep":
            await self._close_streams()
            self._router.let_go_all()
            return
        # live ones may end by themselves in their time, and are ended then
        self._router.refuse_new_calls()
        if not await self._ended_within(self._config.calls.grace):
            self._log.warn("ending the calls that are still live")
            self._router.release_all()
            await self._ended_within(_LAST_WORDS)
        await self._close_streams()

    async def _ended_within(self, seconds: float) -> bool:
        try:
            await self._router.when_empty().addTimeout(seconds, self._reactor)
        except TimeoutError:
            return False
        return True

    async def _database_state(self) -> str | None:
        if not self._pool.ready:
            return "PostgreSQL cannot be reached"
        await self._pool.query("SELECT 1")
        return None if self._directory.confirmed else "the Profiles are not read yet"

    async def _asterisk_state(self) -> str | None:
        if self._link.replaced:
            return "another program took over the application"
        return None if self._link.version is not None else "the event websocket is not open"


def _nothing() -> None:
    """What needs no start."""


def _audio_url(public_url: str, recording_id: UUID) -> str:
    return f"{public_url.rstrip('/')}/recordings/{recording_id}/audio"


def _call_settings(
    config: Config, announcement: Callable[[Profile], str | None], has_disk_space: Callable[[], bool]
) -> CallSettings:
    return CallSettings(
        endpoint=config.asterisk.endpoint,
        ring_timeout=config.calls.ring_timeout,
        setup_timeout=config.calls.setup_timeout,
        max_call=config.calls.max_call,
        announcement=announcement,
        beep=config.calls.beep,
        has_disk_space=has_disk_space,
    )


def _event_stream(reactor: Any, config: Config, owner: EventStreamListener, app: str) -> EventStream:
    asterisk = config.asterisk
    return EventStream(
        reactor,
        endpoint_for(reactor, asterisk.url, asterisk.request_timeout),
        owner,
        url=asterisk.url,
        user=asterisk.user,
        password=asterisk.password,
        app=app,
        request_timeout=asterisk.request_timeout,
        ping_interval=asterisk.ping_interval,
        ping_timeout=asterisk.ping_timeout,
        queue_limit=asterisk.event_queue,
    )


def _http(reactor: Any, config: Config) -> HttpTransport:
    http = HTTPClient(Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=True)))
    asterisk = config.asterisk
    return HttpTransport(reactor, http, asterisk.url, asterisk.user, asterisk.password, asterisk.request_timeout)


def _relay(config: Config) -> Relay:
    mail = config.mail
    return Relay(
        host=mail.host,
        port=mail.port,
        tls=mail.tls,
        username=mail.user,
        password=mail.password,
        timeout=mail.timeout,
        helo_domain=mail.helo_domain,
        ca_file=Path(mail.ca_file) if mail.ca_file else None,
    )
