"""The registry of all metrics, and its representation as text."""

import time
from collections.abc import Callable, Iterator
from typing import Final, cast

from prometheus_client import CollectorRegistry, Gauge, Metric, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from voxrec.metrics.calls import CallMetrics
from voxrec.metrics.database import DatabaseMetrics
from voxrec.metrics.jobs import JobMetrics
from voxrec.metrics.requests import RequestMetrics

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4


class ProcessMetrics(ProcessCollector):
    """The metrics of the process, also where /proc has processes only, as in the systemd unit (``ProcSubset=pid``).

    The library reads the time of the boot from /proc/stat, and has no metrics without it.
    """

    def _boot_time(self) -> float:
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


class Metrics:
    """The metrics of one daemon, in a registry of their own. Durations are in seconds.

    ``version`` is the label of ``voxrec_build_info``. ``node``, if it is not empty, is a label of every metric.
    """

    def __init__(self, version: str, node: str = "") -> None:
        self._node = node
        self._registry = registry = CollectorRegistry()
        ProcessMetrics(registry=registry)
        PlatformCollector(registry=registry)
        build_info = Gauge("voxrec_build_info", "Version of voxrec; always 1.", ["version"], registry=registry)
        build_info.labels(version).set(1)
        self.calls = CallMetrics(registry)
        self.requests = RequestMetrics(registry)
        self.jobs = JobMetrics(registry)
        self.database = DatabaseMetrics(registry)
        self._archive_free_bytes = Gauge(
            "voxrec_archive_free_bytes", "Free space of the file system of the archive.", registry=registry
        )

    def add_gauge(self, name: str, help_: str, value: Callable[[], float]) -> None:
        """Add a gauge whose value is computed by ``value`` at each scrape."""
        Gauge(name, help_, registry=self._registry).set_function(value)

    def set_archive_free_bytes(self, free: float) -> None:
        """Set the free space of the archive; NaN if it cannot be determined."""
        self._archive_free_bytes.set(free)

    def exposition(self) -> bytes:
        """Return all metrics in the Prometheus text format (`CONTENT_TYPE`)."""
        return generate_latest(cast("CollectorRegistry", self))

    def collect(self) -> Iterator[Metric]:
        """Collect all metrics, with the label ``node``."""
        for metric in self._registry.collect():
            if self._node:
                metric.samples = [
                    sample._replace(labels={"node": self._node, **sample.labels}) for sample in metric.samples
                ]
            yield metric
