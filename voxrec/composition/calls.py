"""Calls: the connection to Asterisk, the live calls and their control, and reconciliation after a connect."""

import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.client import Agent, HTTPConnectionPool

from voxrec.ari.client import AriClient
from voxrec.ari.connection import AsteriskConnection
from voxrec.ari.event_stream import EventStream, EventStreamListener, endpoint_for
from voxrec.ari.transport import HttpTransport, TimedTransport
from voxrec.calls.admission import Admission, is_allowed, is_trusted
from voxrec.calls.announcements.announcement_check import AnnouncementCheck
from voxrec.calls.announcements.announcement_files import DEFAULT, Announcements, explain_unreadable
from voxrec.calls.call_control import CallControl
from voxrec.calls.call_data import CallSettings
from voxrec.calls.call_service import CallService, DetachAtStop, DrainAtStop, StopPolicy
from voxrec.calls.listening.frames import FRAMES_PER_SECOND
from voxrec.calls.listening.live_listening import ListeningSettings, LiveListening
from voxrec.calls.live_calls import LiveCalls
from voxrec.calls.recording.disk_space import DiskSpaceMonitor
from voxrec.calls.recording.leg_files import SpoolFiles
from voxrec.calls.recording.recording_commands import RecordingCommands
from voxrec.calls.recording.session_directory import SessionDirectory
from voxrec.calls.recording.unfinished_recordings import UnfinishedRecordings
from voxrec.calls.signalling.unreachable import UnreachableFarEnds
from voxrec.calls.stasis.application_lease import ApplicationLease, LocalHolder
from voxrec.calls.stasis.orphan_sweep import OrphanSweep
from voxrec.calls.stasis.reconciliation import Reconciler
from voxrec.calls.stasis.router import Router
from voxrec.calls.stasis.stasis_session import StasisSession
from voxrec.composition.ami import Ami, build_ami
from voxrec.composition.database import Database
from voxrec.composition.environment import Environment
from voxrec.composition.queue import Queue
from voxrec.composition.recordings import RecordingFiles
from voxrec.config import Config
from voxrec.journal.call_events import CallEventFile
from voxrec.metrics.calls import CallMetrics
from voxrec.model import ListeningEvent
from voxrec.model.reasons import DISK_FULL
from voxrec.nodes.call_directory import CallDirectory
from voxrec.store.events import EventQueue
from voxrec.store.profile_cache import ProfileCache
from voxrec.store.profile_lookup import ProfileLookup
from voxrec.store.recording_lookup import RecordingLookup

_ANNOUNCEMENT_MARGIN: Final = 60.0  # seconds
_log: Final = Logger()


@dataclass(frozen=True)
class Calls:
    """The services that control calls."""

    env: Environment
    asterisk: AriClient
    announcements: Announcements
    admission: Admission
    router: Router
    connection: AsteriskConnection
    ami: Ami
    announcement_check: AnnouncementCheck
    disk_space: DiskSpaceMonitor
    session_directory: SessionDirectory
    unreachable: UnreachableFarEnds
    event_queue: EventQueue
    call_directory: CallDirectory
    live_calls: LiveCalls
    control: CallControl
    listening: LiveListening
    session: StasisSession
    lease: ApplicationLease
    orphan_sweep: OrphanSweep
    service: CallService

    def reconfigure(self, config: Config) -> None:
        """Apply changed settings to the following calls."""
        settings = config.calls
        self.announcements.set_default(_default_announcement(config), grace=_announcement_grace(config))
        self.disk_space.set_floor(config.asterisk.recordings_floor)
        self.live_calls.set_settings(
            _call_settings(self.env.metrics.calls, config, self.announcements, self.disk_space, self.unreachable)
        )
        self.admission.set_limits(
            allowed_hosts=settings.allowed_hosts, max_calls=settings.max_calls, max_passages=settings.max_passages
        )
        self.router.set_log_numbers(settings.log_numbers)
        self.listening.settings = _listening_settings(config)
        self.service.set_stop_policy(
            _stop_policy(self.env.reactor, config, self.connection, self.live_calls, self.admission, self.lease)
        )


