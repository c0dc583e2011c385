"""Audit entries: who changed what."""

import enum
from datetime import datetime
from uuid import UUID

from msgspec import Struct


class AuditOutcome(enum.StrEnum):
    """Outcome of an audited change."""

    BEGUN = "begun"  # in progress, or interrupted with an unknown outcome
    DONE = "done"
    REFUSED = "refused"  # rejected; nothing was changed
    FAILED = "failed"


class AuditEntry(Struct, frozen=True, kw_only=True, rename="camel"):
    """An audited change: who made it, from which address, what it changed, and its outcome.

    ``who`` is the name of the token, ``admin`` for the configured administrator, or the operating system user that ran
    a command; ``tokenId`` is null in the last two cases. For a command, ``method`` is ``COMMAND`` and ``path`` is the
    command. ``kind`` is the type of the changed object, such as ``profile``, and ``targetId`` its id. ``fields`` are
    the names of the fields that an update changed, without their values. ``status`` is the HTTP status of the response.
    """

    id: UUID
    created_at: datetime
    who: str
    token_id: UUID | None = None
    address: str
    method: str
    path: str
    kind: str
    target_id: UUID | None = None
    outcome: AuditOutcome = AuditOutcome.BEGUN
    status: int | None = None
    fields: tuple[str, ...] = ()
