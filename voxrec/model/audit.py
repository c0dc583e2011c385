"""Audit entries: who changed what, and who heard or downloaded which Recording."""

import enum
from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Struct

from voxrec.model.fields import doc


class AuditOutcome(enum.StrEnum):
    """Outcome of an audited change.

    - ``begun``: in progress, or interrupted with an unknown outcome
    - ``done``: completed
    - ``refused``: rejected; nothing was changed
    - ``failed``: ended with an error
    """

    BEGUN = "begun"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


class AccessPurpose(enum.StrEnum):
    """What the audio of a Recording was requested for.

    - ``play``: to play it, in the console or another program that says so
    - ``download``: to download it
    - ``verify``: to compare its hash with the stored one
    - ``link``: to play or download it after the opening of an expiring link
    """

    PLAY = "play"
    DOWNLOAD = "download"
    VERIFY = "verify"
    LINK = "link"


class AuditEntry(Struct, frozen=True, kw_only=True, rename="camel"):
    """An audited change by a REST client, a command, or a rule such as the retention period; or an access to audio."""

    id: Annotated[UUID, doc("Id of the entry.")]
    created_at: Annotated[datetime, doc("Time of the change.")]
    who: Annotated[
        str,
        doc(
            "Name of the token or of the user, admin for the configured administrator, link for the opening of an "
            "expiring link, bounce for a mail that was returned, the user that ran a command, or the rule: retention."
        ),
    ]
    token_id: Annotated[
        UUID | None, doc("Id of the token. Null for the configured administrator, commands and rules.")
    ] = None
    user_id: Annotated[UUID | None, doc("Id of the user, if the request belongs to a session.")] = None
    address: Annotated[str, doc("IP address of the client, or local for commands and rules.")]
    method: Annotated[str, doc("HTTP method, COMMAND, RULE, or LMTP.")]
    path: Annotated[str, doc("Path of the request, the command, or the path of the resource to which a rule applied.")]
    kind: Annotated[str, doc("Type of the changed object, such as profile.")]
    target_id: Annotated[UUID | None, doc("Id of the changed object.")] = None
    outcome: AuditOutcome = AuditOutcome.BEGUN
    status: Annotated[int | None, doc("HTTP status of the response.")] = None
    fields: Annotated[tuple[str, ...], doc("Names of the fields that an update changed.")] = ()
    user_agent: Annotated[
        str | None, doc("Beginning of the client's User-Agent header, of an access to audio. Null for changes.")
    ] = None
    access: Annotated[AccessPurpose | None, doc("What audio was requested for. Null for changes.")] = None
    reason: Annotated[
        str | None,
        doc(
            "Why something was deleted: what the client gave as reason, or the condition of the rule. Or why listening "
            "to a live call has ended."
        ),
    ] = None
    seconds: Annotated[
        float | None, doc("How long a live call was listened to, in seconds. Null while it is, and for other entries.")
    ] = None


class RecordingAccess(Struct, frozen=True, kw_only=True, rename="camel"):
    """An access to the audio of a Recording: one hearing or one download, however many requests it took."""

    id: Annotated[UUID, doc("Id of the access, and of its entry in the audit log.")]
    created_at: Annotated[datetime, doc("Time of the first request.")]
    purpose: Annotated[AccessPurpose, doc("What the audio was requested for.")]
    who: Annotated[
        str, doc("Name of the user or of the token, admin for the configured administrator, link for an expiring link.")
    ]
    user_id: Annotated[UUID | None, doc("Id of the user, if the request belongs to a session.")] = None
    token_id: Annotated[UUID | None, doc("Id of the token. Null unless it is a stored token.")] = None
    link_id: Annotated[UUID | None, doc("Id of the expiring link that was opened.")] = None
    address: Annotated[str, doc("IP address of the client.")]
    user_agent: Annotated[str, doc("Beginning of the client's User-Agent header.")]
