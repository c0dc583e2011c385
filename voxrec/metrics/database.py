"""The metrics whose values are read from PostgreSQL at each scrape."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, Gauge

from voxrec.model import RecordingState

# Most Recordings are in these states; counting them takes too long.
_UNCOUNTED_STATES: Final = (RecordingState.COMPLETED, RecordingState.ABSENT)


class DatabaseMetrics:
    """The numbers of stored Recordings, and of jobs, deliveries to webhooks and exports that are not complete."""

    def __init__(self, registry: CollectorRegistry) -> None:
        gauge = partial(Gauge, registry=registry)
        self._recordings = gauge(
            "voxrec_recordings",
            "Recordings in the database, by state; the states completed and absent are not counted.",
            ["state"],
        )
        self._recordings_estimate = gauge(
            "voxrec_recordings_estimate",
            "Approximate number of Recordings in the database, from the statistics of PostgreSQL.",
        )
        self._recordings_node_lost = gauge(
            "voxrec_recordings_node_lost",
            "Recordings that failed because their node was lost with its disk.",
        )
        self._jobs_waiting = gauge("voxrec_jobs_waiting", "Jobs that are not done and not dead, by kind.", ["kind"])
        self._jobs_due = gauge(
            "voxrec_jobs_due",
            "Waiting jobs whose due time has passed, by kind, including those that a daemon has claimed.",
            ["kind"],
        )
        self._jobs_dead = gauge(
            "voxrec_jobs_dead",
            "Jobs that failed permanently; see `voxrec jobs list --state dead`.",
            ["kind"],
        )
        self._jobs_unconfirmed = gauge(
            "voxrec_jobs_unconfirmed",
            "Jobs whose mails may have been delivered, by kind; see `voxrec jobs list --state unconfirmed`.",
            ["kind"],
        )
        self._jobs_oldest_seconds = gauge(
            "voxrec_jobs_oldest_seconds", "Age of the oldest waiting job, by kind.", ["kind"]
        )
        self._webhooks_waiting = gauge("voxrec_webhooks_waiting", "Deliveries to webhooks that are pending.")
        self._webhooks_due = gauge("voxrec_webhooks_due", "Pending deliveries to webhooks whose due time has passed.")
        self._webhooks_oldest_seconds = gauge(
            "voxrec_webhooks_oldest_seconds", "Age of the oldest pending delivery to a webhook."
        )
        self._webhooks_disabled = gauge(
            "voxrec_webhooks_disabled",
            "Webhooks that were disabled because their receiver failed for days, or answered 410.",
        )
        self._recipient_certificates = gauge(
            "voxrec_recipient_certificates",
            "Certificates to which mails are encrypted, by state: valid, expiring (within 30 days) and expired.",
            ["state"],
        )
        self._exports_waiting = gauge(
            "voxrec_exports_waiting",
            "Bulk exports that wait for their turn, or to be continued.",
        )
        self._exports_running = gauge("voxrec_exports_running", "Bulk exports that are being written, of all nodes.")
        self._exports_oldest_seconds = gauge(
            "voxrec_exports_oldest_seconds", "Age of the oldest bulk export that is not complete."
        )

    def set_recordings(self, by_state: Mapping[str, int], estimate: int, node_lost: int) -> None:
        """Set the numbers of Recordings.

        ``by_state`` are those of each state (0 if missing), ``estimate`` that of all, and ``node_lost`` that of those
        that were lost with their node.
        """
        for state in RecordingState:
            if state not in _UNCOUNTED_STATES:
                self._recordings.labels(state.value).set(by_state.get(state.value, 0))
        self._recordings_estimate.set(estimate)
        self._recordings_node_lost.set(node_lost)

    def set_jobs(
        self,
        kind: str,
        *,
        waiting: int = 0,
        due: int = 0,
        dead: int = 0,
        unconfirmed: int = 0,
        oldest_age: float = 0.0,
    ) -> None:
        """Set the number of jobs of one kind, and the age of the oldest waiting job in seconds."""
        self._jobs_waiting.labels(kind).set(waiting)
        self._jobs_due.labels(kind).set(due)
        self._jobs_dead.labels(kind).set(dead)
        self._jobs_unconfirmed.labels(kind).set(unconfirmed)
        self._jobs_oldest_seconds.labels(kind).set(oldest_age)

    def set_webhooks(self, *, waiting: int, due: int, oldest_age: float, disabled: int) -> None:
        """Set the numbers of pending deliveries and of disabled webhooks; ``oldest_age`` is in seconds."""
        self._webhooks_waiting.set(waiting)
        self._webhooks_due.set(due)
        self._webhooks_oldest_seconds.set(oldest_age)
        self._webhooks_disabled.set(disabled)

    def set_recipient_certificates(self, *, valid: int, expiring: int, expired: int) -> None:
        """Set the numbers of recipient certificates."""
        for state, count in (("valid", valid), ("expiring", expiring), ("expired", expired)):
            self._recipient_certificates.labels(state).set(count)

    def set_exports(self, *, waiting: int, running: int, oldest_age: float) -> None:
        """Set the numbers of bulk exports that are not complete, and the age of the oldest in seconds."""
        self._exports_waiting.set(waiting)
        self._exports_running.set(running)
        self._exports_oldest_seconds.set(oldest_age)

    def clear(self) -> None:
        """Remove all values: the database does not respond, and they would be outdated."""
        jobs = (self._jobs_waiting, self._jobs_due, self._jobs_dead, self._jobs_unconfirmed, self._jobs_oldest_seconds)
        for gauge in (self._recordings, self._recipient_certificates, *jobs):
            gauge.clear()
        for gauge in (
            self._recordings_estimate,
            self._recordings_node_lost,
            self._webhooks_waiting,
            self._webhooks_due,
            self._webhooks_oldest_seconds,
            self._webhooks_disabled,
            self._exports_waiting,
            self._exports_running,
            self._exports_oldest_seconds,
        ):
            gauge.set(math.nan)
