"""What operators decide about nodes that do not return, and about nodes that were renamed."""

# ruff: noqa: S608 - only constants are formatted into statements; values are parameters

from collections.abc import Collection
from datetime import datetime
from typing import Final
from uuid import UUID

from voxrec.errors import Conflict, NotFound
from voxrec.model.reasons import NODE_LOST
from voxrec.postgres.database import Database
from voxrec.postgres.transaction import Transaction
from voxrec.store.nodes import IS_FRESH

_LIVE: Final = "('recording', 'paused')"
_ALIVE: Final = f"SELECT instance IS NOT NULL AND {IS_FRESH}, spool_id FROM nodes WHERE name = %s FOR UPDATE"
# What a node has recorded since it runs with another disk is not on the one that is lost, or adopted.
_ON_FORMER_DISK: Final = """
    created_at < coalesce((SELECT new_spool_since FROM nodes WHERE nodes.name = recordings.node), 'infinity')
"""
_FAIL_RECORDINGS: Final = f"""
    UPDATE recordings
    SET state = 'failed', ended_at = coalesce(ended_at, updated_at), updated_at = greatest(updated_at, now()),
        verdict = '{{"ok": false, "reasons": ["{NODE_LOST}"], "repaired": false, "truncated": false}}'
    WHERE node = %s AND state IN ('recording', 'paused', 'processing') AND {_ON_FORMER_DISK}
    RETURNING id
"""
_CLOSE_JOBS: Final = f"""
    UPDATE jobs SET done_at = now(), leased_until = NULL, dead = FALSE, last_error = '{NODE_LOST}'
    WHERE node = %s AND done_at IS NULL
      AND NOT EXISTS (SELECT FROM recordings WHERE id = jobs.recording_id AND NOT {_ON_FORMER_DISK})
"""
_MARK_LOST: Final = """
    UPDATE nodes SET lost_at = now(), spool_id = NULL, instance = NULL, new_spool_since = NULL WHERE name = %s
"""
_REOPEN: Final = f"""
    UPDATE recordings SET state = 'processing', verdict = NULL, updated_at = greatest(updated_at, now())
    WHERE node = %s AND id = ANY(%s) AND state = 'failed' AND verdict -> 'reasons' ? '{NODE_LOST}'
    RETURNING id
"""
_END_CALLS: Final = f"""
    UPDATE recordings SET state = 'processing', ended_at = coalesce(ended_at, updated_at), updated_at = now()
    WHERE node = %s AND state IN {_LIVE} AND {_ON_FORMER_DISK}
    RETURNING id
"""
_ENQUEUE_FINISH: Final = """
    INSERT INTO jobs (kind, recording_id, node) SELECT 'finish', id, %s FROM unnest(%s::uuid[]) AS id
    ON CONFLICT (recording_id, kind) DO UPDATE
    SET done_at = NULL, dead = FALSE, attempts = 0, due_at = now(), leased_until = NULL, last_error = NULL,
        node = excluded.node
"""
_REMOVE: Final = """
    DELETE FROM nodes WHERE name = %s AND NOT EXISTS (SELECT FROM jobs WHERE node = %s AND done_at IS NULL)
"""
_ACCEPT_NEW_DISK: Final = """
    UPDATE nodes SET spool_id = NULL, new_spool_since = NULL
    WHERE name = %s AND new_spool_since IS NOT NULL
      AND NOT EXISTS (
          SELECT FROM jobs JOIN recordings ON recordings.id = jobs.recording_id
          WHERE jobs.node = nodes.name AND done_at IS NULL AND recordings.created_at < nodes.new_spool_since
      )
"""
_MAKE_DUE: Final = """
    UPDATE jobs SET due_at = now(), leased_until = NULL, dead = FALSE, attempts = 0 WHERE node = %s AND done_at IS NULL
"""


