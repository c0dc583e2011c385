"""Tests of voxrec.composition.monitoring."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.database import DatabaseTestCase
from tests.test_metrics import samples
from voxrec.composition.monitoring import StatisticsRefresher
from voxrec.metrics import Metrics
from voxrec.model import JobKind


async def call_directly(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


class StatisticsRefresherTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.metrics = Metrics("1.2.3")

    async def refresh(self, archive: Path) -> None:
        await StatisticsRefresher(self.metrics, self.pool, archive, call_directly).refresh()

    async def test_jobs_and_free_space(self) -> None:
        await self.pool.execute("INSERT INTO jobs (kind, recording_id) VALUES ('mail', gen_random_uuid())")
        await self.refresh(Path("/"))
        self.assertEqual(samples(self.metrics, "voxrec_jobs_waiting"), {**dict.fromkeys(self.kinds(), 0), ("mail",): 1})
        self.assertGreater(samples(self.metrics, "voxrec_archive_free_bytes")[()], 0)

    async def test_a_missing_archive(self) -> None:
        await self.refresh(Path("/nowhere"))
        self.assertTrue(math.isnan(samples(self.metrics, "voxrec_archive_free_bytes")[()]))

    async def test_an_unavailable_database(self) -> None:
        await self.refresh(Path("/"))
        await self.pool.stopService()
        await self.refresh(Path("/"))
        self.assertEqual(samples(self.metrics, "voxrec_jobs_waiting"), {})

    def kinds(self) -> list[tuple[str]]:
        return [(kind.value,) for kind in JobKind]
