"""Bulk exports: the Recordings of a filter, with their audio, in one file."""

import enum
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from voxrec.model.fields import MAX_TAGS, Sha256, Tag, Text255, Timestamp, doc
from voxrec.model.principal_key import principal_key
from voxrec.model.recording import RecordingState
from voxrec.model.recording_query import FilteredSeconds, SearchText, VerdictFilter


class ExportState(enum.StrEnum):
    """State of an export. The last three are final.

    - ``pending``: waits for its turn, or for the next attempt
    - ``running``: the file is being written
    - ``completed``: the file can be downloaded
    - ``failed``: `error` says why there is no file
    - ``expired``: the file was deleted at `expiresAt`
    """

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"


class ExportFormat(enum.StrEnum):
    """Format of the file.

    - ``zip``: ZIP without compression, with ZIP64 where it is needed
    - ``tar``: tar (pax) without compression
    """

    ZIP = "zip"
    TAR = "tar"


class ExportQuery(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The Recordings of an export: the filter of `GET /recordings`, as it is stored."""

    profile_id: Annotated[UUID | None, doc("Only recordings of this profile.")] = None
    state: Annotated[tuple[RecordingState, ...], doc("Only recordings in these states. Empty: all.")] = ()
    from_: Annotated[Text255 | None, doc("Only recordings of calls from this number.")] = msgspec.field(
        default=None, name="from"
    )
    to: Annotated[Text255 | None, doc("Only recordings of calls to this dialled number or id.")] = None
    since: Annotated[Timestamp | None, doc("Only recordings created at this time or later.")] = None
    until: Annotated[Timestamp | None, doc("Only recordings created before this time.")] = None
    q: Annotated[
        dict[str, Any] | None,
        Meta(
            description="Only recordings whose metadata contain this JSON object, of at most 1000 bytes.",
            extra_json_schema={"examples": [{"customer": "42"}]},
        ),
    ] = None
    tag: Annotated[
        tuple[Tag, ...],
        Meta(
            description="Only recordings with all of these tags.",
            extra_json_schema={"uniqueItems": True, "maxItems": MAX_TAGS},
        ),
    ] = ()
    search: Annotated[SearchText | None, doc("Only recordings with all of these words, as in `GET /recordings`.")] = (
        None
    )
    verdict: Annotated[VerdictFilter | None, doc("Only recordings whose audio was checked with this result.")] = None
    min_duration: Annotated[FilteredSeconds | None, doc("Only recordings of at least this duration in seconds.")] = None
    max_duration: Annotated[FilteredSeconds | None, doc("Only recordings of at most this duration in seconds.")] = None
    node: Annotated[Text255 | None, doc("Only recordings of this node.")] = None
    legal_hold: Annotated[bool | None, doc("Only recordings under a legal hold (true), or without one (false).")] = None


class Export(Struct, frozen=True, kw_only=True, rename="camel"):
    """A bulk export: the recordings of a filter in one file, with audio, JSON Lines and CSV."""

    id: Annotated[UUID, doc("Id of the export.")]
    created_by: Annotated[str, doc("Name of the token or of the user that created it.")]
    user_id: Annotated[UUID | None, doc("Id of the user. Null: a token created it.")] = None
    token_id: Annotated[UUID | None, doc("Id of the token. Null for a user, and for the token of the settings.")] = None
    profile_ids: Annotated[
        tuple[UUID, ...] | None, doc("Profiles whose recordings it contains: those of the token. Null: all.")
    ] = None
    description: Annotated[Text255 | None, doc("Description for people.")] = None
    format: ExportFormat = ExportFormat.ZIP
    audio: Annotated[bool, doc("Whether the file contains the audio.")] = True
    query: Annotated[ExportQuery, doc("The filter.")] = ExportQuery()
    bulk_action_id: Annotated[
        UUID | None, doc("Id of the bulk action whose recordings it contains instead of those of the filter.")
    ] = None
    state: ExportState
    error: Annotated[str | None, doc("Why there is no file, or why the last attempt failed.")] = None
    recordings: Annotated[int, doc("Number of recordings in the file so far.")] = 0
    bytes: Annotated[int, doc("Bytes of audio in the file so far.")] = 0
    missing: Annotated[
        int, doc("Number of recordings that were erased meanwhile, or whose audio is missing; the manifest names them.")
    ] = 0
    size: Annotated[int | None, doc("Size of the file in bytes. Null until it is complete.")] = None
    sha256: Annotated[Sha256 | None, doc("SHA-256 digest of the file. Null until it is complete.")] = None
    node: Annotated[str | None, doc("Name of the node that writes the file, or wrote it.")] = None
    file_url: Annotated[str | None, doc("URL of the file. Null unless it can be downloaded.")] = None
    created_at: Annotated[Timestamp, doc("Time of creation.")]
    started_at: Annotated[Timestamp | None, doc("Time of the beginning of the first attempt.")] = None
    finished_at: Annotated[Timestamp | None, doc("Time at which it was completed or failed.")] = None
    expires_at: Annotated[Timestamp | None, doc("Time after which the file is deleted.")] = None

    @property
    def creator_key(self) -> UUID | str:
        """What distinguishes the creator from others, see `principal_key`."""
        return principal_key(self.token_id, self.user_id, self.created_by)
