"""Metrics that are read from the services, the database and the file system at each scrape."""

import math
import shutil
from pathlib import Path

from voxrec.api.events.event_broadcaster import EventBroadcaster
from voxrec.composition.calls import Calls
from voxrec.deferreds import gather
from voxrec.errors import VoxrecError
from voxrec.journal.recording_journal import RecordingJournal
from voxrec.metrics import Metrics
from voxrec.model import JobKind
from voxrec.model.recipient_certificate import EXPIRY_NOTICE
from voxrec.postgres.database import Database
from voxrec.postgres.pool import Pool
from voxrec.recordings.object_sweep import ObjectSweeper
from voxrec.recordings.orphans import OrphanSweeper
from voxrec.recordings.upload import Uploader
from voxrec.store.exports import Exports
from voxrec.store.recipient_certificates import RecipientCertificates
from voxrec.store.statistics import PendingJobs, read_statistics
from voxrec.store.webhook_queue import WebhookQueue
from voxrec.threads import DeferToThread
from voxrec.web.site import RestSite


def add_call_gauges(metrics: Metrics, calls: Calls) -> None:
    """Add the gauges of live calls and Asterisk."""
    metrics.add_gauge("voxrec_calls_live", "Live calls of this daemon.", lambda: len(calls.live_calls))
    metrics.add_gauge("voxrec_listeners", "Listeners to live calls of this daemon.", lambda: calls.listening.count)
    metrics.add_gauge(
        "voxrec_standby",
        "1 while another voxrec has the Stasis application of the same Asterisk, and this one waits.",
        lambda: calls.lease.standby,
    )
    metrics.add_gauge(
        "voxrec_asterisk_connected",
        "1 while the ARI event websocket is connected.",
        lambda: calls.session.version is not None,
    )
    metrics.add_gauge(
        "voxrec_ami_connected",
        "1 while the AMI connection, through which calls are recorded, is ready.",
        lambda: calls.ami.connection.ready,
    )
    metrics.add_gauge(
        "voxrec_announcement_playable",
        "1 if Asterisk could play the default announcement at the last check, 0 if not.",
        lambda: calls.announcement_check.gauge,
    )
    metrics.add_gauge(
        "voxrec_spool_low",
        "1 while calls are not recorded because the recording directory has too little free space.",
        lambda: not calls.disk_space.sufficient,
    )
    metrics.add_gauge(
        "voxrec_spool_free_bytes",
        "Free space of the file system of Asterisk's recording directory.",
        lambda: calls.disk_space.free,
    )
    metrics.add_gauge(
        "voxrec_events_pending",
        "Events of calls that are not stored in PostgreSQL yet.",
        lambda: len(calls.event_queue),
    )


def add_storage_gauges(metrics: Metrics, pool: Pool, journal: RecordingJournal, orphans: OrphanSweeper) -> None:
    """Add the gauges of PostgreSQL, the journal and the files of Recordings."""
    metrics.add_gauge("voxrec_postgresql_ready", "1 while PostgreSQL is connected.", lambda: pool.ready)
    metrics.add_gauge(
        "voxrec_journal_pending",
        "Changes of Recordings in the journal that are not stored in PostgreSQL yet.",
        lambda: journal.pending,
    )
    metrics.add_gauge("voxrec_orphaned_files", "Audio files that belong to no Recording.", lambda: orphans.count)


def add_rest_gauges(metrics: Metrics, broadcaster: EventBroadcaster, site: RestSite) -> None:
    """Add the gauges of REST clients."""
    metrics.add_gauge("voxrec_event_clients", "Subscribers of /events.", lambda: broadcaster.subscriber_count)
    metrics.add_gauge("voxrec_rest_connections", "Open connections of REST clients.", lambda: site.connection_count)


def add_upload_gauges(metrics: Metrics, uploader: Uploader, sweeper: ObjectSweeper) -> None:
    """Add the gauges of the S3 archive."""
    metrics.add_gauge("voxrec_orphaned_objects", "Objects in S3 that belong to no Recording.", lambda: sweeper.count)
    metrics.add_gauge(
        "voxrec_upload_buckets_failing",
        "S3 buckets to which the last upload of this daemon failed.",
        lambda: len(uploader.failures),
    )


class StatisticsRefresher:
    """Updates the metrics that are computed from PostgreSQL, and the free space of the archive."""

    def __init__(
        self,
        metrics: Metrics,
        database: Database,
        webhook_queue: WebhookQueue,
        exports: Exports,
        recipient_certificates: RecipientCertificates,
        archive_directory: Path,
        defer_to_thread: DeferToThread,
    ) -> None:
        self._metrics = metrics
        self._database = database
        self._webhook_queue = webhook_queue
        self._exports = exports
        self._recipient_certificates = recipient_certificates
        self._archive_directory = archive_directory
        self._defer_to_thread = defer_to_thread

    async def refresh(self) -> None:
        """Update the metrics. If PostgreSQL does not respond, its metrics have no values."""
        await gather(self._refresh_database_metrics(), self._refresh_archive_metrics())

    async def _refresh_database_metrics(self) -> None:
        metrics = self._metrics.database
        try:
            statistics = await read_statistics(self._database)
            webhooks = await self._webhook_queue.statistics()
            exports = await self._exports.statistics()
            certificates = await self._recipient_certificates.counts(EXPIRY_NOTICE)
        except VoxrecError:
            metrics.clear()
            return
        metrics.set_recordings(statistics.recordings, statistics.total_recordings, statistics.node_lost)
        for kind in JobKind:
            pending = statistics.pending.get(kind, PendingJobs())
            metrics.set_jobs(
                kind,
                waiting=pending.count,
                due=pending.due,
                oldest_age=pending.oldest_age,
                dead=statistics.dead.get(kind, 0),
                unconfirmed=statistics.unconfirmed.get(kind, 0),
            )
        metrics.set_webhooks(
            waiting=webhooks.pending, due=webhooks.due, oldest_age=webhooks.oldest_age, disabled=webhooks.disabled
        )
        metrics.set_exports(waiting=exports.waiting, running=exports.running, oldest_age=exports.oldest_age)
        metrics.set_recipient_certificates(**certificates._asdict())

    async def _refresh_archive_metrics(self) -> None:
        try:
            usage = await self._defer_to_thread(shutil.disk_usage, self._archive_directory)
        except OSError:
            self._metrics.set_archive_free_bytes(math.nan)
        else:
            self._metrics.set_archive_free_bytes(usage.free)
