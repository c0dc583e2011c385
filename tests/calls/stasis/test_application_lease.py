"""Tests of voxrec.calls.stasis.application_lease."""

import os
import subprocess
import sys
from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase

from voxrec.calls.stasis.application_lease import (
    EXPIRY,
    INTERRUPTION,
    RENEW_INTERVAL,
    ApplicationLease,
    LocalHolder,
)
from voxrec.errors import AsteriskUnavailable


class Variables:
    """The global variables of Asterisk, which responds after 10 ms, and has failed while ``failed`` is true.

    While it is interrupted, it responds when ``interrupted`` fires.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.values: dict[str, str] = {}
        self.failed = False
        self.interrupted: Deferred[None] | None = None

    async def get_global_variable(self, name: str) -> str:
        if self.failed:
            raise AsteriskUnavailable("no response")
        value = self.values.get(name, "")
        await (deferLater(self._clock, 0.01) if self.interrupted is None else self.interrupted)
        return value

    def set_global_variable(self, name: str, value: str) -> Deferred[None]:
        self.values[name] = value
        return succeed(None)


class LeaseTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.asterisk = Variables(self.clock)
        self.lost: list[str] = []

    def make(self, holder: str, is_dead: Callable[[str], bool] = lambda _holder: False) -> ApplicationLease:
        return ApplicationLease(
            self.clock,
            self.asterisk,
            "voxrec-1",
            lambda: self.lost.append(holder),
            holder=holder,
            is_dead=is_dead,
        )

    def acquire(self, lease: ApplicationLease) -> Deferred[None]:
        return Deferred.fromCoroutine(lease.acquire())

    def start(self, holder: str) -> ApplicationLease:
        lease = self.make(holder)
        acquired = self.acquire(lease)
        self.pass_time(0.2)
        self.successResultOf(acquired)
        self.addCleanup(lease.stop_renewal)
        return lease

    def pass_time(self, seconds: float) -> None:
        self.clock.pump([0.01] * round(seconds / 0.01))


class LeaseTests(LeaseTestCase):
    def test_a_single_process_is_active_soon(self) -> None:
        lease = self.start("a")
        self.assertFalse(lease.standby)
        self.assertEqual(self.asterisk.values, {"VOXREC_LEASE_voxrec_1": "a 1"})

    def test_the_second_one_stands_by_while_the_first_renews(self) -> None:
        self.start("a")
        second = self.make("b")
        acquired = self.acquire(second)
        self.pass_time(60)
        self.assertNoResult(acquired)
        self.assertTrue(second.standby)
        self.assertEqual(self.lost, [])
        acquired.addErrback(lambda _: None)
        acquired.cancel()

    def test_it_takes_over_within_two_seconds_after_the_last_renewal(self) -> None:
        first = self.start("a")
        second = self.make("b")
        acquired = self.acquire(second)
        self.pass_time(5)
        first.stop_renewal()
        self.pass_time(EXPIRY - RENEW_INTERVAL)
        self.assertNoResult(acquired)
        self.pass_time(2.0 - EXPIRY + RENEW_INTERVAL)
        self.successResultOf(acquired)
        self.assertFalse(second.standby)
        second.stop_renewal()

    def test_it_takes_over_at_once_from_a_process_that_has_died(self) -> None:
        first = self.start("a")
        first.stop_renewal()
        second = self.make("b", "a".__eq__)
        acquired = self.acquire(second)
        self.pass_time(0.2)
        self.successResultOf(acquired)
        second.stop_renewal()

    def test_it_takes_over_at_once_after_a_release(self) -> None:
        first = self.start("a")
        second = self.make("b")
        acquired = self.acquire(second)
        self.pass_time(3)
        released = Deferred.fromCoroutine(first.release())
        self.pass_time(0.05)
        self.successResultOf(released)
        self.pass_time(0.4)
        self.successResultOf(acquired)
        second.stop_renewal()

    def test_a_process_that_is_not_active_releases_nothing(self) -> None:
        self.start("a")
        second = self.make("b")
        self.successResultOf(Deferred.fromCoroutine(second.release()))
        self.assertEqual(self.asterisk.values["VOXREC_LEASE_voxrec_1"].split()[0], "a")

    def test_of_two_that_begin_at_the_same_time_one_is_active(self) -> None:
        leases = [self.make(name) for name in "abc"]
        acquired = [self.acquire(lease) for lease in leases]
        self.pass_time(10)
        self.assertEqual([deferred.called for deferred in acquired], [False, False, True])
        self.assertEqual([lease.standby for lease in leases], [True, True, False])
        for deferred in acquired[:2]:
            deferred.addErrback(lambda _: None)
            deferred.cancel()
        leases[2].stop_renewal()

    def test_a_process_that_was_stopped_notices_that_another_one_is_active(self) -> None:
        self.start("a")
        self.asterisk.values["VOXREC_LEASE_voxrec_1"] = "b 7"
        self.pass_time(1)
        self.assertEqual(self.lost, ["a"])
        self.assertEqual(self.asterisk.values["VOXREC_LEASE_voxrec_1"], "b 7")

    def test_a_reconnect_does_not_wait(self) -> None:
        lease = self.start("a")
        acquired = self.acquire(lease)
        self.pass_time(0.01)
        self.successResultOf(acquired)

    def test_asterisk_fails_and_forgets_the_lease(self) -> None:
        lease = self.start("a")
        self.asterisk.failed = True
        self.pass_time(3)
        self.failureResultOf(self.acquire(lease), AsteriskUnavailable)
        self.asterisk.failed = False
        self.asterisk.values.clear()
        acquired = self.acquire(lease)
        self.pass_time(0.2)
        self.successResultOf(acquired)
        self.assertEqual(self.lost, [])


NO_RESPONSE = 2.0
"""As in etc/kamailio/kamailio.cfg: seconds after which a SIP proxy passes a call to another node."""


class InterruptionTests(LeaseTestCase):
    def test_a_process_that_runs_was_not_interrupted(self) -> None:
        lease = self.start("a")
        for _ in range(50):
            self.pass_time(0.1)
            self.assertFalse(lease.was_interrupted)

    def test_asterisk_was_interrupted(self) -> None:
        """Until the first renewal that began afterwards: what Asterisk reports at first may be as old."""
        lease = self.start("a")
        self.asterisk.interrupted = Deferred()
        self.pass_time(INTERRUPTION - RENEW_INTERVAL - 0.1)
        self.assertFalse(lease.was_interrupted)
        self.pass_time(NO_RESPONSE - INTERRUPTION + RENEW_INTERVAL + 0.1)
        self.assertTrue(lease.was_interrupted)
        interrupted, self.asterisk.interrupted = self.asterisk.interrupted, None
        interrupted.callback(None)
        self.assertTrue(lease.was_interrupted)
        self.pass_time(RENEW_INTERVAL + 0.1)
        self.assertFalse(lease.was_interrupted)

    def test_this_process_was_interrupted(self) -> None:
        """An event that waited is handled before the timers."""
        lease = self.start("a")
        found: list[bool] = []
        self.clock.callLater(RENEW_INTERVAL / 100, lambda: found.append(lease.was_interrupted))
        self.clock.advance(3)
        self.pass_time(RENEW_INTERVAL + 0.1)
        self.assertEqual((found, lease.was_interrupted), ([True], False))

    def test_callers_who_have_waited_for_this_process_are_not_late(self) -> None:
        first = self.start("a")
        second = self.make("b")
        acquired = self.acquire(second)
        self.pass_time(5)
        first.stop_renewal()
        self.pass_time(2)
        self.successResultOf(acquired)
        self.assertFalse(second.was_interrupted)
        second.stop_renewal()


class LocalHolderTests(SynchronousTestCase):
    def test_this_process_lives(self) -> None:
        holder = LocalHolder()
        self.assertFalse(LocalHolder().is_dead(holder.id))

    def test_a_process_that_has_ended(self) -> None:
        program = "from voxrec.calls.stasis.application_lease import LocalHolder; print(LocalHolder().id)"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
        self.assertTrue(LocalHolder().is_dead(done.stdout.strip()))

    def test_the_number_of_a_process_was_used_again(self) -> None:
        machine = LocalHolder().id.partition("/")[0]
        self.assertTrue(LocalHolder().is_dead(f"{machine}/{os.getpid()}.1/x"))

    def test_processes_of_other_machines_are_not_known_to_be_dead(self) -> None:
        for holder in ("other/1.1/x", "", "x", "a/b/c", f"{LocalHolder().id.partition('/')[0]}/x/y"):
            self.assertFalse(LocalHolder().is_dead(holder), holder)