def build_calls(
    env: Environment, database: Database, profiles: ProfileCache, files: RecordingFiles, queue: Queue
) -> Calls:
    """Build the connection to Asterisk, and everything that handles its events."""
    reactor, journal = env.reactor, queue.journal
    asterisk = _build_client(env)

    def has_application() -> bool:
        return session.version is not None

    app = env.config.asterisk.app
    sessions = SessionDirectory(reactor, files.spool, app, has_application, env.defer_to_thread)
    ami = build_ami(env, sessions.renew)
    sessions.set_close_session(ami.connection.drop)
    announcements = _build_announcements(env, database)
    announcement_check = _build_announcement_check(env, asterisk, announcements)
    disk_space = DiskSpaceMonitor(reactor, files.spool, env.config.asterisk.recordings_floor, env.defer_to_thread)
    call_directory = CallDirectory(reactor, database.nodes, env.config.node_name, lambda: control.list_calls())
    event_queue = _build_event_queue(env, database)
    unreachable = _build_unreachable(env, asterisk)
    live_calls = LiveCalls(
        reactor,
        asterisk,
        RecordingCommands(asterisk, ami.client, SpoolFiles(files.spool, env.defer_to_thread), lambda: sessions.path),
        journal,
        _call_settings(env.metrics.calls, env.config, announcements, disk_space, unreachable),
        listeners=(env.metrics.calls, event_queue, call_directory),
    )
    listening = _build_listening(env, database, asterisk, live_calls)
    ami.connection.set_listener(live_calls)
    disk_space.set_low_space_callback(partial(live_calls.stop_recordings, DISK_FULL))
    admission = _build_admission(env, profiles, live_calls)
    lookup = ProfileLookup(reactor, database.profiles, profiles)
    router = Router(asterisk, live_calls, admission, lookup.look_up, log_numbers=env.config.calls.log_numbers)
    find_recordings = RecordingLookup(reactor, database.pool, journal, database.recordings)
    lease = _build_lease(env, asterisk, profiles, lambda: session)
    router.was_interrupted = lambda: lease.was_interrupted
    connection = AsteriskConnection(when_closed=lease.release)
    unfinished_recordings = _build_unfinished_recordings(env, database, files, queue, live_calls)
    reconciler = Reconciler(asterisk, live_calls, router, find_recordings, unfinished_recordings.find_files)
    session = StasisSession(
        reactor,
        asterisk,
        live_calls,
        router,
        reconciler,
        unfinished_recordings,
        announcement_check=announcement_check,
        close_stream=connection.stopService,
        stand_by=partial(_stand_by, lease, connection),
        observe=listening.event_received,
    )
    control = CallControl(live_calls, admission, lambda: session.version is not None and not session.replaced)
    control.listeners_of = listening.of_call

    async def before_connect() -> None:
        await lease.acquire()
        await sessions.revoke_others()
        ami.connection.retry_now()  # Asterisk responds: the calls that it sends now are to be recorded

    connection.set_stream(_build_stream(env, session, before_connect))
    return Calls(
        env=env,
        asterisk=asterisk,
        announcements=announcements,
        admission=admission,
        router=router,
        connection=connection,
        ami=ami,
        announcement_check=announcement_check,
        disk_space=disk_space,
        session_directory=sessions,
        unreachable=unreachable,
        event_queue=event_queue,
        call_directory=call_directory,
        live_calls=live_calls,
        control=control,
        listening=listening,
        session=session,
        lease=lease,
        orphan_sweep=OrphanSweep(reactor, reconciler, lambda: session.version is not None),
        service=CallService(
            connection, profiles, _stop_policy(reactor, env.config, connection, live_calls, admission, lease)
        ),
    )


def _build_announcement_check(env: Environment, asterisk: AriClient, announcements: Announcements) -> AnnouncementCheck:
    return AnnouncementCheck(
        env.reactor,
        asterisk,
        lambda: announcements.default,  # a reload can change it
        partial(explain_unreadable, Path(env.config.asterisk.sounds)),
        env.defer_to_thread,
    )


def _build_event_queue(env: Environment, database: Database) -> EventQueue:
    return EventQueue(
        env.reactor,
        database.events,
        CallEventFile(Path(env.config.data_directory, "call-events.jsonl"), env.defer_to_thread),
        env.metrics.calls.count_dropped_events,
    )


def _build_admission(env: Environment, profiles: ProfileCache, live_calls: LiveCalls) -> Admission:
    settings = env.config.calls
    return Admission(
        profiles,
        live_calls,
        allowed_hosts=settings.allowed_hosts,
        max_calls=settings.max_calls,
        max_passages=settings.max_passages,
    )


def _build_lease(
    env: Environment, asterisk: AriClient, profiles: ProfileCache, session: Callable[[], StasisSession]
) -> ApplicationLease:
    """Build the lease, which the session needs; ``session`` returns that session when it exists."""
    holder, app = LocalHolder(), env.config.asterisk.app
    return ApplicationLease(
        env.reactor,
        asterisk,
        app,
        lambda: session().yield_application(app),
        holder=holder.id,
        is_dead=holder.is_dead,
        has_profiles=lambda: profiles.loaded,
    )


def _build_unfinished_recordings(
    env: Environment, database: Database, files: RecordingFiles, queue: Queue, live_calls: LiveCalls
) -> UnfinishedRecordings:
    return UnfinishedRecordings(
        env.reactor,
        database.recordings,
        queue.journal,
        files.spool,
        live_calls.is_recording,
        env.defer_to_thread,
        env.config.node_name,
    )


def _build_listening(env: Environment, database: Database, asterisk: AriClient, live_calls: LiveCalls) -> LiveListening:
    listening = LiveListening(env.reactor, env.reactor, asterisk, live_calls, _listening_settings(env.config))
    listening.publish = partial(_announce, database)
    listening.count_ended = lambda listener: env.metrics.calls.count_listening(listener.dropped / FRAMES_PER_SECOND)
    return listening


