"""Tests of voxrec.nodes.superseded_calls."""

from collections.abc import Collection
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from voxrec.errors import StoreUnavailable
from voxrec.model import Attempt
from voxrec.nodes.superseded_calls import SupersededCalls

FIRST, SECOND = Attempt("a", 0), Attempt("a", 1)


class FakeAttempts:
    """Answers requests when the test says so."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, Attempt]] = []
        self.replies: list[Deferred[Attempt]] = []
        self.stored: list[Attempt] = []

    async def latest(self, attempt: Attempt) -> Attempt:
        return await self._request("latest", attempt)

    async def record(self, attempt: Attempt) -> Attempt:
        return await self._request("record", attempt)

    async def _request(self, kind: str, attempt: Attempt) -> Attempt:
        self.requests.append((kind, attempt))
        self.replies.append(Deferred())
        return await self.replies[-1]

    async def latest_of_all(self, attempts: Collection[Attempt]) -> list[Attempt]:
        return [each for each in self.stored if each.invite in {attempt.invite for attempt in attempts}]


class FakeMembership:
    alone = False


class SupersededCallsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.attempts, self.membership = FakeAttempts(), FakeMembership()
        self.unanswered: list[Attempt] = []
        self.given_up: list[Attempt] = []
        self.superseded_calls = SupersededCalls(
            self.clock,
            cast("Any", self.attempts),
            cast("Any", self.membership),
            lambda: self.unanswered,
            self.given_up.append,
        )

    def ask(self, attempt: Attempt = FIRST) -> "Deferred[bool]":
        return Deferred.fromCoroutine(self.superseded_calls.is_superseded(attempt))

    def test_a_first_attempt_is_only_looked_up(self) -> None:
        current, superseded = self.ask(), self.ask()
        for reply, latest in zip(self.attempts.replies, (FIRST, SECOND), strict=True):
            reply.callback(latest)
        self.assertEqual([self.successResultOf(each) for each in (current, superseded)], [False, True])
        self.assertEqual(self.attempts.requests, 2 * [("latest", FIRST)])

    def test_an_attempt_after_silent_nodes_is_recorded_before_the_call_is_placed(self) -> None:
        asked = self.ask(SECOND)
        self.assertNoResult(asked)
        self.assertEqual(self.attempts.requests, [("record", SECOND)])
        self.attempts.replies[0].callback(SECOND)
        self.assertFalse(self.successResultOf(asked))

    def test_an_attempt_that_is_late_itself(self) -> None:
        asked = self.ask(SECOND)
        self.attempts.replies[0].callback(Attempt("a", 2))
        self.assertTrue(self.successResultOf(asked))

    def test_a_single_node_asks_nothing(self) -> None:
        self.membership.alone = True
        self.assertFalse(self.successResultOf(self.ask()))
        self.assertEqual(self.attempts.requests, [])

    def test_postgresql_is_unavailable(self) -> None:
        asked = self.ask()
        self.attempts.replies[0].errback(StoreUnavailable("it is down"))
        self.assertFalse(self.successResultOf(asked))
        self.assertNoResult(self.ask())

    def test_only_the_first_calls_wait_for_a_postgresql_that_does_not_respond(self) -> None:
        first, second = self.ask(), self.ask()
        self.clock.advance(0.9)
        self.assertNoResult(first)
        self.clock.advance(0.1)
        self.assertEqual([self.successResultOf(first), self.successResultOf(second)], [False, False])
        self.assertFalse(self.successResultOf(self.ask()))
        self.attempts.replies[0].callback(FIRST)
        self.assertFalse(self.successResultOf(self.ask()), "the other one waits yet")
        self.attempts.replies[1].errback(StoreUnavailable("it is down"))
        self.assertNoResult(self.ask())

    def test_a_notification_gives_up_the_call(self) -> None:
        for payload in ("a/1", "", "from a later version"):
            self.superseded_calls.notified(payload)
        self.assertEqual(self.given_up, [SECOND])

    def test_what_was_missed_while_not_connected(self) -> None:
        self.attempts.stored = [SECOND, Attempt("b", 1)]
        self.successResultOf(Deferred.fromCoroutine(self.superseded_calls.compare()))
        self.assertEqual(self.given_up, [])
        self.unanswered = [FIRST]
        self.successResultOf(Deferred.fromCoroutine(self.superseded_calls.compare()))
        self.assertEqual(self.given_up, [SECOND])
