"""Tests of voxrec.metrics.requests."""

from twisted.trial.unittest import SynchronousTestCase

from tests.metrics.samples import samples
from voxrec.metrics import Metrics


class RequestMetricsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.metrics = Metrics("1.2.3")

    def test_unknown_methods_share_one_series(self) -> None:
        for method in ("BREW", "WHEN"):
            self.metrics.requests.observe_rest_request("unmatched", method, 501, 0.1)
        self.assertEqual(samples(self.metrics, "voxrec_rest_requests_total"), {("other", "unmatched", "501"): 2})

    def test_rest_requests(self) -> None:
        for seconds in (0.25, 0.5):
            self.metrics.requests.observe_rest_request("/profiles", "GET", 200, seconds)
        self.assertEqual(samples(self.metrics, "voxrec_rest_requests_total"), {("GET", "/profiles", "200"): 2})
        self.assertEqual(samples(self.metrics, "voxrec_rest_request_seconds_sum"), {("GET", "/profiles"): 0.75})

    def test_ari_requests(self) -> None:
        for seconds in (0.25, 0.5):
            self.metrics.requests.observe_ari_request("websocket", "ok", seconds)
        self.assertEqual(samples(self.metrics, "voxrec_ari_request_seconds_sum"), {("ok", "websocket"): 0.75})
