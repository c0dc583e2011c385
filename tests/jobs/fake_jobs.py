"""An in-memory jobs repository with the semantics of `voxrec.store.jobs.Jobs`."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
from twisted.internet.task import Clock

from voxrec.errors import InvalidInput, StoreUnavailable
from voxrec.model import Job, JobKind, JobState
from voxrec.store.jobs import ClaimedJobs


class FakeJobs:
    """Jobs by number, from which their ids are made. While ``unavailable`` is true, every method fails."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.rows: dict[int, Job] = {}
        self.leases: dict[int, datetime] = {}
        self.completed: list[int] = []
        self.claims = 0
        self.unavailable = False

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.seconds(), UTC)

    def add(self, kind: JobKind = JobKind.MAIL, *, due_in: float = 0, attempts: int = 0) -> int:
        number = len(self.rows) + len(self.completed) + 1
        self.rows[number] = Job(
            id=UUID(int=number),
            kind=kind,
            recording_id=UUID(int=number),
            state=JobState.PENDING,
            attempts=attempts,
            due_at=self.now + timedelta(seconds=due_in),
            created_at=self.now,
        )
        return number

    def claim_one(self, number: int, lease: timedelta) -> Job:
        job = self.rows[number]
        self.leases[number] = self.now + lease
        self.rows[number] = claimed = msgspec.structs.replace(job, attempts=job.attempts + 1)
        return claimed

    async def claim(self, kinds: Collection[str], lease: timedelta, limit: int) -> ClaimedJobs:
        self._require_available()
        if limit < 0:
            raise InvalidInput("PostgreSQL cannot store this: LIMIT must not be negative")
        self.claims += 1
        alive = [job for job in self.rows.values() if job.kind in kinds and job.state is not JobState.DEAD]
        due = [job for job in alive if job.due_at <= self.now and not self._is_leased(job)]
        claimed = sorted(due, key=lambda job: (job.due_at, job.id))[:limit]
        others = [job for job in alive if job not in claimed] if len(claimed) < limit else []
        next_due = min((max(job.due_at, self.leases.get(job.id.int, job.due_at)) for job in others), default=None)
        return ClaimedJobs([self.claim_one(job.id.int, lease) for job in claimed], next_due)

    async def extend_lease(self, job: Job, lease: timedelta) -> bool:
        if lease_held := self._holds_lease(job):
            self.leases[job.id.int] = self.now + lease
        return lease_held

    async def mark_all_done(self, jobs: Sequence[Job]) -> list[bool]:
        return [await self.mark_done(job) for job in jobs]

    async def mark_done(self, job: Job) -> bool:
        if lease_held := self._holds_lease(job):
            del self.leases[job.id.int], self.rows[job.id.int]
            self.completed.append(job.id.int)
        return lease_held

    async def retry(self, job: Job, error: str, due_at: datetime) -> bool:
        return self._release(job, msgspec.structs.replace(job, last_error=error, due_at=due_at))

    async def dead_letter(self, job: Job, error: str) -> bool:
        return self._release(job, msgspec.structs.replace(job, last_error=error, state=JobState.DEAD))

    def _release(self, job: Job, changed: Job) -> bool:
        if lease_held := self._holds_lease(job):
            del self.leases[job.id.int]
            self.rows[job.id.int] = changed
        return lease_held

    def _holds_lease(self, job: Job) -> bool:
        self._require_available()
        return job.id.int in self.leases and self.rows[job.id.int].attempts == job.attempts

    def _is_leased(self, job: Job) -> bool:
        return job.id.int in self.leases and self.leases[job.id.int] > self.now

    def _require_available(self) -> None:
        if self.unavailable:
            raise StoreUnavailable("PostgreSQL does not answer: connection\nrefused")
