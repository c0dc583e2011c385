"""Tests of voxrec.store.profile_lookup."""

from collections.abc import Collection
from pathlib import Path
from typing import cast
from uuid import UUID, uuid4

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from tests.database import DatabaseTestCase, cluster, reactor, until
from tests.store.samples import profile
from tests.subtest import subtest
from voxrec.errors import StoreUnavailable
from voxrec.model import Profile
from voxrec.store import profile_lookup
from voxrec.store import profile_lookup as module
from voxrec.store.profile_cache import ProfileCache
from voxrec.store.profile_lookup import ProfileLookup
from voxrec.store.profile_snapshot import ProfileSnapshot
from voxrec.store.profiles import Profiles


class ProfileLookupTests(DatabaseTestCase):
    """The cache receives no notifications: every Profile in it was looked up."""

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.patch(profile_lookup, "TIMEOUT", 60.0)  # however busy the machine is
        self.profiles = Profiles(self.pool)
        self.cache = ProfileCache(
            reactor, self.profiles, self.pool, ProfileSnapshot(Path(self.mktemp())), deferToThread
        )
        self.lookup = ProfileLookup(reactor, self.profiles, self.cache)

    async def tearDown(self) -> None:  # type: ignore[override]
        await self.lookup._querying.wait()
        await self.cache.stopService()
        await super().tearDown()

    async def test_new_profile_is_found_by_id_and_by_number(self) -> None:
        for dialled in ("id", "ID", "+4930123", "4930123"):
            with subtest(dialled):
                known = await self.profiles.create(profile(id=uuid4(), numbers=("+4930123",)))
                text = {"id": str(known.id), "ID": str(known.id).upper()}.get(dialled, dialled)
                await self.lookup.look_up(text)
                self.assertEqual(self.cache.find(text), known)
                await self.profiles.delete(known.id)
                self.cache.invalidate(str(known.id))
                await until(lambda text=text: not self.cache.find(text))  # type: ignore[misc]

    async def test_unknown_number(self) -> None:
        await self.lookup.look_up("+4930")
        self.assertIsNone(self.cache.find("+4930"))

    async def test_change_during_the_lookup_is_not_lost(self) -> None:
        """A Profile that was read before a change may be added after its notification was handled."""
        read = await self.profiles.create(profile(numbers=("+491",), name="old"))
        changed = await self.profiles.update(read.id, lambda old: profile(id=old.id, numbers=("+492",), name="new"))
        self.cache.put(read)
        await until(lambda: self.cache.find("+492") == changed)
        self.assertIsNone(self.cache.find("+491"))

    async def test_calls_do_not_wait_while_postgresql_is_unavailable(self) -> None:
        cluster().stop()
        try:
            await until(lambda: not self.pool.ready)
            started = reactor.seconds()
            await self.lookup.look_up("+4930")
            self.assertLess(reactor.seconds() - started, 30)
        finally:
            cluster().launch()
            await self.pool.when_ready()


class SlowProfiles:
    """Counts queries, and answers them when told to."""

    def __init__(self) -> None:
        self.queries: list[int] = []
        self.answers: list[Deferred[list[Profile]]] = []

    async def find_dialled(self, profile_ids: Collection[UUID], numbers: Collection[str]) -> list[Profile]:
        self.queries.append(len(profile_ids) + len(numbers))
        answer: Deferred[list[Profile]] = Deferred()
        self.answers.append(answer)
        return await answer


class LoadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.profiles = SlowProfiles()
        self.lookup = ProfileLookup(self.clock, cast("Profiles", self.profiles), cast("ProfileCache", None))

    def look_up(self, dialled: str) -> "Deferred[None]":
        return Deferred.fromCoroutine(self.lookup.look_up(dialled))

    def test_what_is_neither_an_id_nor_a_number_is_not_looked_up(self) -> None:
        for dialled in ("", "+", "alice", "+0", "1", "+49301234567890123", uuid4().hex, f"{{{uuid4()}}}", "\udcff"):
            with subtest(dialled):
                self.successResultOf(self.look_up(dialled))
        self.assertEqual(self.profiles.queries, [])

    def test_many_calls_are_few_queries(self) -> None:
        first = self.look_up("+4930000")
        others = [self.look_up(f"+49300{number}") for number in range(100, 300)] + [self.look_up("+49300100")]
        beyond = self.look_up("+4940000")
        self.successResultOf(beyond)  # too many wait already
        self.profiles.answers[0].callback([])
        self.successResultOf(first)
        self.assertEqual(self.profiles.queries, [1])
        self.clock.advance(module.INTERVAL)
        self.profiles.answers[1].callback([])
        for other in others:
            self.successResultOf(other)
        self.assertEqual(self.profiles.queries, [1, module.MAX_WAITING])

    def test_queries_have_an_interval(self) -> None:
        for number in range(20):
            self.look_up(f"+49{number:03}")
            for answer in self.profiles.answers:
                if not answer.called:
                    answer.callback([])
            self.clock.advance(module.INTERVAL / 10)
        self.assertIn(len(self.profiles.queries), (2, 3))

    def test_waiting_is_limited(self) -> None:
        waiting = self.look_up("+4930")
        self.clock.advance(module.TIMEOUT)
        self.successResultOf(waiting)
        self.profiles.answers[0].callback([])  # too late, without an error

    def test_failure_ends_the_waiting(self) -> None:
        for error in (StoreUnavailable("PostgreSQL is unavailable"), ValueError("a defect")):
            with subtest(error):
                waiting = self.look_up("+4930")
                self.profiles.answers[-1].errback(error)
                self.successResultOf(waiting)
                self.clock.advance(module.INTERVAL)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(len(self.profiles.queries), 2)
