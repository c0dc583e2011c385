"""The jobs table in memory, with the semantics of the real one."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
from twisted.internet.task import Clock

from voxrec.errors import StoreUnavailable
from voxrec.model import Job, JobKind, JobState
from voxrec.store.jobs import Claimed


class Queue:
    """Rows by the number that is their id; ``down`` makes everything fail as it does without PostgreSQL."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.rows: dict[int, Job] = {}
        self.leases: dict[int, datetime] = {}
        self.finished: list[int] = []
        self.claims = 0
        self.down = False

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.seconds(), UTC)

    def add(self, kind: JobKind = JobKind.MAIL, *, within: float = 0, attempts: int = 0) -> int:
        number = len(self.rows) + len(self.finished) + 1
        self.rows[number] = Job(
            id=UUID(int=number),
            kind=kind,
            recording_id=UUID(int=number),
            state=JobState.PENDING,
            attempts=attempts,
            due_at=self.now + timedelta(seconds=within),
            created_at=self.now,
        )
        return number

    async def claim(self, kinds: Collection[JobKind], lease: timedelta, limit: int) -> Claimed:
        self._ask()
        self.claims += 1
        alive = [job for job in self.rows.values() if job.kind in kinds and job.state is not JobState.DEAD]
        free = [job for job in alive if job.due_at <= self.now and not self._is_leased(job)]
        taken = sorted(free, key=lambda job: (job.due_at, job.id))[:limit]
        others = [job for job in alive if job not in taken] if len(taken) < limit else []
        next_due = min((max(job.due_at, self.leases.get(job.id.int, job.due_at)) for job in others), default=None)
        return Claimed([self._take(job, lease) for job in taken], next_due)

    def _take(self, job: Job, lease: timedelta) -> Job:
        self.leases[job.id.int] = self.now + lease
        self.rows[job.id.int] = claimed = msgspec.structs.replace(job, attempts=job.attempts + 1)
        return claimed

    async def extend(self, job: Job, lease: timedelta) -> bool:
        if ours := self._is_ours(job):
            self.leases[job.id.int] = self.now + lease
        return ours

    async def done(self, job: Job) -> bool:
        if ours := self._is_ours(job):
            del self.leases[job.id.int], self.rows[job.id.int]
            self.finished.append(job.id.int)
        return ours

    async def retry(self, job: Job, error: str, due_at: datetime) -> bool:
        return self._give_back(job, msgspec.structs.replace(job, last_error=error, due_at=due_at))

    async def bury(self, job: Job, error: str) -> bool:
        return self._give_back(job, msgspec.structs.replace(job, last_error=error, state=JobState.DEAD))

    def _give_back(self, job: Job, changed: Job) -> bool:
        if ours := self._is_ours(job):
            del self.leases[job.id.int]
            self.rows[job.id.int] = changed
        return ours

    def _is_ours(self, job: Job) -> bool:
        self._ask()
        return job.id.int in self.leases and self.rows[job.id.int].attempts == job.attempts

    def _is_leased(self, job: Job) -> bool:
        return job.id.int in self.leases and self.leases[job.id.int] > self.now

    def _ask(self) -> None:
        if self.down:
            raise StoreUnavailable("PostgreSQL does not answer: connection\nrefused")
