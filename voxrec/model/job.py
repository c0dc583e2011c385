"""Jobs of the durable queue."""

import enum
from datetime import datetime
from uuid import UUID

from msgspec import Struct


class JobKind(enum.StrEnum):
    """Kind of a job."""

    FINISH = "finish"  # produce the audio file of a Recording from the files of both parties
    MAIL = "mail"  # send a completed Recording to the email addresses of its Profile
    ERASE = "erase"  # delete the files of a deleted Recording


class JobState(enum.StrEnum):
    """State of a job."""

    PENDING = "pending"  # due now or later, not claimed
    RUNNING = "running"  # claimed by a worker
    DEAD = "dead"  # no further attempts; lastError contains the reason
    DONE = "done"


class Job(Struct, frozen=True, kw_only=True, rename="camel"):
    """A background task for a Recording: finish, mail or erase.

    ``attempts`` is the number of attempts that were started since the job was created or last restarted. ``dueAt`` is
    the time of the next attempt.
    """

    id: UUID
    kind: JobKind
    recording_id: UUID
    state: JobState
    attempts: int
    due_at: datetime
    last_error: str | None = None
    created_at: datetime
    path: str | None = None  # of the audio of a deleted Recording, relative to the archive; None for other kinds
    claims: int = 0  # the fencing token: a worker that lost its lease has an older value than the row
