"""Jobs of the durable queue."""

import enum
from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Struct

from voxrec.model.fields import doc
from voxrec.model.recording import StoredObject


class JobKind(enum.StrEnum):
    """Kind of a job.

    - ``finish``: produce the audio file of a Recording from the files of both parties
    - ``upload``: store the audio of a Recording in S3, and keep the legal hold of the object up to date
    - ``mail``: send a completed Recording to the email addresses of its Profile
    - ``erase``: delete the files of a deleted Recording from the archive
    - ``erase-legs``: delete what a node recorded of a deleted Recording
    """

    FINISH = "finish"
    UPLOAD = "upload"
    MAIL = "mail"
    ERASE = "erase"
    ERASE_LEGS = "erase-legs"


class JobState(enum.StrEnum):
    """State of a job.

    - ``pending``: due now or later
    - ``running``: a worker executes it
    - ``dead``: failed permanently; ``lastError`` contains the reason
    - ``unconfirmed``: a mail that may have been delivered: the mail server received it, but did not say whether it
      accepts it; it is sent again only on request
    - ``done``: completed
    """

    PENDING = "pending"
    RUNNING = "running"
    DEAD = "dead"
    UNCONFIRMED = "unconfirmed"
    DONE = "done"


class Job(Struct, frozen=True, kw_only=True, rename="camel"):
    """A background task for a Recording."""

    id: Annotated[UUID, doc("Id of the job.")]
    kind: JobKind
    recording_id: Annotated[UUID, doc("Id of the Recording.")]
    state: JobState
    attempts: Annotated[int, doc("Attempts that were started since the job was created or last restarted.")]
    due_at: Annotated[datetime, doc("Time of the next attempt.")]
    last_error: Annotated[str | None, doc("Why the last attempt failed.")] = None
    node: Annotated[
        str | None, doc("Name of the only node that can run the job, since it has the files. Null: any node.")
    ] = None
    created_at: Annotated[datetime, doc("Time of creation.")]
    path: str | None = None  # of the audio of a deleted Recording, relative to the archive; None for other kinds
    stored_object: StoredObject | None = None  # the audio of a deleted Recording in S3
    target: str | None = None  # of an upload: the bucket of the Profile; None: that of the settings
    claims: int = 0  # the fencing token: a worker that lost its lease has an older value than the row

    @property
    def label(self) -> str:
        """The job in log messages."""
        return f"job {self.id} ({self.kind} of recording {self.recording_id})"
