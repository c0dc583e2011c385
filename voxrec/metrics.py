"""The Prometheus metrics of the daemon. Other packages receive single methods of `Metrics` as callbacks."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from voxrec.model import Call, EventType, RecordingState

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
_REQUEST_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_CALL_SETUP_BUCKETS: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)
# Clients can invent other methods; each would create new time series.
_METHODS: Final = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"})
# Most Recordings are in these states; counting them takes too long.
_UNCOUNTED_STATES: Final = (RecordingState.COMPLETED, RecordingState.ABSENT)


class Metrics:
    """The metrics of one daemon, in a registry of their own. Durations are in seconds.

    ``version`` is the label of ``voxrec_build_info``. ``node``, if it is not empty, is a label of every metric.
    """

    def __init__(self, version: str, node: str = "") -> None:
        self._node = node
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        Gauge("voxrec_build_info", "Version of voxrec; always 1.", ["version"], registry=registry).labels(version).set(
            1
        )
        self._calls = Counter(
            "voxrec_calls",
            "Calls that ended, by outcome (answered, unanswered, or refused before the far end was called) and Q.850 "
            "cause code.",
            ["outcome", "cause"],
            registry=registry,
        )
        self._call_setup_seconds = Histogram(
            "voxrec_call_setup_seconds",
            "Time from the arrival of a call to its answer, including the ringing of the far end.",
            registry=registry,
            buckets=_CALL_SETUP_BUCKETS,
        )
        self._ari_request_seconds = Histogram(
            "voxrec_ari_request_seconds",
            "Response time of ARI requests, by transport (http, websocket) and outcome (ok, refused, lost).",
            ["way", "outcome"],
            registry=registry,
            buckets=_REQUEST_BUCKETS,
        )
        self._rest_requests = Counter(
            "voxrec_rest_requests",
            "REST requests, by route template, method and response status.",
            ["route", "method", "status"],
            registry=registry,
        )
        self._rest_request_seconds = Histogram(
            "voxrec_rest_request_seconds",
            "Time from a REST request to the head of its response, by route template and method.",
            ["route", "method"],
            registry=registry,
            buckets=_REQUEST_BUCKETS,
        )
        # looking up a time series by its labels takes longer than updating it
        self._ari_series: dict[tuple[str, str], Histogram] = {}
        self._rest_series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._job_attempts = Counter(
            "voxrec_jobs_ended",
            "Attempts of jobs, by kind and outcome (done, retry, dead).",
            ["kind", "outcome"],
            registry=registry,
        )
        self._mail_recipients = Counter(
            "voxrec_mail_recipients",
            "Responses of the mail relay to recipients, by state (accepted, deferred, refused).",
            ["state"],
            registry=registry,
        )
        self._returned_mails = Counter(
            "voxrec_mails_returned",
            "Messages to the bounce address, by outcome: failed (a delivery has failed), noted (in the history only), "
            "duplicate, deleted (with the Recording) and ignored (automatic replies).",
            ["outcome"],
            registry=registry,
        )
        self._webhook_attempts = Counter(
            "voxrec_webhook_attempts",
            "Requests to webhooks, by outcome (delivered, refused by the HTTP status, or failed without a response).",
            ["outcome"],
            registry=registry,
        )
        self._uploads = Counter(
            "voxrec_uploads",
            "Uploads of Recordings to S3, by outcome (stored or failed).",
            ["outcome"],
            registry=registry,
        )
        self._uploaded_bytes = Counter(
            "voxrec_uploaded_bytes", "Bytes of Recordings that were stored in S3.", registry=registry
        )
        self._exports = Counter(
            "voxrec_exports_ended",
            "Attempts of bulk exports, by outcome: done, retry (failed, or interrupted by a stop), dead.",
            ["outcome"],
            registry=registry,
        )
        self._exported_bytes = Counter(
            "voxrec_exported_bytes", "Bytes of audio that were written to the files of exports.", registry=registry
        )
        self._failed_announcements = Counter(
            "voxrec_announcements_failed",
            "Announcements that were not played completely to the parties of a call.",
            registry=registry,
        )
        self._unreachable_far_ends = Counter(
            "voxrec_far_ends_unreachable",
            "Calls whose far end Asterisk could not call, by reason: dns (no address) or transport (none configured).",
            ["reason"],
            registry=registry,
        )
        self._codes = Counter(
            "voxrec_pause_codes",
            "DTMF codes with which parties paused and resumed recordings, by action (pause, resume) and outcome (done, "
            "not_recording, failed).",
            ["action", "outcome"],
            registry=registry,
        )
        self._failed_recordings = Counter(
            "voxrec_recordings_failed",
            "Failures to record a call, or one party of it, when it was due (AMI not connected, file not opened).",
            registry=registry,
        )
        self._restarted_decoders = Counter(
            "voxrec_recordings_decoder_restarts",
            "Restarts of the decoders of a recording because Asterisk recorded silence instead of a party.",
            registry=registry,
        )
        self._listenings = Counter("voxrec_listenings", "Listenings to live calls that have ended.", registry=registry)
        self._listening_dropped_seconds = Counter(
            "voxrec_listening_dropped_seconds",
            "Audio of live calls that listeners did not receive because their connections were too slow.",
            registry=registry,
        )
        self._dropped_events = Counter(
            "voxrec_events_dropped",
            "Events of calls that were discarded because they could not be stored in PostgreSQL.",
            registry=registry,
        )
        self._recordings = Gauge(
            "voxrec_recordings",
            "Recordings in the database, by state; the states completed and absent are not counted.",
            ["state"],
            registry=registry,
        )
        self._recordings_estimate = Gauge(
            "voxrec_recordings_estimate",
            "Approximate number of Recordings in the database, from the statistics of PostgreSQL.",
            registry=registry,
        )
        self._recordings_node_lost = Gauge(
            "voxrec_recordings_node_lost",
            "Recordings that failed because their node was lost with its disk.",
            registry=registry,
        )
        self._waiting_jobs = Gauge(
            "voxrec_jobs_waiting", "Jobs that are not done and not dead, by kind.", ["kind"], registry=registry
        )
        self._due_jobs = Gauge(
            "voxrec_jobs_due", "Waiting jobs whose due time has passed, by kind.", ["kind"], registry=registry
        )
        self._dead_jobs = Gauge(
            "voxrec_jobs_dead",
            "Jobs that failed permanently; see `voxrec jobs list --state dead`.",
            ["kind"],
            registry=registry,
        )
        self._oldest_job_seconds = Gauge(
            "voxrec_jobs_oldest_seconds", "Age of the oldest waiting job, by kind.", ["kind"], registry=registry
        )
        self._webhooks_waiting = Gauge(
            "voxrec_webhooks_waiting", "Deliveries to webhooks that are pending.", registry=registry
        )
        self._webhooks_due = Gauge(
            "voxrec_webhooks_due", "Pending deliveries to webhooks whose due time has passed.", registry=registry
        )
        self._webhooks_oldest_seconds = Gauge(
            "voxrec_webhooks_oldest_seconds", "Age of the oldest pending delivery to a webhook.", registry=registry
        )
        self._webhooks_disabled = Gauge(
            "voxrec_webhooks_disabled",
            "Webhooks that were disabled because their receiver failed for days, or answered 410.",
            registry=registry,
        )
        self._exports_waiting = Gauge(
            "voxrec_exports_waiting",
            "Bulk exports that wait for their turn, or to be continued.",
            registry=registry,
        )
        self._exports_running = Gauge(
            "voxrec_exports_running", "Bulk exports that are being written, of all nodes.", registry=registry
        )
        self._exports_oldest_seconds = Gauge(
            "voxrec_exports_oldest_seconds", "Age of the oldest bulk export that is not complete.", registry=registry
        )
        self._archive_free_bytes = Gauge(
            "voxrec_archive_free_bytes", "Free space of the file system of the archive.", registry=registry
        )

    def add_gauge(self, name: str, help_: str, value: Callable[[], float]) -> None:
        """Add a gauge whose value is computed by ``value`` at each scrape."""
        Gauge(name, help_, registry=self._registry).set_function(value)

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

    # Updated by the code that is measured

    def call_changed(self, happened: EventType, call: Call) -> None:
        """Count an event of a call; a listener of the router calls this."""
        if happened is EventType.CALL_ANSWERED and call.answered_at is not None:
            self._call_setup_seconds.observe((call.answered_at - call.started_at).total_seconds())
        if happened is EventType.CALL_ENDED:
            outcome = "unanswered" if call.answered_at is None else "answered"
            self._calls.labels(outcome, str(call.hangup_cause)).inc()

    def call_refused(self, cause: int) -> None:
        """Count a call that was refused with a Q.850 cause before the far end was called."""
        self._calls.labels("refused", str(int(cause))).inc()

    def observe_ari_request(self, transport: str, outcome: str, seconds: float) -> None:
        """Record the response time of an ARI request (see `voxrec.ari.transport.TimedTransport`)."""
        series = self._ari_series.get((transport, outcome))
        if series is None:
            series = self._ari_series[transport, outcome] = self._ari_request_seconds.labels(transport, outcome)
        series.observe(seconds)

    def observe_rest_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Record a REST response. ``route`` is the template of the path, such as ``/profiles/<id>``."""
        series = self._rest_series.get((route, method, status))
        if series is None:
            label = method if method in _METHODS else "other"
            series = (
                self._rest_requests.labels(route, label, str(status)),
                self._rest_request_seconds.labels(route, label),
            )
            if label == method:
                self._rest_series[route, method, status] = series
        requests, request_seconds = series
        requests.inc()
        request_seconds.observe(seconds)

    def count_job_attempt(self, kind: str, outcome: str) -> None:
        """Count an attempt of a job."""
        self._job_attempts.labels(kind, outcome).inc()

    def count_mail_recipient(self, state: str) -> None:
        """Count the response of the mail relay to one recipient."""
        self._mail_recipients.labels(state).inc()

    def count_returned_mail(self, outcome: str) -> None:
        """Count a message to the bounce address."""
        self._returned_mails.labels(outcome).inc()

    def count_pause_code(self, action: str, outcome: str) -> None:
        """Count a DTMF code of a party, by what it was to do and its outcome."""
        self._codes.labels(action, outcome).inc()

    def count_webhook_attempt(self, outcome: str) -> None:
        """Count a request to a webhook."""
        self._webhook_attempts.labels(outcome).inc()

    def count_upload(self, outcome: str, size: int) -> None:
        """Count an upload to S3 of ``size`` bytes."""
        self._uploads.labels(outcome).inc()
        if outcome == "stored":
            self._uploaded_bytes.inc(size)

    def count_export(self, outcome: str) -> None:
        """Count an attempt of a bulk export."""
        self._exports.labels(outcome).inc()

    def count_exported_bytes(self, count: int) -> None:
        """Count bytes of audio that were written to the file of an export."""
        self._exported_bytes.inc(count)

    def count_failed_announcement(self) -> None:
        """Count an announcement that was not played completely."""
        self._failed_announcements.inc()

    def count_unreachable_far_end(self, reason: str) -> None:
        """Count a call whose far end Asterisk could not call."""
        self._unreachable_far_ends.labels(reason).inc()

    def count_failed_recording(self) -> None:
        """Count a call, or one party of it, that was not recorded when it was due."""
        self._failed_recordings.inc()

    def count_decoder_restart(self) -> None:
        """Count a recording that contained silence instead of a party until its decoders were restarted."""
        self._restarted_decoders.inc()

    def count_listening(self, dropped_seconds: float) -> None:
        """Count a listening that has ended, and the audio that the client was too slow to receive."""
        self._listenings.inc()
        self._listening_dropped_seconds.inc(dropped_seconds)

    def count_dropped_events(self, count: int) -> None:
        """Count events of calls that are discarded."""
        self._dropped_events.inc(count)

    # Updated at each scrape, from the database and the file system

    def set_recordings(self, by_state: Mapping[str, int], estimate: int) -> None:
        """Set the number of Recordings by state (0 if missing in ``by_state``), and the estimate of all."""
        for state in RecordingState:
            if state not in _UNCOUNTED_STATES:
                self._recordings.labels(state.value).set(by_state.get(state.value, 0))
        self._recordings_estimate.set(estimate)

    def set_recordings_node_lost(self, count: int) -> None:
        """Set the number of Recordings that were lost with their node."""
        self._recordings_node_lost.set(count)

    def set_jobs(self, kind: str, *, waiting: int = 0, due: int = 0, dead: int = 0, oldest_age: float = 0.0) -> None:
        """Set the number of jobs of one kind, and the age of the oldest waiting job."""
        self._waiting_jobs.labels(kind).set(waiting)
        self._due_jobs.labels(kind).set(due)
        self._dead_jobs.labels(kind).set(dead)
        self._oldest_job_seconds.labels(kind).set(oldest_age)

    def set_webhooks(self, *, waiting: int, due: int, oldest_age: float, disabled: int) -> None:
        """Set the number of pending deliveries to webhooks, the age of the oldest, and the number of disabled ones."""
        self._webhooks_waiting.set(waiting)
        self._webhooks_due.set(due)
        self._webhooks_oldest_seconds.set(oldest_age)
        self._webhooks_disabled.set(disabled)

    def set_exports(self, *, waiting: int, running: int, oldest_age: float) -> None:
        """Set the number of bulk exports that are not complete, and the age of the oldest."""
        self._exports_waiting.set(waiting)
        self._exports_running.set(running)
        self._exports_oldest_seconds.set(oldest_age)

    def clear_database_metrics(self) -> None:
        """Remove the values that come from the database: it does not respond, and they would be outdated."""
        for gauge in (
            self._recordings,
            self._waiting_jobs,
            self._due_jobs,
            self._dead_jobs,
            self._oldest_job_seconds,
        ):
            gauge.clear()
        self._recordings_estimate.set(float("nan"))
        self._recordings_node_lost.set(float("nan"))
        unknown = float("nan")
        for gauge in (
            self._webhooks_waiting,
            self._webhooks_due,
            self._webhooks_oldest_seconds,
            self._webhooks_disabled,
            self._exports_waiting,
            self._exports_running,
            self._exports_oldest_seconds,
        ):
            gauge.set(unknown)

    def set_archive_free_bytes(self, free: float) -> None:
        """Set the free space of the archive; NaN if it cannot be determined."""
        self._archive_free_bytes.set(free)
