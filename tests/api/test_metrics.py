"""/metrics: that the numbers are there, move, and stay within bounds."""

from datetime import timedelta
from uuid import uuid4

from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from tests.api.rest_test_case import CREATED_AT, RestTestCase
from tests.api.test_calls import call
from voxrec.metrics import Metrics
from voxrec.model import EventType, RecordingState
from voxrec.store.statistics import PendingJobs, read_statistics


def numbers(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """A family's samples of one name, by the values of their labels in the order of the labels' names."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
        if sample.name == name
    }


class MetricsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.metrics = Metrics("1.2.3")

    def test_build_process_and_platform(self) -> None:
        self.assertEqual(numbers(self.metrics, "voxrec_build_info"), {("1.2.3",): 1.0})
        self.assertEqual(len(numbers(self.metrics, "python_info")), 1)
        self.assertGreater(numbers(self.metrics, "process_resident_memory_bytes")[()], 0)

    def test_two_do_not_meet(self) -> None:
        self.metrics.events_dropped(3)
        self.assertEqual(numbers(Metrics("1"), "voxrec_events_dropped_total"), {(): 0.0})

    def test_calls(self) -> None:
        answered = call(hangup_cause=16, answered_at=CREATED_AT + timedelta(seconds=4))
        self.metrics.call_changed(EventType.CALL_STARTED, answered)
        self.metrics.call_changed(EventType.CALL_ANSWERED, answered)
        self.metrics.call_changed(EventType.CALL_ENDED, answered)
        self.metrics.call_changed(EventType.CALL_ENDED, call(hangup_cause=17, answered_at=None))
        self.metrics.call_refused(1)
        self.assertEqual(
            numbers(self.metrics, "voxrec_calls_total"),
            {("16", "answered"): 1, ("17", "unanswered"): 1, ("1", "refused"): 1},
        )
        self.assertEqual(numbers(self.metrics, "voxrec_call_setup_seconds_sum"), {(): 4.0})

    def test_the_database_goes_away(self) -> None:
        self.metrics.set_recordings({"failed": 2}, 10)
        self.metrics.set_jobs("mail", waiting=3, due=2, dead=1, oldest=7.5)
        self.assertEqual(numbers(self.metrics, "voxrec_recordings")[("failed",)], 2)
        self.assertEqual(numbers(self.metrics, "voxrec_recordings")[("recording",)], 0)
        self.assertEqual(numbers(self.metrics, "voxrec_jobs_oldest_seconds"), {("mail",): 7.5})
        self.metrics.forget_database()
        for name in ("voxrec_recordings", "voxrec_jobs_waiting", "voxrec_jobs_due", "voxrec_jobs_dead"):
            self.assertEqual(numbers(self.metrics, name), {}, name)

    def test_what_is_watched_is_asked_for_each_time(self) -> None:
        found = [1]
        self.metrics.watch("voxrec_thing", "A thing.", lambda: len(found))
        found.append(2)
        self.assertEqual(numbers(self.metrics, "voxrec_thing"), {(): 2.0})

    def test_invented_methods_are_one(self) -> None:
        for method in ("BREW", "WHEN"):
            self.metrics.rest_answered("unmatched", method, 501, 0.1)
        self.assertEqual(numbers(self.metrics, "voxrec_rest_requests_total"), {("other", "unmatched", "501"): 2})


class MetricsRouteTests(RestTestCase):
    async def test_who_may_look(self) -> None:
        for token, status in (("", 401), ("read", 200)):
            for method in ("GET", "HEAD"):
                response = await self.request(method, "/metrics", token=token)
                self.assertEqual(response.status, status)
        self.assertEqual(response.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8")

    async def test_requests_are_counted_by_their_template(self) -> None:
        for _ in range(2):
            await self.request("GET", f"/profiles/{uuid4()}")
        await self.request("GET", "/profiles")
        await self.request("GET", "/no/such/thing")
        await self.request("GET", "/neither/is/this")
        await self.request("POST", "/profiles")
        counted = numbers(self.metrics, "voxrec_rest_requests_total")
        self.assertEqual(
            counted,
            {
                ("GET", "/profiles/<id>", "404"): 2,
                ("GET", "/profiles", "200"): 1,
                ("GET", "unmatched", "404"): 2,
                ("POST", "unmatched", "405"): 1,
            },
        )
        self.assertEqual(numbers(self.metrics, "voxrec_rest_request_seconds_count")[("GET", "/profiles/<id>")], 2)

    async def test_the_figures_of_the_database(self) -> None:
        for state in (RecordingState.FAILED, RecordingState.FAILED, RecordingState.COMPLETED):
            await self.add_recording(state=state)
        await self.pool.execute(
            "INSERT INTO jobs (kind, recording_id, due_at, dead, done_at, created_at) VALUES "
            "('mail', gen_random_uuid(), now(), FALSE, NULL, now() - interval '1 hour'), "
            "('mail', gen_random_uuid(), now() + interval '1 day', FALSE, NULL, now()), "
            "('mail', gen_random_uuid(), now(), FALSE, now(), now()), "
            "('finish', gen_random_uuid(), now(), TRUE, NULL, now())"
        )
        statistics = await read_statistics(self.pool)
        self.assertEqual(statistics.recordings, {"failed": 2})
        self.assertEqual(statistics.dead, {"finish": 1})
        owed = statistics.pending["mail"]
        self.assertEqual((owed.count, owed.due, round(owed.oldest_age / 60)), (2, 1, 60))
        self.assertEqual(statistics.pending.get("finish", PendingJobs()), PendingJobs())
