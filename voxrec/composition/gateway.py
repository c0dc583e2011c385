"""The gateway: everything above the database server, in the order in which it starts."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxrec.api.operations.health import check_readiness
from voxrec.calls.stasis.sip_readiness import SipReadiness
from voxrec.composition.bulk_actions import build_bulk_actions
from voxrec.composition.calls import Calls, build_calls
from voxrec.composition.database import Database, build_database
from voxrec.composition.environment import Environment, build_environment
from voxrec.composition.exports import ExportCleanUp, ExportServices, build_exports
from voxrec.composition.failover import FailoverHandler, build_server_monitor
from voxrec.composition.housekeeping import Housekeeping
from voxrec.composition.mail import build_bounce_server, build_mailer, reconfigure_mailer
from voxrec.composition.monitoring import add_call_gauges, add_rest_gauges, add_storage_gauges, add_upload_gauges
from voxrec.composition.nodes import build_nodes
from voxrec.composition.profiles import build_profile_cache, build_snapshot_timer
from voxrec.composition.queue import Queue, build_queue
from voxrec.composition.readiness import DISK_PROBES, RememberedProbe
from voxrec.composition.recordings import RecordingFiles, build_recording_files
from voxrec.composition.rest import RestApi, build_rest_api
from voxrec.composition.search_index import SearchIndexing
from voxrec.composition.startup import StartupGate
from voxrec.composition.subsystems import Subsystems
from voxrec.composition.webhooks import WebhookServices, build_webhooks
from voxrec.config import Config
from voxrec.errors import StoreUnavailable
from voxrec.mail.mailer import Mailer
from voxrec.metrics import Metrics
from voxrec.postgres.listener import (
    JOBS_CHANNEL,
    PROFILES_CHANNEL,
    PROMPTS_CHANNEL,
    TOKENS_CHANNEL,
    WEBHOOKS_CHANNEL,
    Listener,
)
from voxrec.recordings.orphans import OrphanSweeper
from voxrec.service_tree import OnDemandService, SequentialMultiService
from voxrec.store.call_attempts import CALL_ATTEMPTS_CHANNEL
from voxrec.store.nodes import NODE_MESSAGES_CHANNEL, NODES_CHANNEL

_log: Final = Logger()


class GatewayServices(SequentialMultiService):
    """The services of the gateway, some of whose settings can change while they run."""

    def __init__(
        self, calls: Calls, rest: RestApi, mailer: Mailer, webhooks: WebhookServices, metrics: Metrics
    ) -> None:
        super().__init__()
        self._calls = calls
        self._rest = rest
        self._mailer = mailer
        self._webhooks = webhooks
        self._metrics = metrics

    def reconfigure(self, config: Config) -> None:
        """Apply the settings that `voxrec.composition.reload.RELOADABLE` names."""
        self._calls.reconfigure(config)
        self._rest.reconfigure(config)
        reconfigure_mailer(self._mailer, config.mail, self._metrics)
        self._webhooks.reconfigure(config.webhooks)


def build_gateway(reactor: Any, config: Config, dsn: str) -> GatewayServices:
    """Build all subsystems on the PostgreSQL at ``dsn``.

    The services start in the order of the list below, each when the one before has started, and stop in reverse order.
    The last one waits until REST listens and the dependencies work; calls are handled meanwhile.
    """
    env = build_environment(reactor, config)
    subsystems = _build_subsystems(env, dsn)
    database, files, calls = subsystems.database, subsystems.files, subsystems.calls
    queue, webhooks, exports = subsystems.queue, subsystems.webhooks, subsystems.exports
    rest = build_rest_api(env, subsystems)
    bounces = build_bounce_server(env, database)
    orphans = _build_orphan_sweeper(env, database, files, queue)
    sweepers = _build_sweepers(env, subsystems, orphans)
    _add_gauges(env, subsystems, rest, orphans)
    database.history.subscribe(FailoverHandler(database, queue.journal).failed_over)
    gateway = GatewayServices(calls, rest, subsystems.mailer, webhooks, env.metrics)
    for service in (
        database.service,
        queue.journal,
        subsystems.profiles,
        webhooks.threads,
        exports.threads,
        subsystems.nodes.membership,
        _build_listener(env, subsystems, rest, sweepers),
        queue.worker_service,
        queue.mail_worker_service,
        *(() if files.s3 is None else files.s3.services),
        webhooks.worker_service,
        exports.worker_service,
        subsystems.bulk_actions.worker_service,
        *sweepers,
        calls.event_queue,
        calls.call_directory,
        rest.event_listener,
        rest.broadcaster,
        rest.audio_threads,
        rest.password_threads,
        rest.server,
        *(() if bounces is None else (bounces,)),
        calls.announcements,
        calls.announcement_check,
        calls.ami.connection,  # before calls are taken over, whose recordings it controls
        calls.service,
        calls.disk_space,
        calls.session_directory,
        calls.session,
        calls.listening,  # stops before the connection to Asterisk, from which it removes its channels
        calls.orphan_sweep,
        build_snapshot_timer(subsystems.profiles),
        *build_server_monitor(env, database),
        StartupGate(reactor, rest.server, rest.probes),
        _build_sip_readiness(env, calls, rest),  # stops first, so that no new calls are routed to this node
    ):
        service.setServiceParent(gateway)
    return gateway


def _build_subsystems(env: Environment, dsn: str) -> Subsystems:
    database = build_database(env, dsn)
    profiles = build_profile_cache(env, database)
    files = build_recording_files(env, database)
    mailer = build_mailer(env, database, files)
    queue = build_queue(env, database, files, mailer)
    calls = build_calls(env, database, profiles, files, queue)
    exports = build_exports(env, database, files)
    return Subsystems(
        database=database,
        profiles=profiles,
        files=files,
        mailer=mailer,
        queue=queue,
        calls=calls,
        webhooks=build_webhooks(env, database),
        nodes=build_nodes(env, database, files, queue, calls),
        exports=exports,
        bulk_actions=build_bulk_actions(env, database, exports),
    )


def _add_gauges(env: Environment, subsystems: Subsystems, rest: RestApi, orphans: OrphanSweeper) -> None:
    s3 = subsystems.files.s3
    add_storage_gauges(env.metrics, subsystems.database.pool, subsystems.queue.journal, orphans)
    add_call_gauges(env.metrics, subsystems.calls)
    if s3 is not None:
        add_upload_gauges(env.metrics, s3.uploader, s3.sweeper)
    add_rest_gauges(env.metrics, rest.broadcaster, rest.site)


def _build_sweepers(env: Environment, subsystems: Subsystems, orphans: OrphanSweeper) -> Sequence[OnDemandService]:
    """Build the services that clean up periodically, and start when PostgreSQL is available.

    Started with the tree, they would fail, and try again only an hour later.
    """
    files, database = subsystems.files, subsystems.database
    sweepers = (
        _build_housekeeping(env, database, files, subsystems.queue, subsystems.exports),
        files.retention,
        orphans,
        SearchIndexing(env.reactor, database.pool),
        *(() if files.s3 is None else (files.s3.sweeper,)),
    )
    return [OnDemandService(str(sweeper.name), sweeper) for sweeper in sweepers]


def _build_listener(
    env: Environment, subsystems: Subsystems, rest: RestApi, sweepers: Sequence[OnDemandService]
) -> Listener:
    """Build the listener that keeps the caches of this daemon equal to the tables in PostgreSQL.

    When PostgreSQL is available, it starts the job worker and the ``sweepers``.
    """
    calls, queue, webhooks = subsystems.calls, subsystems.queue, subsystems.webhooks
    database, profiles, nodes = subsystems.database, subsystems.profiles, subsystems.nodes

    def recovered() -> None:
        Deferred.fromCoroutine(refresh()).addErrback(_refresh_failed)

    async def refresh() -> None:  # notifications may have been lost
        # the listener may connect before the pool does, and even before the schema is complete
        await database.pool.when_ready()
        rest.token_changed()
        profiles.invalidate_all()
        calls.announcements.reload()
        queue.database_recovered()
        webhooks.database_recovered()
        subsystems.exports.database_recovered()
        subsystems.bulk_actions.database_recovered()
        calls.call_directory.resynchronize()
        nodes.membership.refresh()
        for sweeper in sweepers:
            sweeper.ensure_started()
        await nodes.superseded_calls.compare()
        await calls.session.finish_recordings()

    return Listener(
        env.reactor,
        database.dsn,
        {
            PROFILES_CHANNEL: profiles.invalidate,
            PROMPTS_CHANNEL: calls.announcements.prompt_changed,
            TOKENS_CHANNEL: rest.token_changed,
            JOBS_CHANNEL: queue.job_changed,
            WEBHOOKS_CHANNEL: webhooks.delivery_due,
            NODES_CHANNEL: nodes.node_changed,
            NODE_MESSAGES_CHANNEL: nodes.control.messages.received,
            CALL_ATTEMPTS_CHANNEL: nodes.superseded_calls.notified,
        },
        recovered,
        database.history,
    )


def _refresh_failed(failure: Failure) -> None:
    if not failure.check(StoreUnavailable):  # the pool has been stopped
        _log.failure("reading the caches from PostgreSQL failed; they may be out of date until it reconnects", failure)


def _build_orphan_sweeper(env: Environment, database: Database, files: RecordingFiles, queue: Queue) -> OrphanSweeper:
    return OrphanSweeper(
        env.reactor,
        database.recordings,
        files.archive,
        files.spool,
        lambda: queue.journal.pending,
        env.defer_to_thread,
        retention=timedelta(days=env.config.archive.orphan_days) if env.config.archive.orphan_days else None,
    )


def _build_sip_readiness(env: Environment, calls: Calls, rest: RestApi) -> SipReadiness:
    probes = {
        name: RememberedProbe(env.reactor, probe) if name in DISK_PROBES else probe
        for name, probe in rest.probes.items()
    }

    async def is_ready() -> bool:
        return calls.admission.is_open and (await check_readiness(probes, env.reactor)).ready

    readiness = SipReadiness(env.reactor, calls.asterisk, env.config.asterisk.app, is_ready, lambda: calls.lease.held)
    calls.admission.opened_or_closed = readiness.refresh
    return readiness


def _build_housekeeping(
    env: Environment, database: Database, files: RecordingFiles, queue: Queue, exports: ExportServices
) -> Housekeeping:
    return Housekeeping(
        env.reactor,
        database.idempotency,
        database.jobs,
        database.events,
        database.webhook_queue,
        database.links,
        database.bounce_keys,
        ExportCleanUp(database.exports, exports.directory, env.defer_to_thread),
        database.bulk_actions,
        queue.journal.rejected_lines,
        event_retention=timedelta(days=env.config.rest.event_days),
        webhook_retention=timedelta(days=env.config.webhooks.history_days),
        work_directory=files.work_directory,
        defer_to_thread=env.defer_to_thread,
    )
