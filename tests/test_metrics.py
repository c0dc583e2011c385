"""Tests of voxrec.metrics."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from voxrec.metrics import Metrics
from voxrec.model import Call, CallState, EventType

STARTED_AT = datetime(2026, 1, 1, tzinfo=UTC)


def samples(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """Return the samples of one name, by the values of their labels, which are sorted by the name of the label."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
        if sample.name == name
    }


def call(*, hangup_cause: int, answered_at: datetime | None) -> Call:
    return Call(
        id=UUID(int=1),
        profile_id=UUID(int=2),
        state=CallState.CLEARING,
        age=0,
        to="+4930222",
        started_at=STARTED_AT,
        answered_at=answered_at,
        hangup_cause=hangup_cause,
    )


class MetricsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.metrics = Metrics("1.2.3")

    def test_version_process_and_platform(self) -> None:
        self.assertEqual(samples(self.metrics, "voxrec_build_info"), {("1.2.3",): 1.0})
        self.assertEqual(len(samples(self.metrics, "python_info")), 1)
        self.assertGreater(samples(self.metrics, "process_resident_memory_bytes")[()], 0)

    def test_two_instances_are_independent(self) -> None:
        self.metrics.count_dropped_events(3)
        self.assertEqual(samples(Metrics("1"), "voxrec_events_dropped_total"), {(): 0.0})

    def test_calls_by_outcome_and_cause(self) -> None:
        answered = call(hangup_cause=16, answered_at=STARTED_AT + timedelta(seconds=4))
        self.metrics.call_changed(EventType.CALL_STARTED, answered)
        self.metrics.call_changed(EventType.CALL_ANSWERED, answered)
        self.metrics.call_changed(EventType.CALL_ENDED, answered)
        self.metrics.call_changed(EventType.CALL_ENDED, call(hangup_cause=17, answered_at=None))
        self.metrics.call_refused(1)
        self.assertEqual(
            samples(self.metrics, "voxrec_calls_total"),
            {("16", "answered"): 1, ("17", "unanswered"): 1, ("1", "refused"): 1},
        )
        self.assertEqual(samples(self.metrics, "voxrec_call_setup_seconds_sum"), {(): 4.0})

    def test_the_database_metrics_can_be_cleared(self) -> None:
        self.metrics.set_recordings({"failed": 2}, 10)
        self.metrics.set_jobs("mail", waiting=3, due=2, dead=1, oldest_age=7.5)
        self.assertEqual(samples(self.metrics, "voxrec_recordings")[("failed",)], 2)
        self.assertEqual(samples(self.metrics, "voxrec_recordings")[("recording",)], 0)
        self.assertEqual(samples(self.metrics, "voxrec_jobs_oldest_seconds"), {("mail",): 7.5})
        self.metrics.clear_database_metrics()
        for name in ("voxrec_recordings", "voxrec_jobs_waiting", "voxrec_jobs_due", "voxrec_jobs_dead"):
            self.assertEqual(samples(self.metrics, name), {}, name)

    def test_a_gauge_is_computed_at_each_scrape(self) -> None:
        items = [1]
        self.metrics.add_gauge("voxrec_thing", "Things.", lambda: len(items))
        items.append(2)
        self.assertEqual(samples(self.metrics, "voxrec_thing"), {(): 2.0})

    def test_unknown_methods_share_one_series(self) -> None:
        for method in ("BREW", "WHEN"):
            self.metrics.observe_rest_request("unmatched", method, 501, 0.1)
        self.assertEqual(samples(self.metrics, "voxrec_rest_requests_total"), {("other", "unmatched", "501"): 2})

    def test_rest_requests(self) -> None:
        for seconds in (0.25, 0.5):
            self.metrics.observe_rest_request("/profiles", "GET", 200, seconds)
        self.assertEqual(samples(self.metrics, "voxrec_rest_requests_total"), {("GET", "/profiles", "200"): 2})
        self.assertEqual(samples(self.metrics, "voxrec_rest_request_seconds_sum"), {("GET", "/profiles"): 0.75})

    def test_ari_requests(self) -> None:
        for seconds in (0.25, 0.5):
            self.metrics.observe_ari_request("websocket", "ok", seconds)
        self.assertEqual(samples(self.metrics, "voxrec_ari_request_seconds_sum"), {("ok", "websocket"): 0.75})

    def test_jobs_and_mail(self) -> None:
        self.metrics.count_job_attempt("mail", "retry")
        self.metrics.count_mail_recipient("deferred")
        self.assertEqual(samples(self.metrics, "voxrec_jobs_ended_total"), {("mail", "retry"): 1})
        self.assertEqual(samples(self.metrics, "voxrec_mail_recipients_total"), {("deferred",): 1})

    def test_every_metric_has_a_help_text(self) -> None:
        for family in text_string_to_metric_families(self.metrics.exposition().decode()):
            if family.name.startswith("voxrec_"):
                self.assertRegex(family.documentation, r"^[A-Z].+\.$", family.name)


class NodeTests(SynchronousTestCase):
    def test_every_metric_has_the_node(self) -> None:
        metrics = Metrics("1.2.3", "berlin")
        metrics.add_gauge("voxrec_calls_live", "Live calls.", lambda: 3)
        metrics.call_refused(1)
        for _ in range(2):  # some collectors return the same objects each time
            families = [*text_string_to_metric_families(metrics.exposition().decode())]
            self.assertEqual({sample.labels.get("node") for each in families for sample in each.samples}, {"berlin"})
        self.assertEqual(samples(metrics, "voxrec_calls_total"), {("1", "berlin", "refused"): 1})
