"""Reads of a line of the journal only which Recording it is about."""

from uuid import UUID

import msgspec


class _RecordingId(msgspec.Struct):
    id: UUID


def recording_id_of(line: bytes) -> UUID | None:
    """Return the id of the Recording; None if the line is not that of a Recording."""
    try:
        return msgspec.json.decode(line, type=_RecordingId).id
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
