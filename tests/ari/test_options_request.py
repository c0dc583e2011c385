"""Tests of voxrec.ari.options_request, with a scripted transport."""

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.ari.fakes import FakeTransport
from voxrec.ari.client import AriClient
from voxrec.ari.options_request import OptionsRequests, OptionsUnavailable

AOR = "GET asterisk/config/dynamic/res_pjsip/aor/voxrec-options"
STATE = "GET endpoints/PJSIP/voxrec-options"


def settings(**fields: str) -> bytes:
    return msgspec.json.encode([{"attribute": name, "value": value} for name, value in fields.items()])


class OptionsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.http = FakeTransport()
        self.http.responses[AOR] = settings(qualify_frequency="3600", qualify_timeout="4.0")
        self.state("offline")
        self.options = OptionsRequests(self.clock, AriClient(self.http, "voxrec"))

    def state(self, state: str) -> None:
        self.http.responses[STATE] = msgspec.json.encode({"state": state})

    def send(self) -> "Deferred[float | None]":
        return Deferred.fromCoroutine(self.options.send("sip:desk@far.example", "trunk"))

    def contacts(self) -> list[str]:
        """The requests that add and delete contacts, without the name of the contact."""
        return [request.partition("/contact/")[0] for request, *_ in self.http.requests if "/contact/" in request]

    def test_response(self) -> None:
        result = self.send()
        self.assertNoResult(result)
        self.state("online")
        self.clock.advance(0.1)
        self.assertAlmostEqual(self.successResultOf(result) or 0.0, 0.1)
        self.assertEqual(
            self.contacts(), ["PUT asterisk/config/dynamic/res_pjsip", "DELETE asterisk/config/dynamic/res_pjsip"]
        )

    def test_contact(self) -> None:
        self.clock.wall_seconds = lambda: 1_800_000_000.5  # type: ignore[attr-defined] # as the daemon's reactor has it
        self.send()
        ((request, _, body),) = [each for each in self.http.requests if each[0].startswith("PUT")]
        assert isinstance(body, dict)
        self.assertRegex(request, r"/contact/voxrec-options;@[0-9a-f]{32}$")
        self.assertEqual(
            {field["attribute"]: field["value"] for field in body["fields"]},
            {
                "uri": "sip:desk@far.example",
                "endpoint": "trunk",
                "expiration_time": "1800000030",
                "prune_on_boot": "yes",
            },
        )

    def test_no_response(self) -> None:
        result = self.send()
        self.clock.pump([0.1] * 46)
        self.assertIsNone(self.successResultOf(result))
        self.assertEqual(len(self.contacts()), 2)

    def test_one_request_at_a_time(self) -> None:
        first, second = self.send(), self.send()
        self.assertEqual(len(self.contacts()), 1)
        self.clock.pump([0.1] * 46)
        self.assertIsNone(self.successResultOf(first))
        self.assertNoResult(second)
        self.assertEqual(len(self.contacts()), 3)

    def test_only_one_request_waits(self) -> None:
        self.send()
        second, third = self.send(), self.send()
        self.assertIn("in progress", self.failureResultOf(third, OptionsUnavailable).value.detail)
        self.clock.pump([0.1] * 92)
        self.assertIsNone(self.successResultOf(second))

    def test_cancellation_deletes_the_contact(self) -> None:
        result = self.send()
        result.cancel()
        self.failureResultOf(result)
        self.assertEqual(len(self.contacts()), 2)
        self.assertNoResult(self.send())  # the next one is not blocked

    def test_missing_section(self) -> None:
        self.http.responses[AOR] = 404
        self.assertIn("voxrec-options", self.failureResultOf(self.send(), OptionsUnavailable).value.detail)
        self.assertEqual(self.contacts(), [])

    def test_section_without_qualify_frequency(self) -> None:
        self.http.responses[AOR] = settings(qualify_frequency="0")
        self.assertIn("qualify_frequency", self.failureResultOf(self.send(), OptionsUnavailable).value.detail)

    def test_another_program(self) -> None:
        self.state("online")
        self.assertIn("another program", self.failureResultOf(self.send(), OptionsUnavailable).value.detail)
