"""Calls: the connection to Asterisk, the router of live calls, and the take-over of calls after a restart."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from treq.client import HTTPClient
from twisted.application.internet import TimerService
from twisted.web.client import Agent, HTTPConnectionPool

from voxrec.ari.client import AriClient
from voxrec.ari.command_connection import CommandConnection
from voxrec.ari.connection import AsteriskConnection
from voxrec.ari.event_stream import EventStream, EventStreamListener, endpoint_for
from voxrec.ari.transport import HttpTransport, TimedTransport
from voxrec.calls.announcements import DEFAULT, Announcements
from voxrec.calls.call_service import CallService, DetachAtStop, DrainAtStop, StopPolicy
from voxrec.calls.core import DISK_FULL, CallSettings
from voxrec.calls.disk_space import DiskSpaceMonitor
from voxrec.calls.router import Router
from voxrec.calls.stasis_session import StasisSession
from voxrec.calls.unfinished_recordings import UnfinishedRecordings
from voxrec.composition.database import Database
from voxrec.composition.environment import Environment
from voxrec.composition.queue import Queue
from voxrec.composition.recordings import RecordingFiles
from voxrec.store.events import EventQueue
from voxrec.store.profile_cache import ProfileCache
from voxrec.store.recording_lookup import RecordingLookup

_UNFINISHED_SWEEP_INTERVAL: Final = 60.0  # seconds between searches for recordings whose call has ended unnoticed
_ANNOUNCEMENT_MARGIN: Final = 60.0  # seconds


@dataclass(frozen=True)
class Calls:
    """The services that control calls."""

    announcements: Announcements
    disk_space: DiskSpaceMonitor
    event_queue: EventQueue
    router: Router
    session: StasisSession
    service: CallService
    unfinished_sweep: TimerService


def build_calls(
    env: Environment, database: Database, profiles: ProfileCache, files: RecordingFiles, queue: Queue
) -> Calls:
    """Build the connection to Asterisk, and everything that handles its events."""
    reactor, settings, journal = env.reactor, env.config.calls, queue.journal
    asterisk = _build_client(env)
    announcements = _build_announcements(env, database)
    disk_space = DiskSpaceMonitor(reactor, files.spool, env.config.asterisk.recordings_floor, env.defer_to_thread)
    event_queue = EventQueue(reactor, database.events, env.metrics.count_dropped_events)
    router = Router(
        reactor,
        asterisk,
        profiles,
        journal,
        _call_settings(env, announcements, disk_space),
        RecordingLookup(reactor, database.pool, journal.when_applied, database.recordings),
        allowed_hosts=settings.allowed_hosts,
        max_calls=settings.max_calls,
        watchers=(env.metrics, event_queue),
    )
    disk_space.set_low_space_callback(partial(router.stop_recordings, DISK_FULL))
    unfinished = UnfinishedRecordings(
        asterisk, database.recordings, journal, files.spool, router.owns, env.defer_to_thread
    )
    connection = AsteriskConnection()
    session = StasisSession(
        reactor, asterisk, router, unfinished, connection.stopService, connection.open_command_stream
    )
    connection.set_streams(
        _build_stream(env, session, env.config.asterisk.app),
        # a Stasis application of its own, which receives no events
        _build_stream(env, CommandConnection(asterisk), f"{env.config.asterisk.app}-commands"),
    )
    return Calls(
        announcements=announcements,
        disk_space=disk_space,
        event_queue=event_queue,
        router=router,
        session=session,
        service=CallService(connection, profiles, _stop_policy(env, connection, router)),
        unfinished_sweep=_build_unfinished_sweep(session),
    )


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
    return AriClient(transport, settings.app, partial(TimedTransport, env.reactor, env.metrics.observe_ari_request))


def _build_stream(env: Environment, listener: EventStreamListener, app: str) -> EventStream:
    settings = env.config.asterisk
    return EventStream(
        env.reactor,
        endpoint_for(env.reactor, settings.url, settings.request_timeout),
        listener,
        url=settings.url,
        user=settings.user,
        password=settings.password,
        app=app,
        request_timeout=settings.request_timeout,
        ping_interval=settings.ping_interval,
        ping_timeout=settings.ping_timeout,
        queue_limit=settings.event_queue,
    )


def _build_announcements(env: Environment, database: Database) -> Announcements:
    asterisk, calls = env.config.asterisk, env.config.calls
    return Announcements(
        env.reactor,
        database.prompts,
        Path(asterisk.sounds),
        env.defer_to_thread,
        default=calls.announcement or f"sound:{asterisk.sounds_in_asterisk}/{DEFAULT}",
        in_asterisk=asterisk.sounds_in_asterisk,
        # a call plays its announcement at the latest this time after it began
        grace=calls.setup_timeout + calls.ring_timeout + _ANNOUNCEMENT_MARGIN,
    )


def _call_settings(env: Environment, announcements: Announcements, disk_space: DiskSpaceMonitor) -> CallSettings:
    settings = env.config.calls
    return CallSettings(
        endpoint=env.config.asterisk.endpoint,
        ring_timeout=settings.ring_timeout,
        setup_timeout=settings.setup_timeout,
        max_call=settings.max_call,
        announcement=announcements.media_for,
        beep=settings.beep,
        has_disk_space=lambda: disk_space.sufficient,
    )


def _stop_policy(env: Environment, connection: AsteriskConnection, router: Router) -> StopPolicy:
    if env.config.calls.on_stop == "keep":
        return DetachAtStop(connection, router)
    return DrainAtStop(env.reactor, connection, router, env.config.calls.grace)


def _build_unfinished_sweep(session: StasisSession) -> TimerService:
    timer = TimerService(_UNFINISHED_SWEEP_INTERVAL, session.sweep)
    timer.name = "unfinished recordings"
    return timer
