"""Runs the checks of a Profile at the same time, each within a time limit, and collects their results."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxrec.clock import utc_now
from voxrec.deferreds import gather
from voxrec.errors import VoxrecError
from voxrec.model import CheckName, CheckState, Profile, ProfileCheck, ProfileCheckResult
from voxrec.model.profile_check import worst_state
from voxrec.sanitize import sanitize_line

TIME_LIMIT: Final = 10.0  # seconds for each check

Check = Callable[[Profile], Awaitable[Sequence[ProfileCheck]]]
"""Examines one thing, and returns a row for each target. What it raises is the detail of a failed row."""


class ProfileChecker:
    """Tests Profiles with the resources of this node."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, node: str, checks: Mapping[CheckName, Check]) -> None:
        self._clock = clock
        self._node = node
        self._checks = checks

    async def check(self, profile: Profile) -> ProfileCheckResult:
        """Run all checks and return their results, in the order of the checks. Does not raise."""
        results = await gather(*(self._limited(name, check, profile) for name, check in self._checks.items()))
        rows = tuple(row for rows in results for row in rows)
        return ProfileCheckResult(
            profile_id=profile.id,
            node=self._node,
            checked_at=utc_now(self._clock),
            state=worst_state(rows),
            checks=rows,
        )

    async def _limited(self, name: CheckName, check: Check, profile: Profile) -> list[ProfileCheck]:
        started = self._clock.seconds()
        rows = await self._within_limit(name, check, profile)
        seconds = round(self._clock.seconds() - started, 3)
        return [row if row.seconds else msgspec.structs.replace(row, seconds=seconds) for row in rows]

    def _within_limit(self, name: CheckName, check: Check, profile: Profile) -> Deferred[Sequence[ProfileCheck]]:
        """Return the rows of a check, or one that says that it exceeded its limit, without waiting for its end."""
        outcome: Deferred[Sequence[ProfileCheck]] = Deferred()
        running = Deferred.fromCoroutine(self._run(name, check, profile))

        def expired() -> None:
            outcome.callback([_failed(name, f"no result within {TIME_LIMIT:g} s")])
            running.cancel()

        timer = self._clock.callLater(TIME_LIMIT, expired)

        def finished(result: Sequence[ProfileCheck] | Failure) -> None:
            if timer.active():
                timer.cancel()
                outcome.callback(result)  # a failure would be a defect; `_run` catches what checks raise

        running.addBoth(finished)
        return outcome

    async def _run(self, name: CheckName, check: Check, profile: Profile) -> Sequence[ProfileCheck]:
        try:
            return await check(profile)
        except CancelledError:
            return []  # `expired` has returned the row
        except VoxrecError as error:
            return [_failed(name, error.detail)]
        except Exception as error:
            self._log.failure("the check {name} of profile {profile} failed", name=name, profile=profile.id)
            return [_failed(name, f"{type(error).__name__}: {error}")]


def _failed(name: CheckName, detail: str) -> ProfileCheck:
    return ProfileCheck(name=name, state=CheckState.FAILED, detail=sanitize_line(detail))
