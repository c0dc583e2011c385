"""Divides lines of the journal into batches, each of which is stored with one statement."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from voxrec.journal.segments import Line

_BATCH_SIZE: Final = 100  # lines at most


class _RecordingId(msgspec.Struct):
    id: str = ""


def batches(lines: Sequence[Line]) -> Iterator[list[Line]]:
    """Divide lines, in order, into batches with at most one line for each Recording.

    A statement cannot change a row twice.
    """
    batch: list[Line] = []
    ids: set[str] = set()
    for line in lines:
        recording_id = _recording_id(line)
        if recording_id in ids or len(batch) == _BATCH_SIZE:
            yield batch
            batch, ids = [], set()
        batch.append(line)
        ids.add(recording_id)
    if batch:
        yield batch


def _recording_id(line: Line) -> str:
    try:
        return msgspec.json.decode(line.text, type=_RecordingId).id
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""  # the error is reported when the line is applied
