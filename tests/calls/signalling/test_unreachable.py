"""Tests of voxrec.calls.signalling.unreachable: what the operator learns of a far end that Asterisk could not call."""

from collections.abc import Mapping
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from voxrec.calls.signalling.unreachable import MAX_CONCURRENT, UnreachableFarEnds
from voxrec.errors import AsteriskUnavailable

CALL = UUID(int=1)
CONFIG: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("endpoint", "trunk"): {"transport": "transport-udp"},
    ("endpoint", "any"): {"transport": ""},
    ("transport", "transport-udp"): {"protocol": "udp"},
}


class UnreachableTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.counted: list[str] = []
        self.endpoint = "trunk"
        self.far_ends = UnreachableFarEnds(
            self.resolve, self.get_config, lambda _uri: self.endpoint, self.counted.append
        )

    async def resolve(self, host: str) -> object:
        if host.endswith(".invalid"):
            raise OSError("not found")
        return None

    async def get_config(self, type_: str, name: str) -> Mapping[str, str]:
        if (type_, name) not in CONFIG:
            raise AsteriskUnavailable("lost")
        return CONFIG[type_, name]

    def explain(self, uri: str) -> list[str]:
        """Return the warnings about a far end that could not be called."""
        with capturedLogs() as entries:
            self.far_ends.explain(CALL, uri)
        self.assertTrue(all(entry["log_level"] in (LogLevel.debug, LogLevel.warn) for entry in entries))
        return [str(formatEvent(entry)) for entry in entries if entry["log_level"] is LogLevel.warn]

    def test_unknown_host(self) -> None:
        (warning,) = self.explain("sip:a@far.invalid;transport=tcp")
        self.assertIn("far.invalid has no address", warning)
        self.assertEqual(self.counted, ["dns"])

    def test_protocol_without_transport(self) -> None:
        for uri, protocol in (("sip:a@192.0.2.1;transport=TCP", "tcp"), ("sips:a@192.0.2.1", "tls")):
            (warning,) = self.explain(uri)
            self.assertIn(f"called over {protocol}, but the endpoint trunk has a transport for udp", warning)
        self.assertEqual(self.counted, ["transport", "transport"])

    def test_nothing_is_wrong(self) -> None:
        for uri in ("sip:a@192.0.2.1", "sip:a@far.example;transport=udp"):
            self.assertEqual(self.explain(uri), [])

    def test_endpoint_without_a_transport_of_its_own(self) -> None:
        self.endpoint = "any"
        self.assertEqual(self.explain("sip:a@192.0.2.1;transport=tcp"), [])

    def test_asterisk_that_does_not_answer(self) -> None:
        self.endpoint = "unknown"
        self.assertEqual(self.explain("sip:a@192.0.2.1;transport=tcp"), [])

    def test_reason_for_a_person(self) -> None:
        transport = "the URI requires tcp, but the endpoint trunk has a transport for udp"
        for uri, reason in (
            ("sip:a@far.invalid", "the host far.invalid has no address in the DNS"),
            ("sip:a@192.0.2.1;transport=tcp", transport),
            ("sip:a@far.example", None),
        ):
            self.assertEqual(self.successResultOf(Deferred.fromCoroutine(self.far_ends.reason(uri))), reason)

    def test_invalid_uri(self) -> None:
        self.assertEqual(self.explain("sip:a@192.0.2.1;maddr=192.0.2.2"), [])

    def test_many_calls(self) -> None:
        waiting: list[Deferred[None]] = []

        async def resolve(_host: str) -> None:
            waiting.append(Deferred())
            await waiting[-1]

        far_ends = UnreachableFarEnds(resolve, self.get_config, lambda _uri: "trunk", self.counted.append)
        for _ in range(MAX_CONCURRENT + 5):
            far_ends.explain(CALL, "sip:a@far.example")
        self.assertEqual(len(waiting), MAX_CONCURRENT)
        waiting[0].callback(None)
        far_ends.explain(CALL, "sip:a@far.example")
        self.assertEqual(len(waiting), MAX_CONCURRENT + 1)
