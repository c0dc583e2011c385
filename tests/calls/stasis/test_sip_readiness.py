"""Tests of voxrec.calls.stasis.sip_readiness."""

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from voxrec.calls.stasis.sip_readiness import RENEW_INTERVAL, SipReadiness
from voxrec.errors import AsteriskUnavailable

VARIABLE = "VOXREC_READY_voxrec_1"


class Asterisk:
    """The global variables of an Asterisk whose clock is not that of this host, and which can be unavailable."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.variables: dict[str, str] = {}
        self.values: list[str] = []  # in the order in which they were set
        self.available = True

    async def get_global_variable(self, name: str) -> str:
        if not self.available:
            raise AsteriskUnavailable("no response")
        return str(int(self._clock.seconds()) + 5000) if name == "EPOCH" else self.variables.get(name, "")

    def set_global_variable(self, name: str, value: str) -> Deferred[None]:
        self.variables[name] = value
        self.values.append(value)
        return succeed(None)


class SipReadinessTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.asterisk = Asterisk(self.clock)
        self.ready = True
        self.owner = True
        self.readiness = self.make(self.is_ready)
        self.readiness.startService()
        self.addCleanup(self.readiness.stopService)

    def make(self, is_ready: object) -> SipReadiness:
        return SipReadiness(self.clock, self.asterisk, "voxrec-1", is_ready, lambda: self.owner)  # type: ignore[arg-type]

    async def is_ready(self) -> bool:
        return self.ready

    @property
    def reported(self) -> str | None:
        return self.asterisk.variables.get(VARIABLE)

    def test_the_time_of_asterisk_is_stored_every_second_while_ready(self) -> None:
        self.assertEqual(self.reported, "5000")
        self.clock.advance(RENEW_INTERVAL)
        self.assertEqual(self.reported, "5001")

    def test_it_is_withdrawn_when_the_process_is_not_ready_any_more(self) -> None:
        self.ready = False
        self.readiness.refresh()
        self.assertEqual(self.reported, "")
        self.asterisk.variables[VARIABLE] = "of another process"
        self.clock.advance(RENEW_INTERVAL)
        self.assertEqual(self.reported, "of another process", "it was withdrawn again")

    def test_it_is_withdrawn_when_the_process_stops(self) -> None:
        self.successResultOf(self.readiness.stopService())
        self.assertEqual(self.reported, "")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_stop_during_a_check_reports_nothing_afterwards(self) -> None:
        check: Deferred[bool] = Deferred()
        readiness = self.make(lambda: check)
        self.asterisk.variables.clear()
        readiness.startService()
        stopped = readiness.stopService()
        self.assertNoResult(stopped)
        check.callback(True)
        self.successResultOf(stopped)
        self.assertIsNone(self.reported)

    def test_the_time_is_that_of_the_begin_of_a_check(self) -> None:
        check: Deferred[bool] = Deferred()
        readiness = self.make(lambda: check)
        self.readiness.stopService()
        readiness.startService()
        self.addCleanup(readiness.stopService)
        self.asterisk.values.clear()
        self.clock.advance(2.5)
        check.callback(True)
        self.assertEqual(self.asterisk.values[0], "5000")

    def test_a_process_that_stands_by_changes_nothing(self) -> None:
        self.owner = False
        self.asterisk.variables[VARIABLE] = "of the active process"
        self.clock.advance(RENEW_INTERVAL)
        self.successResultOf(self.readiness.stopService())
        self.assertEqual(self.reported, "of the active process")

    def test_it_continues_after_asterisk_was_unavailable(self) -> None:
        self.asterisk.available = False
        self.clock.advance(RENEW_INTERVAL)
        self.asterisk.available = True
        self.clock.advance(RENEW_INTERVAL)
        self.assertEqual(self.reported, "5002")