def _announce(database: Database, event: ListeningEvent) -> None:
    Deferred.fromCoroutine(database.events.announce(event)).addErrback(
        lambda failure: _log.warn("an event of live listening is lost: {error}", error=failure.value)
    )


def _listening_settings(config: Config) -> ListeningSettings:
    settings = config.listening
    return ListeningSettings(
        enabled=settings.enabled,
        max_listeners=settings.max_listeners,
        max_listeners_per_call=settings.max_listeners_per_call,
        notice=settings.notice,
        silent_in_pauses=settings.during_pause == "silence",
        address=settings.address,
    )


async def _stand_by(lease: ApplicationLease, connection: AsteriskConnection) -> bool:
    """Wait for the application if another voxrec has it; return False if another program has it."""
    if not await lease.yield_to_another():
        return False
    connection.reconnect()
    return True


def _build_client(env: Environment) -> AriClient:
    settings = env.config.asterisk
    transport = HttpTransport(
        env.reactor,
        HTTPClient(Agent(env.reactor, pool=HTTPConnectionPool(env.reactor, persistent=True))),
        settings.url,
        settings.user,
        settings.password,
        settings.request_timeout,
    )
    return AriClient(
        transport, settings.app, partial(TimedTransport, env.reactor, env.metrics.requests.observe_ari_request)
    )


def _build_stream(
    env: Environment, listener: EventStreamListener, before_connect: Callable[[], Awaitable[None]]
) -> EventStream:
    settings = env.config.asterisk
    return EventStream(
        env.reactor,
        endpoint_for(env.reactor, settings.url, settings.request_timeout),
        listener,
        url=settings.url,
        user=settings.user,
        password=settings.password,
        app=settings.app,
        request_timeout=settings.request_timeout,
        ping_interval=settings.ping_interval,
        ping_timeout=settings.ping_timeout,
        queue_limit=settings.event_queue,
        before_connect=before_connect,
    )


def _build_announcements(env: Environment, database: Database) -> Announcements:
    asterisk = env.config.asterisk
    return Announcements(
        env.reactor,
        database.prompts,
        Path(asterisk.sounds),
        env.defer_to_thread,
        default=_default_announcement(env.config),
        in_asterisk=asterisk.sounds_in_asterisk,
        grace=_announcement_grace(env.config),
    )


def _default_announcement(config: Config) -> str:
    return config.calls.announcement or f"sound:{config.asterisk.sounds_in_asterisk}/{DEFAULT}"


def _announcement_grace(config: Config) -> float:
    # a call plays its announcement at the latest this time after it began
    return config.calls.setup_timeout + config.calls.ring_timeout + _ANNOUNCEMENT_MARGIN


def _build_unreachable(env: Environment, asterisk: AriClient) -> UnreachableFarEnds:
    settings = env.config

    def endpoint_of(uri: str) -> str:
        trusted = is_trusted(uri, settings.calls.trusted_hosts)
        return settings.asterisk.trusted_endpoint if trusted else settings.asterisk.endpoint

    return UnreachableFarEnds(
        lambda host: env.defer_to_thread(socket.getaddrinfo, host, None),
        asterisk.pjsip_settings,
        endpoint_of,
        env.metrics.calls.count_unreachable_far_end,
    )


def _call_settings(
    metrics: CallMetrics,
    config: Config,
    announcements: Announcements,
    disk_space: DiskSpaceMonitor,
    unreachable: UnreachableFarEnds,
) -> CallSettings:
    settings = config.calls
    return CallSettings(
        endpoint=config.asterisk.endpoint,
        ring_timeout=settings.ring_timeout,
        setup_timeout=settings.setup_timeout,
        max_call=settings.max_call,
        announcement=announcements.media_for,
        beep=settings.beep,
        jitter_buffer=settings.jitter_buffer,
        has_disk_space=lambda: disk_space.sufficient,
        trusted_endpoint=config.asterisk.trusted_endpoint,
        is_trusted=lambda uri: is_trusted(uri, settings.trusted_hosts),
        announcement_failed=metrics.count_failed_announcement,
        max_redirects=settings.max_redirects,
        is_allowed=lambda uri: is_allowed(uri, settings.allowed_hosts),
        far_end_unreachable=unreachable.explain,
        pause_sound=settings.pause_sound,
        resume_sound=settings.resume_sound,
        count_code=metrics.count_pause_code,
        node=config.node_name,
        recording_failed=metrics.count_failed_recording,
        decoder_restarted=metrics.count_decoder_restart,
    )


def _stop_policy(
    reactor: Any,
    config: Config,
    connection: AsteriskConnection,
    live_calls: LiveCalls,
    admission: Admission,
    lease: ApplicationLease,
) -> StopPolicy:
    if config.calls.on_stop == "keep":
        return DetachAtStop(connection, live_calls)
    return DrainAtStop(reactor, connection, live_calls, admission, config.calls.grace, lease.offer)