class NodeFailures:
    """Changes that only an operator may make. Each method is one transaction.

    All raise NotFound if there is no such node, and Conflict if it is running.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def spool_id(self, node: str) -> UUID | None:
        """Return the id of the recording directory of a node that does not run; None if its disk is lost."""

        async def work(transaction: Transaction) -> UUID | None:
            return await _require_stopped(transaction, node)

        return await self._database.transaction(work)

    async def new_disk_since(self, node: str) -> datetime | None:
        """Return when a node was started with another disk than it had before; None: it was not."""
        rows = await self._database.query("SELECT new_spool_since FROM nodes WHERE name = %s", (node,))
        return rows[0][0] if rows else None

    async def mark_lost(self, node: str) -> int:
        """End the open Recordings of a node as ``failed``, for the reason ``node-lost``, and return their number.

        Its jobs are closed. The node can start again with an empty disk. What it has recorded since it was started with
        another disk is not changed.
        """

        async def work(transaction: Transaction) -> int:
            await _require_stopped(transaction, node)
            failed = await transaction.query(_FAIL_RECORDINGS, (node,))
            await transaction.execute(_CLOSE_JOBS, (node,))
            await transaction.execute("DELETE FROM calls WHERE node = %s", (node,))
            await transaction.execute(_MARK_LOST, (node,))
            return len(failed)

        return await self._database.transaction(work)

    async def begin_adoption(self, node: str, with_files: Collection[UUID]) -> None:
        """Make all work of a node due: its disk is attached, and its calls have ended.

        Recordings that were marked as lost, and have files, are to be finished as well.
        """

        async def work(transaction: Transaction) -> None:
            await _require_stopped(transaction, node)
            ended = await transaction.query(_END_CALLS, (node,))
            reopened = await transaction.query(_REOPEN, (node, list(with_files)))
            recordings = [recording_id for (recording_id,) in (*ended, *reopened)]
            await transaction.execute(_ENQUEUE_FINISH, (node, recordings))
            await transaction.execute(_MAKE_DUE, (node,))
            await transaction.execute("DELETE FROM calls WHERE node = %s", (node,))

        await self._database.transaction(work)

    async def end_adoption(self, node: str) -> None:
        """Remove a node that has no work left. If it returns after all, it is a node again.

        A node that has been started with another disk meanwhile continues with that one.
        """

        async def work(transaction: Transaction) -> None:
            await _require_stopped(transaction, node)
            await transaction.execute(_ACCEPT_NEW_DISK, (node,))
            await transaction.execute(_REMOVE, (node, node))

        await self._database.transaction(work)

    async def rename(self, former: str, new: str) -> None:
        """Give everything of a node to its new name, under which it may be running already.

        Raises Conflict if the new name is that of a node with another recording directory, unless that of the former is
        not known, as after a restore.
        """

        async def work(transaction: Transaction) -> None:
            spool_id = await _require_stopped(transaction, former)
            rows = await transaction.query("SELECT spool_id FROM nodes WHERE name = %s FOR UPDATE", (new,))
            if not rows:
                await transaction.execute("UPDATE nodes SET name = %s WHERE name = %s", (new, former))
            elif spool_id is not None and rows[0][0] != spool_id:
                raise Conflict(
                    f"Node {new} has another recording directory than {former}: {former} was not renamed. If it does "
                    "not return, see voxrec nodes adopt and voxrec nodes mark-lost."
                )
            else:
                await transaction.execute("DELETE FROM nodes WHERE name = %s", (former,))
            await transaction.execute("UPDATE recordings SET node = %s WHERE node = %s", (new, former))
            await transaction.execute(
                "UPDATE jobs SET node = %s WHERE node = %s AND done_at IS NOT NULL", (new, former)
            )
            await transaction.execute("UPDATE jobs SET node = %s, due_at = now() WHERE node = %s", (new, former))

        await self._database.transaction(work)


async def _require_stopped(transaction: Transaction, node: str) -> UUID | None:
    """Return the id of the recording directory of a node."""
    rows = await transaction.query(_ALIVE, (node,))
    if not rows:
        raise NotFound(f"There is no node {node}: see voxrec nodes list.")
    alive, spool_id = rows[0]
    if alive:
        raise Conflict(f"Node {node} is running: stop voxrec on it first, or wait some seconds after it has failed.")
    return spool_id  # type: ignore[no-any-return] # a row has no types
