"""/metrics: that the numbers are there, move, and stay within bounds."""

from uuid import uuid4

from prometheus_client.parser import text_string_to_metric_families

from tests.api.rest_test_case import RestTestCase
from voxrec.metrics import Metrics
from voxrec.model import RecordingState
from voxrec.store.statistics import PendingJobs, read_statistics


def numbers(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """A family's samples of one name, by the values of their labels in the order of the labels' names."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
        if sample.name == name
    }


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
