"""Tests of voxrec.calls.call_service."""

from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from voxrec.calls.call_service import CallService, DetachAtStop, DrainAtStop


class FakeProfiles:
    """Profiles that are loaded, or not in time, when ``waiting`` fires."""

    def __init__(self) -> None:
        self.loaded = False
        self.waiting: Deferred[None] = Deferred()

    async def when_loaded(self, timeout: float, /) -> None:
        await self.waiting


class FakeConnection(Service):
    def __init__(self, log: list[str]) -> None:
        self.log = log

    def startService(self) -> None:
        super().startService()
        self.log.append("connect")

    def stopService(self) -> None:
        super().stopService()
        self.log.append("disconnect")


class FakeLiveCalls:
    """Live calls and their admission; there are calls until ``waiting`` fires."""

    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.count = 0
        self.waiting: list[Deferred[None]] = []

    def __len__(self) -> int:
        return self.count

    def detach_all(self) -> None:
        self.log.append("detach")

    def refuse_new_calls(self) -> None:
        self.log.append("refuse new calls")

    def release_all(self) -> None:
        self.log.append("hang up")

    def when_empty(self) -> Deferred[None]:
        self.waiting.append(Deferred())
        return self.waiting[-1]


class CallServiceTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.log: list[str] = []
        self.connection = FakeConnection(self.log)
        self.live_calls: Any = FakeLiveCalls(self.log)
        self.profiles = FakeProfiles()


class CallServiceTests(CallServiceTestCase):
    def test_it_connects_once_the_profiles_are_loaded(self) -> None:
        service = CallService(self.connection, self.profiles, DetachAtStop(self.connection, self.live_calls))
        starting = service.startService()
        self.assertEqual(self.log, [])
        self.profiles.loaded = True
        with capturedLogs() as logs:
            self.profiles.waiting.callback(None)
        self.successResultOf(starting)
        self.assertEqual((self.log, logs), (["connect"], []))

    def test_it_connects_without_profiles_since_calls_may_be_in_progress(self) -> None:
        service = CallService(self.connection, self.profiles, DetachAtStop(self.connection, self.live_calls))
        starting = service.startService()
        with capturedLogs() as logs:
            self.profiles.waiting.callback(None)
        self.successResultOf(starting)
        self.assertEqual(self.log, ["connect"])
        (event,) = logs
        self.assertIn("no Profiles are known", str(formatEvent(event)))

    def test_it_applies_the_stop_policy(self) -> None:
        service = CallService(self.connection, self.profiles, DetachAtStop(self.connection, self.live_calls))
        self.successResultOf(service.stopService())
        self.assertEqual(self.log, ["disconnect", "detach"])


class DrainAtStopTests(CallServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.live_calls.count = 1
        self.offered: Deferred[bool] = succeed(False)

    def stop(self) -> Deferred[None]:
        return Deferred.fromCoroutine(
            DrainAtStop(self.clock, self.connection, self.live_calls, self.live_calls, 30, self.hand_over).stop()
        )

    async def hand_over(self) -> bool:
        self.log.append("offer")
        return await self.offered

    def test_a_standby_gets_the_calls(self) -> None:
        """Until it is known whether there is one, new calls are accepted."""
        self.offered = Deferred()
        stopping = self.stop()
        self.assertEqual(self.log, ["offer"])
        self.offered.callback(True)
        self.successResultOf(stopping)
        self.assertEqual(self.log, ["offer", "disconnect", "detach"])

    def test_without_calls_nothing_is_handed_over(self) -> None:
        self.live_calls.count = 0
        stopping = self.stop()
        self.live_calls.waiting[0].callback(None)
        self.successResultOf(stopping)
        self.assertEqual(self.log, ["refuse new calls", "disconnect"])

    def test_calls_that_end_within_the_grace_time(self) -> None:
        stopping = self.stop()
        self.clock.advance(29)
        self.live_calls.waiting[0].callback(None)
        self.successResultOf(stopping)
        self.assertEqual(self.log, ["offer", "refuse new calls", "disconnect"])

    def test_calls_that_do_not_end_are_hung_up(self) -> None:
        stopping = self.stop()
        self.clock.advance(30)
        self.assertEqual(self.log, ["offer", "refuse new calls", "hang up"])
        self.live_calls.waiting[1].callback(None)
        self.successResultOf(stopping)
        self.assertEqual(self.log[3:], ["disconnect"])

    def test_calls_that_cannot_be_hung_up_do_not_prevent_the_stop(self) -> None:
        stopping = self.stop()
        self.clock.pump([30, 15])
        self.successResultOf(stopping)
