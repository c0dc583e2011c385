"""Tests of voxrec.nodes.call_limits."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID, uuid4

import psycopg2
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.database import DatabaseTestCase
from tests.store.samples import profile
from voxrec.deferreds import gather
from voxrec.errors import StoreUnavailable
from voxrec.model import NodeStatus, Profile
from voxrec.nodes.call_directory import CallDirectory
from voxrec.nodes.call_limits import RESERVATION_TIMEOUT, CallLimits
from voxrec.store.nodes import Nodes


class FakeNodes:
    """Answers requests when the test says so."""

    def __init__(self) -> None:
        self.requests: list[tuple[Any, ...]] = []
        self.replies: list[Deferred[bool]] = []
        self.stored: list[tuple[Any, ...]] = []

    async def reserve_call(self, *request: Any) -> bool:
        self.requests.append(request)
        self.replies.append(Deferred())
        return await self.replies[-1]

    async def delete_other_calls(self, *request: Any) -> None:
        pass

    async def store_calls(self, *request: Any) -> None:
        self.stored.append(request)


@dataclass
class FakeMembership:
    node: str = "berlin"
    alone: bool = False


class CallLimitsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.nodes = FakeNodes()
        self.membership = FakeMembership()
        self.directory = CallDirectory(self.clock, cast("Any", self.nodes), "berlin", list)
        self.directory.is_needed = lambda: True
        self.inexact = 0
        self.limits = CallLimits(
            self.clock,
            cast("Any", self.nodes),
            cast("Any", self.membership),
            self.directory,
            lambda _id: 2,
            self.count_inexact,
        )
        self.profile: Profile = profile(id=uuid4(), max_calls=3)

    def count_inexact(self) -> None:
        self.inexact += 1

    def reserve(self) -> "Deferred[bool | None]":
        return Deferred.fromCoroutine(self.limits.reserve(self.profile))

    def test_granted_and_refused(self) -> None:
        granted, refused = self.reserve(), self.reserve()
        for reply, value in zip(self.nodes.replies, (True, False), strict=True):
            reply.callback(value)
        self.assertEqual((self.successResultOf(granted), self.successResultOf(refused)), (True, False))
        (reservation, node, of, own, known, settled), _ = self.nodes.requests
        self.assertEqual((node, of, own, known, settled), ("berlin", self.profile, 2, None, frozenset()))
        self.assertEqual(self.directory.reservations, {reservation})

    def test_a_single_node_asks_nothing(self) -> None:
        self.membership.alone = True
        self.assertIsNone(self.successResultOf(self.reserve()))
        self.assertEqual(self.nodes.requests, [])

    def test_a_lost_connection_costs_no_exactness(self) -> None:
        """The second request counts the first one neither if it was committed nor if it was not."""
        request = self.reserve()
        self.nodes.replies[0].errback(StoreUnavailable("the connection was lost"))
        self.nodes.replies[1].callback(False)
        self.assertIs(self.successResultOf(request), False)
        first, second = self.nodes.requests
        self.assertEqual(second[-1], {first[0]})
        self.assertEqual((self.directory.reservations, self.inexact), ({first[0]}, 0))

    def test_postgresql_is_unavailable(self) -> None:
        request = self.reserve()
        for reply in range(2):
            self.nodes.replies[reply].errback(StoreUnavailable("it is down"))
        self.assertIsNone(self.successResultOf(request))
        self.assertEqual(len(self.directory.reservations), 2, "they may have been committed")
        self.assertEqual(self.inexact, 1)

    def test_an_outage_and_its_end_are_logged_once(self) -> None:
        def messages(*replies: Any) -> list[str]:
            with capturedLogs() as events:
                for reply in replies:
                    request = self.reserve()
                    while not request.called:
                        self.nodes.replies[-1].callback(reply)
            return [formatEvent(event).partition(f"{self.profile.id} ")[2] for event in events]

        down: Any = Failure(StoreUnavailable("it is down"))
        begins = "does not count calls of other nodes: it is down"
        self.assertEqual(messages(down, down, down), [begins])
        self.assertEqual(messages(True, True, down, down), ["counts calls of other nodes again", begins])

    def test_postgresql_is_slow(self) -> None:
        """The caller waits as long as is acceptable, and no longer."""
        exact, inexact = self.reserve(), self.reserve()
        self.clock.advance(3.9)
        self.assertNoResult(exact)
        self.nodes.replies[0].callback(False)
        self.assertIs(self.successResultOf(exact), False)
        self.clock.advance(0.1)
        self.assertIsNone(self.successResultOf(inexact))
        self.assertEqual(self.inexact, 1)
        self.assertEqual(self.directory.reservations, {self.nodes.requests[1][0]}, "it may be committed yet")

    def test_reservations_end_when_the_calls_are_stored(self) -> None:
        self.reserve()
        self.nodes.replies[0].callback(True)
        (reservation,) = self.directory.reservations
        self.directory.startService()
        self.addCleanup(self.directory.stopService)
        self.clock.advance(1.0)
        self.clock.advance(0.05)
        ((_node, _changed, _gone, settled),) = self.nodes.stored
        self.assertEqual(settled, {reservation})
        self.assertEqual(self.directory.reservations, set())
        self.assertEqual(self.directory.known_calls(UUID(int=1)), set())


class TwoNodesTests(DatabaseTestCase):
    """With PostgreSQL, which is as slow as the machine is; the clock by which callers wait stands."""

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.profile: Profile = profile(id=uuid4(), max_calls=5)
        self.clock = Clock()
        self.limits = [await self.start_node(name) for name in ("berlin", "munich")]

    async def start_node(self, name: str) -> CallLimits:
        nodes = Nodes(self.pool)
        await nodes.heartbeat(name, uuid4(), uuid4(), NodeStatus())
        directory = CallDirectory(self.clock, nodes, name, list)
        return CallLimits(self.clock, nodes, cast("Any", FakeMembership(name)), directory, lambda _id: 0)

    async def test_calls_that_begin_on_both_nodes_at_the_same_time(self) -> None:
        requests = [limits.reserve(self.profile) for _ in range(10) for limits in self.limits]
        self.assertEqual(Counter(await gather(*requests)), {True: 5, False: 15})

    async def test_a_node_that_holds_the_lock_for_some_seconds(self) -> None:
        """As one that PostgreSQL serves slowly: the others wait."""
        blocker = psycopg2.connect(self.dsn)
        blocker.cursor().execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 1986622056))", (str(self.profile.id),)
        )
        requests = [Deferred.fromCoroutine(limits.reserve(self.profile)) for _ in range(3) for limits in self.limits]
        self.clock.advance(RESERVATION_TIMEOUT - 0.1)
        blocker.close()
        self.assertEqual(Counter(await gatherResults(requests)), {True: 5, False: 1})
