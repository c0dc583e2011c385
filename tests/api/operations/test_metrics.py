"""GET /metrics: access, and the counting of REST requests."""

from uuid import uuid4

from tests.api.rest_test_case import RestTestCase
from tests.metrics.samples import samples


class MetricsRouteTests(RestTestCase):
    async def test_requires_a_token_with_the_read_role(self) -> None:
        for token, status in (("", 401), ("read", 200)):
            for method in ("GET", "HEAD"):
                response = await self.request(method, "/metrics", token=token)
                self.assertEqual(response.status, status)
        self.assertEqual(response.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8")

    async def test_requests_are_counted_by_route_template(self) -> None:
        for _ in range(2):
            await self.request("GET", f"/profiles/{uuid4()}")
        await self.request("GET", "/profiles")
        await self.request("GET", "/no/such/thing")
        await self.request("GET", "/neither/is/this")
        await self.request("POST", "/profiles")
        self.assertEqual(
            samples(self.metrics, "voxrec_rest_requests_total"),
            {
                ("GET", "/profiles/<id>", "404"): 2,
                ("GET", "/profiles", "200"): 1,
                ("GET", "unmatched", "404"): 2,
                ("POST", "unmatched", "405"): 1,
            },
        )
        self.assertEqual(samples(self.metrics, "voxrec_rest_request_seconds_count")[("GET", "/profiles/<id>")], 2)
