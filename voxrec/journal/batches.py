"""Divides lines of the journal into batches, each of which is stored with one statement."""

from collections.abc import Iterator, Sequence
from typing import Final
from uuid import UUID

from voxrec.journal.recording_id import recording_id_of
from voxrec.journal.segments import Line

_BATCH_SIZE: Final = 100  # lines at most


def batches(lines: Sequence[Line]) -> Iterator[list[Line]]:
    """Divide lines, in order, into batches with at most one line for each Recording.

    A statement cannot change a row twice.
    """
    batch: list[Line] = []
    ids: set[UUID | None] = set()
    for line in lines:
        recording_id = recording_id_of(line.text)  # if it has none, the error is reported when it is applied
        if recording_id in ids or len(batch) == _BATCH_SIZE:
            yield batch
            batch, ids = [], set()
        batch.append(line)
        ids.add(recording_id)
    if batch:
        yield batch
