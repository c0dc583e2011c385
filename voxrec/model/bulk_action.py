"""Bulk actions: one action for many Recordings, after a preview."""

import enum
from typing import Annotated
from uuid import UUID

from msgspec import Struct

from voxrec.model.fields import Text255, Timestamp, doc
from voxrec.model.principal_key import principal_key
from voxrec.model.token import Role


class BulkActionKind(enum.StrEnum):
    """What a bulk action does with each recording.

    - ``export``: one export with all of them
    - ``redeliver``: repeats the mails and webhooks about it
    - ``hold``, ``release``: set and release the legal hold
    - ``delete``: deletes it for good
    """

    EXPORT = "export"
    REDELIVER = "redeliver"
    HOLD = "hold"
    RELEASE = "release"
    DELETE = "delete"

    @property
    def role(self) -> Role:
        """The role that the action requires."""
        return Role.READ if self is BulkActionKind.EXPORT else Role.PROVISION


class BulkActionState(enum.StrEnum):
    """State of a bulk action. The last three are final.

    - ``preview``: nothing was changed; it waits for its confirmation until `expiresAt`
    - ``pending``: confirmed; waits for its turn, or for the next attempt
    - ``running``: in progress
    - ``completed``: each recording has a result
    - ``failed``: `error` says why it was given up; recordings without a result were not changed
    - ``canceled``: as ``failed``, because of a client
    """

    PREVIEW = "preview"
    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"


class BulkItemState(enum.StrEnum):
    """Result of a bulk action for one recording.

    - ``pending``: none yet
    - ``done``: the action was successful
    - ``skipped``: the action does not apply; `detail` says why
    - ``failed``: the action failed; `detail` says why
    """

    PENDING = "pending"
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


class SkipReason(enum.StrEnum):
    """Why a bulk action does not apply to a recording.

    - ``legal-hold``: it is under a legal hold and must not be deleted
    - ``call-in-progress``: its call is in progress
    - ``already-held``, ``not-held``: the legal hold is as wanted already
    - ``no-deliveries``: no mail or webhook was sent about it
    - ``deleted``: it was deleted meanwhile
    """

    LEGAL_HOLD = "legal-hold"
    CALL_IN_PROGRESS = "call-in-progress"
    ALREADY_HELD = "already-held"
    NOT_HELD = "not-held"
    NO_DELIVERIES = "no-deliveries"
    DELETED = "deleted"


class BulkAction(Struct, frozen=True, kw_only=True, rename="camel"):
    """One action for many recordings: those of a filter when it was created, whatever is recorded since."""

    id: Annotated[UUID, doc("Id of the bulk action.")]
    action: BulkActionKind
    state: BulkActionState
    created_by: Annotated[str, doc("Name of the token or of the user that created it.")]
    user_id: Annotated[UUID | None, doc("Id of the user. Null: a token created it.")] = None
    token_id: Annotated[UUID | None, doc("Id of the token. Null for a user, and for the token of the settings.")] = None
    reason: Annotated[Text255 | None, doc("Why, for the audit log.")] = None
    error: Annotated[str | None, doc("Why it was given up, or why the last attempt failed.")] = None
    total: Annotated[int, doc("Number of its recordings.")] = 0
    done: Annotated[int, doc("Number of recordings for which the action was successful.")] = 0
    skipped: Annotated[int, doc("Number of recordings to which the action does not apply.")] = 0
    failed: Annotated[int, doc("Number of recordings for which the action failed.")] = 0
    export_id: Annotated[UUID | None, doc("Id of the export that the action `export` created.")] = None
    created_at: Annotated[Timestamp, doc("Time of creation.")]
    expires_at: Annotated[Timestamp, doc("Time until which it can be confirmed.")]
    confirmed_at: Annotated[Timestamp | None, doc("Time of its confirmation.")] = None
    finished_at: Annotated[Timestamp | None, doc("Time of its end.")] = None

    @property
    def creator_key(self) -> UUID | str:
        """What distinguishes the creator from others, see `principal_key`."""
        return principal_key(self.token_id, self.user_id, self.created_by)

    @property
    def remaining(self) -> int:
        """The number of Recordings without a result."""
        return self.total - self.done - self.skipped - self.failed


class BulkActionItem(Struct, frozen=True, kw_only=True, rename="camel"):
    """A recording of a bulk action, and the result."""

    position: Annotated[int, doc("Position in the order of the list, from 1.")]
    recording_id: Annotated[UUID, doc("Id of the recording.")]
    state: BulkItemState
    detail: Annotated[
        str | None,
        doc(
            "Why it was skipped (`legal-hold`, `call-in-progress`, `already-held`, `not-held`, `no-deliveries` or "
            "`deleted`), or the error."
        ),
    ] = None
