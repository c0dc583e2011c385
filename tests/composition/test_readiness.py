"""Tests of voxrec.composition.readiness."""

from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from voxrec.composition.readiness import AsteriskProbe, DatabaseProbe
from voxrec.errors import StoreUnavailable


class FakePool:
    def __init__(self, *, ready: bool = True, responds: bool = True) -> None:
        self.ready = ready
        self.responds = responds

    async def ping(self) -> None:
        if not self.responds:
            raise StoreUnavailable("no response")


class FakeProfiles:
    def __init__(self, *, confirmed: bool = True) -> None:
        self.confirmed = confirmed


class FakeSession:
    def __init__(self, *, version: str | None, replaced: bool = False) -> None:
        self.version = version
        self.replaced = replaced


class DatabaseProbeTests(SynchronousTestCase):
    def check(self, pool: FakePool, *, confirmed: bool = True) -> str | None:
        probe = DatabaseProbe(pool, FakeProfiles(confirmed=confirmed))
        return self.successResultOf(ensureDeferred(probe()))

    def test_ready(self) -> None:
        self.assertIsNone(self.check(FakePool()))

    def test_without_a_connection(self) -> None:
        self.assertEqual(self.check(FakePool(ready=False, responds=False)), "PostgreSQL is unreachable")

    def test_before_the_profiles_were_read(self) -> None:
        self.assertEqual(self.check(FakePool(), confirmed=False), "the Profiles have not been read yet")

    def test_a_database_that_does_not_respond(self) -> None:
        probe = DatabaseProbe(FakePool(responds=False), FakeProfiles())
        self.failureResultOf(ensureDeferred(probe()), StoreUnavailable)


class AsteriskProbeTests(SynchronousTestCase):
    def check(self, session: FakeSession) -> str | None:
        return self.successResultOf(ensureDeferred(AsteriskProbe(session)()))

    def test_ready(self) -> None:
        self.assertIsNone(self.check(FakeSession(version="22.10.0")))

    def test_disconnected(self) -> None:
        self.assertEqual(self.check(FakeSession(version=None)), "the event websocket is not open")

    def test_replaced(self) -> None:
        reason = self.check(FakeSession(version=None, replaced=True))
        self.assertEqual(reason, "another program has taken over the Stasis application")
