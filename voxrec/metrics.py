"""What voxrec counts of itself, for Prometheus. Knows nobody: whoever counts is handed a method of `Metrics`."""

from collections.abc import Callable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from voxrec.model import Call, EventType, RecordingState

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
_QUICK: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SET_UP: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)
# Other methods can be invented at will, and each would be a new time series.
_METHODS: Final = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"})


class Metrics:
    """The numbers of one daemon; times in seconds."""

    def __init__(self, version: str) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        Gauge("voxrec_build_info", "Which voxrec this is.", ["version"], registry=registry).labels(version).set(1)
        self._calls = Counter(
            "voxrec_calls",
            "Callers whose call has ended: answered, unanswered, or refused before there was a call; by Q.850 cause.",
            ["outcome", "cause"],
            registry=registry,
        )
        self._set_up = Histogram(
            "voxrec_call_setup_seconds",
            "From a caller's coming in to the command that answers it, the far end's ringing included.",
            registry=registry,
            buckets=_SET_UP,
        )
        self._ari = Histogram(
            "voxrec_ari_request_seconds",
            "From a command to Asterisk to its answer.",
            ["way", "outcome"],
            registry=registry,
            buckets=_QUICK,
        )
        self._asked: dict[tuple[str, str], Histogram] = {}  # to look one up takes its time
        self._requests = Counter(
            "voxrec_rest_requests", "REST's answers.", ["route", "method", "status"], registry=registry
        )
        self._answers: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._request_seconds = Histogram(
            "voxrec_rest_request_seconds",
            "From a request to the head of its answer.",
            ["route", "method"],
            registry=registry,
            buckets=_QUICK,
        )
        self._jobs_ended = Counter(
            "voxrec_jobs_ended",
            "Attempts at jobs: done, to be tried again, or given up.",
            ["kind", "outcome"],
            registry=registry,
        )
        self._mailed = Counter(
            "voxrec_mail_recipients",
            "What the mail relay said about recipients: accepted, deferred or refused.",
            ["state"],
            registry=registry,
        )
        self._events_dropped = Counter(
            "voxrec_events_dropped", "Events of calls that could not be written down.", registry=registry
        )
        self._recordings = Gauge(
            "voxrec_recordings",
            "Recordings in the database by state, without those completed or absent.",
            ["state"],
            registry=registry,
        )
        self._all_recordings = Gauge(
            "voxrec_recordings_estimate", "About how many Recordings the database has.", registry=registry
        )
        self._waiting = Gauge("voxrec_jobs_waiting", "Jobs that are to be done.", ["kind"], registry=registry)
        self._due = Gauge("voxrec_jobs_due", "Jobs whose time has come.", ["kind"], registry=registry)
        self._dead = Gauge("voxrec_jobs_dead", "Jobs that were given up.", ["kind"], registry=registry)
        self._oldest = Gauge(
            "voxrec_jobs_oldest_seconds", "Age of the oldest job that is to be done.", ["kind"], registry=registry
        )
        self._archive_free = Gauge("voxrec_archive_free_bytes", "Room where the archive is.", registry=registry)

    def watch(self, name: str, help_: str, value: Callable[[], float]) -> None:
        """Ask for a number whenever somebody looks."""
        Gauge(name, help_, registry=self._registry).set_function(value)

    def exposition(self) -> bytes:
        """All numbers as Prometheus's text."""
        return generate_latest(self._registry)

    # Who counts.

    def call_changed(self, happened: EventType, call: Call) -> None:
        """Something happened to a call."""
        if happened is EventType.CALL_ANSWERED and call.answered_at is not None:
            self._set_up.observe((call.answered_at - call.started_at).total_seconds())
        if happened is EventType.CALL_ENDED:
            outcome = "unanswered" if call.answered_at is None else "answered"
            self._calls.labels(outcome, str(call.hangup_cause)).inc()

    def call_refused(self, cause: int) -> None:
        """A caller was sent away before there was a call."""
        self._calls.labels("refused", str(int(cause))).inc()

    def asterisk_answered(self, way: str, outcome: str, seconds: float) -> None:
        """Asterisk answered a command (ok, refused) or did not (lost); ``way``: http or websocket."""
        series = self._asked.get((way, outcome))
        if series is None:
            series = self._asked[way, outcome] = self._ari.labels(way, outcome)
        series.observe(seconds)

    def rest_answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """REST answered; ``route`` is the template of the path."""
        series = self._answers.get((route, method, status))
        if series is None:
            known = method if method in _METHODS else "other"
            series = self._requests.labels(route, known, str(status)), self._request_seconds.labels(route, known)
            if known == method:
                self._answers[route, method, status] = series
        series[0].inc()
        series[1].observe(seconds)

    def job_ended(self, kind: str, outcome: str) -> None:
        """An attempt at a job ended."""
        self._jobs_ended.labels(kind, outcome).inc()

    def mailed(self, state: str) -> None:
        """The relay said something about a recipient."""
        self._mailed.labels(state).inc()

    def events_dropped(self, count: int) -> None:
        """Events of calls are lost."""
        self._events_dropped.inc(count)

    # What is looked up now and then.

    def set_recordings(self, by_state: Mapping[str, int], estimate: int) -> None:
        """What the database has; states that are not named have none."""
        for state in RecordingState:
            if state not in (RecordingState.COMPLETED, RecordingState.ABSENT):
                self._recordings.labels(state.value).set(by_state.get(state.value, 0))
        self._all_recordings.set(estimate)

    def set_jobs(self, kind: str, *, waiting: int = 0, due: int = 0, dead: int = 0, oldest: float = 0.0) -> None:
        """How the queue is for one kind of job."""
        self._waiting.labels(kind).set(waiting)
        self._due.labels(kind).set(due)
        self._dead.labels(kind).set(dead)
        self._oldest.labels(kind).set(oldest)

    def forget_database(self) -> None:
        """The database cannot be asked: rather no numbers than old ones."""
        for gauge in (self._recordings, self._waiting, self._due, self._dead, self._oldest):
            gauge.clear()
        self._all_recordings.set(float("nan"))

    def set_archive_free(self, free: float) -> None:
        """Bytes that are free where the archive is; NaN where nobody can tell."""
        self._archive_free.set(free)
