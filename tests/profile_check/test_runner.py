"""Tests of voxrec.profile_check.runner: order, time limits and errors of checks."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from voxrec.errors import StoreUnavailable
from voxrec.model import CheckName, CheckState, Profile, ProfileCheck, ProfileCheckResult
from voxrec.profile_check.runner import TIME_LIMIT, Check, ProfileChecker

NOW = datetime(2026, 5, 1, tzinfo=UTC)
PROFILE = Profile(id=UUID("b2d2c7f0-7b83-4c57-9a51-2d3f2a9a6c11"), created_at=NOW, updated_at=NOW)


def row(name: CheckName, state: CheckState = CheckState.OK, **fields: object) -> ProfileCheck:
    return ProfileCheck(name=name, state=state, detail="as expected", **fields)  # type: ignore[arg-type]


class RunnerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def check(self, **checks: Check) -> "Deferred[ProfileCheckResult]":
        named = {CheckName[name.upper()]: check for name, check in checks.items()}
        return Deferred.fromCoroutine(ProfileChecker(self.clock, "pbx-1", named).check(PROFILE))

    async def succeed(self, _profile: Profile) -> Sequence[ProfileCheck]:
        return [row(CheckName.ARCHIVE)]

    def test_rows_have_the_order_of_the_checks_and_the_worst_state(self) -> None:
        waiting: Deferred[None] = Deferred()

        async def slow(_profile: Profile) -> Sequence[ProfileCheck]:
            await waiting
            return [row(CheckName.MAILBOX), row(CheckName.MAILBOX, CheckState.WARNING, seconds=0.1)]

        result = self.check(mailbox=slow, archive=self.succeed)
        self.clock.advance(2)
        self.assertNoResult(result)
        waiting.callback(None)
        found = self.successResultOf(result)
        self.assertEqual(
            [(each.name, each.state, each.seconds) for each in found.checks],
            [("mailbox", "ok", 2.0), ("mailbox", "warning", 0.1), ("archive", "ok", 0.0)],
        )
        self.assertEqual((found.state, found.node, found.profile_id), (CheckState.WARNING, "pbx-1", PROFILE.id))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_checks_run_at_the_same_time_and_end_at_their_limit(self) -> None:
        cancelled: list[str] = []

        def never(name: str) -> Check:
            async def check(_profile: Profile) -> Sequence[ProfileCheck]:
                await Deferred(lambda _: cancelled.append(name))
                return []

            return check

        result = self.check(target=never("target"), webhook=never("webhook"), archive=self.succeed)
        self.clock.advance(TIME_LIMIT)
        found = self.successResultOf(result)
        self.assertEqual(
            [(each.state, each.detail) for each in found.checks],
            [("failed", "no result within 10 s")] * 2 + [("ok", "as expected")],
        )
        self.assertEqual(cancelled, ["target", "webhook"])

    def test_a_check_that_does_not_react_to_cancellation_does_not_prolong_the_test(self) -> None:
        stuck: Deferred[None] = Deferred()

        async def check(_profile: Profile) -> Sequence[ProfileCheck]:
            try:
                await Deferred()
            finally:
                await stuck  # such as a request that removes what the check made
            return []

        result = self.check(target=check)
        self.clock.advance(TIME_LIMIT)
        self.assertEqual(self.successResultOf(result).state, CheckState.FAILED)
        stuck.callback(None)  # the late end is ignored

    def test_errors_are_rows(self) -> None:
        async def unavailable(_profile: Profile) -> Sequence[ProfileCheck]:
            raise StoreUnavailable("PostgreSQL is\nunreachable")

        async def defect(_profile: Profile) -> Sequence[ProfileCheck]:
            raise ZeroDivisionError("division by zero")

        found = self.successResultOf(self.check(webhook=unavailable, prompt=defect))
        self.assertEqual([each.state for each in found.checks], [CheckState.FAILED] * 2)
        self.assertNotIn("\n", found.checks[0].detail)
        self.assertIn("unreachable", found.checks[0].detail)
        self.assertEqual(found.checks[1].detail, "ZeroDivisionError: division by zero")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
