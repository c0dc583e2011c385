"""The metrics of requests: those of REST clients, and those to Asterisk."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Clients can invent other methods; each would create new time series.
_METHODS: Final = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"})


class RequestMetrics:
    """The metrics of REST and ARI requests."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ari_request_seconds = Histogram(
            "voxrec_ari_request_seconds",
            "Response time of ARI requests, by transport (http, websocket) and outcome (ok, refused, lost).",
            ["transport", "outcome"],
            registry=registry,
            buckets=_BUCKETS,
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
            buckets=_BUCKETS,
        )
        # looking up a time series by its labels takes longer than updating it
        self._ari_series: dict[tuple[str, str], Histogram] = {}
        self._rest_series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

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
