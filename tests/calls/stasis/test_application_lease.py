"""Tests of voxrec.calls.stasis.application_lease."""

import os
import subprocess
import sys
from collections.abc import Callable
from itertools import permutations

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock, deferLater
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from voxrec.calls.stasis.application_lease import (
    EXPIRY,
    HEAD_START,
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

    def make(
        self,
        holder: str,
        is_dead: Callable[[str], bool] = lambda _holder: False,
        has_profiles: Callable[[], bool] = lambda: True,
    ) -> ApplicationLease:
        return ApplicationLease(
            self.clock,
            self.asterisk,
            "voxrec-1",
            lambda: self.lost.append(holder),
            holder=holder,
            is_dead=is_dead,
            has_profiles=has_profiles,
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

    def offer(self, lease: ApplicationLease) -> Deferred[bool]:
        return Deferred.fromCoroutine(lease.offer())

    def test_a_standby_takes_a_lease_that_is_offered(self) -> None:
        first = self.start("a")
        for phase in range(0, 25, 5):  # of the standby's looks at the lease
            second = self.make(f"b{phase}")
            acquired = self.acquire(second)
            self.pass_time(1 + phase / 100)
            offered = self.offer(first)
            self.pass_time(0.7)
            self.assertTrue(self.successResultOf(offered))
            self.successResultOf(acquired)
            self.assertFalse(first.held)
            first = second
        self.assertEqual(self.lost, [])
        first.stop_renewal()

    def test_a_lease_that_is_offered_in_vain_is_kept(self) -> None:
        """A process without Profiles does not take it."""
        first = self.start("a")
        second = self.make("b", has_profiles=lambda: False)
        acquired = self.acquire(second)
        self.pass_time(3)
        offered = self.offer(first)
        self.pass_time(1.3)
        self.assertFalse(self.successResultOf(offered))
        self.pass_time(10)
        self.assertNoResult(acquired)
        self.assertTrue(first.held)
        self.assertFalse(first.was_interrupted)
        self.assertEqual(self.lost, [])
        acquired.addErrback(lambda _: None)
        acquired.cancel()

    def test_a_lease_that_cannot_be_offered_is_kept(self) -> None:
        lease = self.start("a")
        self.asterisk.failed = True
        self.assertFalse(self.successResultOf(self.offer(lease)))
        self.asterisk.failed = False
        self.pass_time(1)
        self.assertTrue(lease.held)
        self.assertTrue(self.asterisk.values["VOXREC_LEASE_voxrec_1"].startswith("a "))

    def test_a_process_that_does_not_have_the_lease_offers_nothing(self) -> None:
        self.start("a")
        self.assertFalse(self.successResultOf(self.offer(self.make("b"))))
        self.assertTrue(self.asterisk.values["VOXREC_LEASE_voxrec_1"].startswith("a "))

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


class Process:
    """A process with a lease: it stands by when it has lost the lease, as `StasisSession` lets it do.

    ``profiles``: whether it knows Profiles.
    """

    def __init__(self, name: str, clock: Clock, variables: Variables, dead: set[str], *, profiles: bool) -> None:
        self.name = name
        self.profiles = profiles
        self.losses = 0
        self.failures: list[Failure] = []
        self._dead = dead
        self._acquiring: Deferred[None] | None = None
        self.lease = ApplicationLease(
            clock,
            variables,
            "voxrec-1",
            self._lost,
            holder=name,
            is_dead=dead.__contains__,
            has_profiles=lambda: self.profiles,
        )

    def start(self) -> None:
        self._acquiring = Deferred.fromCoroutine(self.lease.acquire()).addErrback(self._failed)

    def kill(self, *, noticed: bool = True) -> None:
        """End without a release; ``noticed``: the others see that it has died."""
        self.stop_waiting()
        self.lease.stop_renewal()
        if noticed:
            self._dead.add(self.name)

    def release(self) -> None:
        self.stop_waiting()
        Deferred.fromCoroutine(self.lease.release()).addErrback(self._failed)

    def stop_waiting(self) -> None:
        acquiring, self._acquiring = self._acquiring, None
        if acquiring is not None:
            acquiring.cancel()

    def _lost(self) -> None:
        self.losses += 1
        self.start()

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self.failures.append(failure)


class ProfilesTests(SynchronousTestCase):
    """Processes with and without Profiles: one that could accept no call leaves the lease to one that can."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.asterisk = Variables(self.clock)
        self.dead: set[str] = set()
        self.processes: dict[str, Process] = {}

    def tearDown(self) -> None:
        self.end()

    def end(self) -> None:
        for process in self.processes.values():
            process.stop_waiting()
            process.lease.stop_renewal()
            self.assertEqual(process.failures, [])
        self.pass_time(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.setUp()

    def add(self, name: str, *, profiles: bool) -> Process:
        self.processes[name] = process = Process(name, self.clock, self.asterisk, self.dead, profiles=profiles)
        process.start()
        return process

    def pass_time(self, seconds: float) -> None:
        self.clock.pump([0.01] * round(seconds / 0.01))

    def active(self) -> list[str]:
        """Return the processes that have the lease, as far as they know."""
        return [name for name, process in self.processes.items() if process.lease.held]

    def seconds_until_active(self, name: str, limit: float = 10.0) -> float:
        began = self.clock.seconds()
        while self.active() != [name]:
            self.assertLess(self.clock.seconds() - began, limit, f"{name} is not active, but {self.active()}")
            self.pass_time(0.01)
        return self.clock.seconds() - began

    def test_one_without_profiles_is_active_if_it_is_alone(self) -> None:
        """The calls of a killed process need a controller, and new callers an answer."""
        self.add("none", profiles=False)
        self.assertLess(self.seconds_until_active("none"), HEAD_START + 0.5)
        self.pass_time(60)
        self.assertEqual((self.active(), self.processes["none"].losses), (["none"], 0))

    def test_one_with_profiles_takes_over_at_once_from_one_without(self) -> None:
        without = self.add("none", profiles=False)
        self.pass_time(5)
        self.add("full", profiles=True)
        self.assertLess(self.seconds_until_active("full"), 1.0)
        self.pass_time(60)
        self.assertEqual((self.active(), without.losses, without.lease.standby), (["full"], 1, True))

    def test_a_standby_that_gets_profiles_takes_over_from_one_without(self) -> None:
        """PostgreSQL is available again, and the standby is connected first."""
        first, second = self.add("first", profiles=False), self.add("second", profiles=False)
        self.pass_time(10)
        (active,) = self.active()
        standby = second if active == "first" else first
        self.assertTrue(standby.lease.standby)
        standby.profiles = True
        self.assertLess(self.seconds_until_active(standby.name), 1.0)
        self.processes[active].profiles = True
        self.pass_time(60)
        self.assertEqual((self.active(), first.losses + second.losses), ([standby.name], 1))

    def test_an_active_one_that_gets_profiles_remains_active(self) -> None:
        active = self.add("first", profiles=False)
        self.pass_time(5)
        active.profiles = True
        self.pass_time(1)
        self.add("second", profiles=True)
        self.pass_time(60)
        self.assertEqual((self.active(), active.losses), (["first"], 0))

    def test_one_without_profiles_takes_nothing_from_one_with(self) -> None:
        full = self.add("full", profiles=True)
        self.pass_time(1)
        without = self.add("none", profiles=False)
        self.pass_time(60)
        self.assertEqual((self.active(), full.losses, without.lease.standby), (["full"], 0, True))

    def test_of_all_orders_of_three_the_one_with_profiles_is_active(self) -> None:
        for order in permutations(("full", "none-1", "none-2")):
            for pause in (0.0, 0.05, 3.0):
                for name in order:
                    self.add(name, profiles=name == "full")
                    self.pass_time(pause)
                self.seconds_until_active("full")
                self.pass_time(30)
                losses = {name: process.losses for name, process in self.processes.items()}
                self.assertEqual((self.active(), losses["full"]), (["full"], 0), (order, pause))
                self.end()

    def test_the_active_one_ends_and_a_standby_with_profiles_is_first(self) -> None:
        """However it ends, and whichever of the standbys looks first: no call meets the one without Profiles."""
        ends: dict[str, Callable[[Process], None]] = {
            "killed": Process.kill,
            "vanished": lambda process: process.kill(noticed=False),
            "released": Process.release,
        }
        for label, end in ends.items():
            for offset in range(0, 50, 5):
                active = self.add("active", profiles=True)
                self.pass_time(1)
                without = self.add("none", profiles=False)
                self.pass_time(0.13)
                self.add("full", profiles=True)
                self.pass_time(2 + offset / 100)
                end(active)
                self.assertLess(self.seconds_until_active("full"), 2.0, label)
                self.pass_time(10)
                self.assertEqual((self.active(), without.losses), (["full"], 0), label)
                self.end()

    def test_the_active_one_ends_and_only_standbys_without_profiles_exist(self) -> None:
        """As in a run with random faults: the first process returns with its snapshot while PostgreSQL is away."""
        for end, limit in ((Process.kill, 2.0), (Process.release, 2.0)):
            active = self.add("active", profiles=True)
            self.pass_time(1)
            without = self.add("none", profiles=False)
            self.pass_time(3)
            end(active)
            self.assertLess(self.seconds_until_active("none"), limit)
            self.pass_time(2)
            self.add("returned", profiles=True)
            self.assertLess(self.seconds_until_active("returned"), 1.0)
            self.pass_time(30)
            self.assertEqual((self.active(), without.losses), (["returned"], 1))
            self.end()

    def test_two_with_profiles_take_over_from_one_without(self) -> None:
        """Both see it at the same time; one of them becomes the standby."""
        without = self.add("none", profiles=False)
        self.pass_time(5)
        full = [self.add(name, profiles=True) for name in ("full-1", "full-2")]
        self.pass_time(5)
        (active,) = self.active()
        self.assertIn(active, ("full-1", "full-2"))
        self.assertEqual([process.lease.standby for process in (without, *full)].count(True), 2)
        self.assertEqual(sum(process.losses for process in full), 0)

    def test_the_previous_version_marks_nothing_and_loses_nothing(self) -> None:
        """It writes "<holder> <count>", and compares what is before the first space."""
        self.asterisk.values["VOXREC_LEASE_voxrec_1"] = "old 1"
        self.add("full", profiles=True)
        for count in range(2, 40):
            self.pass_time(RENEW_INTERVAL)
            self.asterisk.values["VOXREC_LEASE_voxrec_1"] = f"old {count}"
        self.assertEqual(self.active(), [])
        self.end()
        self.add("none", profiles=False)
        self.pass_time(5)
        self.assertEqual(self.asterisk.values["VOXREC_LEASE_voxrec_1"].partition(" ")[0], "none")

    def test_the_log_says_why_it_takes_over(self) -> None:
        for profiles, end, reason in (
            (True, Process.kill, "does not respond"),
            (False, None, "knows no Profiles"),
            (True, Process.release, "was stopped"),
        ):
            former = self.add("former", profiles=profiles)
            self.pass_time(3)
            standby = self.add("standby", profiles=end is not None)
            self.pass_time(3)
            with capturedLogs() as events:
                if end is None:
                    standby.profiles = True
                else:
                    end(former)
                self.seconds_until_active("standby")
            texts = [formatEvent(event) or "" for event in events]
            self.assertEqual([text for text in texts if "this one takes over" in text and reason in text], texts[-1:])
            self.end()


class OverwrittenLeaseTests(SynchronousTestCase):
    """A process that was stopped between reading and writing the lease overwrites that of its successor."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.asterisk = Variables(self.clock)

    def yield_lease(self) -> Deferred[bool]:
        lease = ApplicationLease(
            self.clock,
            self.asterisk,
            "voxrec-1",
            lambda: None,
            holder="a",
            is_dead=lambda _: False,
            has_profiles=lambda: True,
        )
        acquired = Deferred.fromCoroutine(lease.acquire())
        self.clock.pump([0.01] * 100)
        self.successResultOf(acquired)
        return Deferred.fromCoroutine(lease.yield_to_another())

    def test_the_successor_takes_it_again(self) -> None:
        yielded = self.yield_lease()
        self.clock.pump([0.01] * 250)
        self.assertNoResult(yielded)
        self.asterisk.values["VOXREC_LEASE_voxrec_1"] = "b 2"
        self.clock.pump([0.01] * 30)
        self.assertTrue(self.successResultOf(yielded))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_another_program_has_no_lease(self) -> None:
        yielded = self.yield_lease()
        self.clock.pump([0.01] * 450)
        self.assertFalse(self.successResultOf(yielded))
        self.assertEqual(self.asterisk.values["VOXREC_LEASE_voxrec_1"], "a 2", "renewed although it was yielded")


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
