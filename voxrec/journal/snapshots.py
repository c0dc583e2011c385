"""Reads the snapshots of Recordings from lines of the journal."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Protocol
from uuid import UUID

import msgspec

from voxrec.journal.recording_id import recording_id_of
from voxrec.model import Job, Recording


class SnapshotStore(Protocol):
    """Where snapshots are applied: `voxrec.store.recordings.Recordings`."""

    async def with_earlier_timelines(self, snapshots: Sequence[Recording]) -> Sequence[Recording]:
        """Return snapshots with what their timelines lack, because a process could not read the Recordings."""

    async def record(self, *snapshots: Recording, claim_limit: int, lease: timedelta) -> list[Job]:
        """Store snapshots, and return the FINISH jobs that were claimed with them."""


def decode_snapshot(line: bytes, node: str | None) -> Recording:
    """Decode a line; ``node`` recorded the call if the line does not say so. Raises `msgspec.DecodeError`."""
    snapshot = msgspec.json.decode(line, type=Recording)
    # an earlier version wrote the line, or began the call
    return snapshot if snapshot.node else msgspec.structs.replace(snapshot, node=node)


def latest_snapshots(
    lines: Iterable[bytes], recording_ids: Collection[UUID], node: str | None
) -> Mapping[UUID, Recording]:
    """Return the last snapshot of each of these Recordings that is in ``lines``; ``node`` as in `decode_snapshot`."""
    wanted = frozenset(recording_ids)
    with_ids = ((recording_id_of(line), line) for line in lines)
    last = {recording_id: line for recording_id, line in with_ids if recording_id in wanted}
    snapshots = []
    for line in last.values():
        with suppress(msgspec.DecodeError, UnicodeDecodeError):  # it is reported when it is applied
            snapshots.append(decode_snapshot(line, node))
    return {snapshot.id: snapshot for snapshot in snapshots}
