"""Tests of voxrec.nodes.call_limits."""

from typing import Any, cast
from uuid import UUID, uuid4

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.store.samples import profile
from voxrec.errors import StoreUnavailable
from voxrec.model import Profile
from voxrec.nodes.call_directory import CallDirectory
from voxrec.nodes.call_limits import CallLimits


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


class FakeMembership:
    node = "berlin"

    def __init__(self) -> None:
        self.peers = ["munich"]


class CallLimitsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.nodes = FakeNodes()
        self.membership = FakeMembership()
        self.directory = CallDirectory(self.clock, cast("Any", self.nodes), "berlin", list)
        self.directory.is_needed = lambda: True
        self.limits = CallLimits(
            self.clock, cast("Any", self.nodes), cast("Any", self.membership), self.directory, lambda _id: 2
        )
        self.profile: Profile = profile(id=uuid4(), max_calls=3)

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
        self.membership.peers = []
        self.assertIsNone(self.successResultOf(self.reserve()))
        self.assertEqual(self.nodes.requests, [])

    def test_postgresql_is_unavailable(self) -> None:
        request = self.reserve()
        self.nodes.replies[0].errback(StoreUnavailable("it is down"))
        self.assertIsNone(self.successResultOf(request))
        self.assertEqual(len(self.directory.reservations), 1, "it may have been committed")

    def test_an_outage_is_logged_once(self) -> None:
        def warnings(*replies: Any) -> int:
            with capturedLogs() as events:
                for reply in replies:
                    self.reserve()
                    self.nodes.replies[-1].callback(reply)
            return sum("does not count calls" in formatEvent(event) for event in events)

        down: Any = Failure(StoreUnavailable("it is down"))
        self.assertEqual(warnings(down, down, down), 1)
        self.assertEqual(warnings(True, down, down), 1)

    def test_postgresql_is_slow(self) -> None:
        """The caller does not wait longer than a second."""
        request = self.reserve()
        self.clock.advance(0.9)
        self.assertNoResult(request)
        self.clock.advance(0.1)
        self.assertIsNone(self.successResultOf(request))

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
