"""Tests of voxrec.composition.readiness."""

import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from twisted.internet.defer import ensureDeferred, execute
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from voxrec.composition.readiness import (
    AmiProbe,
    AnnouncementProbe,
    ArchiveProbe,
    AsteriskProbe,
    DatabaseProbe,
    RememberedProbe,
    SpoolProbe,
)
from voxrec.errors import StoreUnavailable


class FakePool:
    def __init__(self, *, ready: bool = True, responds: bool = True) -> None:
        self.ready = ready
        self.responds = responds

    async def ping(self) -> None:
        if not self.responds:
            raise StoreUnavailable("no response")


class FakeProfiles:
    def __init__(self, *, confirmed: bool = True, loaded: bool = True) -> None:
        self.confirmed = confirmed
        self.loaded = loaded


class FakeAmi:
    def __init__(self, problem: str | None) -> None:
        self.problem = problem


class FakeSession:
    def __init__(self, *, version: str | None, replaced: bool = False) -> None:
        self.version = version
        self.replaced = replaced


class DatabaseProbeTests(SynchronousTestCase):
    def check(self, pool: FakePool, *, confirmed: bool = True, loaded: bool = True) -> str | None:
        probe = DatabaseProbe(pool, FakeProfiles(confirmed=confirmed, loaded=loaded))
        return self.successResultOf(ensureDeferred(probe()))

    def test_ready(self) -> None:
        self.assertIsNone(self.check(FakePool()))

    def test_without_a_connection(self) -> None:
        self.assertEqual(self.check(FakePool(ready=False, responds=False)), "PostgreSQL is unreachable")

    def test_without_a_connection_and_without_profiles(self) -> None:
        self.assertEqual(
            self.check(FakePool(ready=False), confirmed=False, loaded=False),
            "PostgreSQL is unreachable, and no Profiles are known: new calls are refused",
        )

    def test_before_the_profiles_were_read(self) -> None:
        self.assertEqual(self.check(FakePool(), confirmed=False), "the Profiles have not been read yet")

    def test_a_database_that_does_not_respond(self) -> None:
        probe = DatabaseProbe(FakePool(responds=False), FakeProfiles())
        self.failureResultOf(ensureDeferred(probe()), StoreUnavailable)


class AmiProbeTests(SynchronousTestCase):
    def check(self, problem: str | None) -> str | None:
        return self.successResultOf(ensureDeferred(AmiProbe(FakeAmi(problem))()))

    def test_ready(self) -> None:
        self.assertIsNone(self.check(None))

    def test_not_ready(self) -> None:
        self.assertEqual(self.check("the login was refused"), "calls cannot be recorded: the login was refused")


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


class FakeCheck:
    def __init__(self, playable: bool | None) -> None:
        self.playable = playable


class Usage(NamedTuple):
    free: int


def run_at_once(work: Any, /, *args: Any, **kwargs: Any) -> Any:
    return execute(work, *args, **kwargs)


class AnnouncementProbeTests(SynchronousTestCase):
    def test_each_state(self) -> None:
        for playable, expected in (
            (True, None),
            (False, "Asterisk cannot play the default"),
            (None, "not been checked"),
        ):
            reason = self.successResultOf(ensureDeferred(AnnouncementProbe(FakeCheck(playable))()))
            if expected is None:
                self.assertIsNone(reason)
            else:
                self.assertIn(expected, str(reason))


class ArchiveProbeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        self.root.mkdir()

    def check(self) -> str:
        probe = ArchiveProbe(self.root, self.root / ".work", run_at_once)
        return str(self.successResultOf(ensureDeferred(probe())))

    def test_ready(self) -> None:
        self.assertEqual(self.check(), "None")
        self.assertEqual([path.name for path in self.root.rglob("*")], [".work"])

    def test_missing(self) -> None:
        self.root.rmdir()
        self.assertIn("does not exist; its file system may not be mounted", self.check())

    def test_not_writable(self) -> None:
        (self.root / ".work").write_text("a file in place of the directory")
        self.assertEqual(self.check(), "the archive is not writable: Not a directory")

    def test_full_file_system(self) -> None:
        self.patch(shutil, "disk_usage", lambda _path: Usage(99_999_999))
        self.assertEqual(self.check(), "the archive has 99999999 bytes free; at least 100000000 are required")


class SpoolProbeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.spool = Path(self.mktemp())
        self.spool.mkdir()

    def check(self, floor: int = 0) -> str:
        return str(self.successResultOf(ensureDeferred(SpoolProbe(self.spool, lambda: floor, run_at_once)())))

    def test_ready(self) -> None:
        self.assertEqual(self.check(), "None")

    def test_missing(self) -> None:
        self.spool.rmdir()
        self.assertIn("does not exist; its file system may not be mounted", self.check())

    def test_not_writable(self) -> None:
        self.patch(os, "access", lambda path, mode: path != self.spool or mode != os.R_OK | os.W_OK | os.X_OK)
        self.assertEqual(self.check(), "Asterisk's recording directory is not readable and writable for voxrec")

    def test_too_little_space(self) -> None:
        self.assertIn("bytes free; at least 1152921504606846976 are required", self.check(1 << 60))


class RememberedProbeTests(SynchronousTestCase):
    def test_the_probe_is_repeated_after_five_seconds(self) -> None:
        clock, results = Clock(), iter(["full", None])

        async def probe() -> str | None:
            return next(results)

        remembered = RememberedProbe(clock, probe)
        self.assertEqual(self.successResultOf(ensureDeferred(remembered())), "full")
        clock.advance(4.9)
        self.assertEqual(self.successResultOf(ensureDeferred(remembered())), "full")
        clock.advance(0.1)
        self.assertIsNone(self.successResultOf(ensureDeferred(remembered())))
