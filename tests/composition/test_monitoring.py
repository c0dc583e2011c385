"""Tests of voxrec.composition.monitoring."""

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.database import DatabaseTestCase
from tests.metrics.samples import samples
from tests.store.samples import recording
from voxrec.composition.monitoring import (
    StatisticsRefresher,
    add_call_gauges,
    add_rest_gauges,
    add_storage_gauges,
)
from voxrec.metrics import Metrics
from voxrec.model import JobKind
from voxrec.store.exports import Exports
from voxrec.store.recipient_certificates import RecipientCertificates
from voxrec.store.recordings import Recordings
from voxrec.store.webhook_queue import WebhookQueue


async def call_directly(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


class GaugeTests(SynchronousTestCase):
    """The gauges read the services at each scrape."""

    def setUp(self) -> None:
        self.metrics = Metrics("1.2.3")

    def value(self, name: str) -> float:
        return samples(self.metrics, name)[()]

    def test_calls(self) -> None:
        calls: Any = SimpleNamespace(
            live_calls=[],
            session=SimpleNamespace(version=None),
            ami=SimpleNamespace(connection=SimpleNamespace(ready=False)),
            announcement_check=SimpleNamespace(gauge=0.0),
            disk_space=SimpleNamespace(sufficient=True, free=1000.0),
            event_queue=[1, 2, 3],
            lease=SimpleNamespace(standby=False),
            listening=SimpleNamespace(count=2),
        )
        add_call_gauges(self.metrics, calls)
        self.assertEqual(self.value("voxrec_listeners"), 2)
        self.assertEqual(self.value("voxrec_asterisk_connected"), 0)
        calls.live_calls[:] = ["a", "b"]
        self.assertEqual(self.value("voxrec_ami_connected"), 0)
        calls.session.version = "22.10.0"
        calls.ami.connection.ready = True
        calls.disk_space.sufficient = False
        self.assertEqual(self.value("voxrec_standby"), 0)
        calls.lease.standby = True
        self.assertEqual(self.value("voxrec_standby"), 1)
        self.assertEqual(self.value("voxrec_calls_live"), 2)
        self.assertEqual(self.value("voxrec_asterisk_connected"), 1)
        self.assertEqual(self.value("voxrec_ami_connected"), 1)
        self.assertEqual(self.value("voxrec_spool_low"), 1)
        self.assertEqual(self.value("voxrec_announcement_playable"), 0)
        self.assertEqual(self.value("voxrec_spool_free_bytes"), 1000)
        self.assertEqual(self.value("voxrec_events_pending"), 3)

    def test_storage(self) -> None:
        pool: Any = SimpleNamespace(ready=True)
        journal: Any = SimpleNamespace(pending=4)
        orphans: Any = SimpleNamespace(count=5)
        add_storage_gauges(self.metrics, pool, journal, orphans)
        self.assertEqual(self.value("voxrec_postgresql_ready"), 1)
        self.assertEqual(self.value("voxrec_journal_pending"), 4)
        self.assertEqual(self.value("voxrec_orphaned_files"), 5)

    def test_rest(self) -> None:
        broadcaster: Any = SimpleNamespace(subscriber_count=6)
        site: Any = SimpleNamespace(connection_count=7)
        add_rest_gauges(self.metrics, broadcaster, site)
        self.assertEqual(self.value("voxrec_event_clients"), 6)
        self.assertEqual(self.value("voxrec_rest_connections"), 7)


class StatisticsRefresherTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.metrics = Metrics("1.2.3")

    async def refresh(self, archive: Path) -> None:
        queue = WebhookQueue(self.pool)
        exports = Exports(self.pool, "https://rec.example")
        await StatisticsRefresher(
            self.metrics, self.pool, queue, exports, RecipientCertificates(self.pool), archive, call_directly
        ).refresh()

    async def test_jobs_and_free_space(self) -> None:
        await self.pool.execute("INSERT INTO jobs (kind, recording_id) VALUES ('mail', gen_random_uuid())")
        await self.refresh(Path("/"))
        self.assertEqual(samples(self.metrics, "voxrec_jobs_waiting"), {**dict.fromkeys(self.kinds(), 0), ("mail",): 1})
        self.assertGreater(samples(self.metrics, "voxrec_archive_free_bytes")[()], 0)

    async def test_exports(self) -> None:
        await self.pool.execute(
            "INSERT INTO exports (created_by, format, audio, query, state, leased_until, created_at) VALUES "
            "('crm', 'zip', TRUE, '{}', 'pending', NULL, now() - interval '1 hour'), "
            "('crm', 'zip', TRUE, '{}', 'running', now() + interval '1 minute', now()), "
            "('crm', 'zip', TRUE, '{}', 'running', now() - interval '1 minute', now()), "
            "('crm', 'zip', TRUE, '{}', 'completed', NULL, now() - interval '1 day')"
        )
        await self.refresh(Path("/"))
        self.assertEqual(self.sample("voxrec_exports_waiting"), 2)
        self.assertEqual(self.sample("voxrec_exports_running"), 1)
        self.assertLess(abs(self.sample("voxrec_exports_oldest_seconds") - 3600), 60)
        await self.pool.stopService()
        await self.refresh(Path("/"))
        self.assertTrue(math.isnan(self.sample("voxrec_exports_waiting")))

    async def test_webhooks(self) -> None:
        await self.pool.execute("INSERT INTO webhooks (url) VALUES ('https://crm.example')")
        await self.pool.execute(
            "INSERT INTO webhooks (url, enabled, disabled_reason) VALUES ('https://x.example', FALSE, 'gone')"
        )
        await Recordings(self.pool).create(recording())
        await self.refresh(Path("/"))
        self.assertEqual(self.sample("voxrec_webhooks_waiting"), 1)
        self.assertEqual(self.sample("voxrec_webhooks_due"), 1)
        self.assertEqual(self.sample("voxrec_webhooks_disabled"), 1)
        await self.pool.stopService()
        await self.refresh(Path("/"))
        self.assertTrue(math.isnan(self.sample("voxrec_webhooks_waiting")))

    async def test_a_missing_archive(self) -> None:
        await self.refresh(Path("/nowhere"))
        self.assertTrue(math.isnan(samples(self.metrics, "voxrec_archive_free_bytes")[()]))

    async def test_an_unavailable_database(self) -> None:
        await self.refresh(Path("/"))
        await self.pool.stopService()
        await self.refresh(Path("/"))
        self.assertEqual(samples(self.metrics, "voxrec_jobs_waiting"), {})

    def sample(self, name: str) -> float:
        return samples(self.metrics, name)[()]

    def kinds(self) -> list[tuple[str]]:
        return [(kind.value,) for kind in JobKind]
