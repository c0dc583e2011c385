"""Repository of nodes: heartbeats, the live calls of all nodes, and the messages between nodes.

All times are PostgreSQL's, so that the clocks of the nodes need not agree.
"""

# ruff: noqa: S608 - only constants are formatted into statements; values are parameters

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from voxrec.errors import NotFound
from voxrec.model import Call, CallState, Node, NodeStatus, Profile
from voxrec.postgres.database import Database
from voxrec.postgres.statement import PreparedStatement

NODES_CHANNEL: Final = "voxrec_nodes"
"""Notified when a node is to read its row again; the payload is its name."""
NODE_MESSAGES_CHANNEL: Final = "voxrec_node_messages"
"""Notified of messages between nodes; the payload is a message."""
HEARTBEAT_TIMEOUT: Final = 6.0
"""Seconds without a heartbeat after which a node is unreachable."""
IS_FRESH: Final = f"heartbeat_at > now() - interval '{HEARTBEAT_TIMEOUT} s'"
"""A condition in SQL: the node has reported recently."""

# A name has one process: another one gets it once the former has stopped, or has not reported for some seconds.
_HEARTBEAT: Final = f"""
    INSERT INTO nodes (name, instance, spool_id, status) VALUES (%s, %s, %s, %s)
    ON CONFLICT (name) DO UPDATE
    SET instance = excluded.instance, spool_id = coalesce(nodes.spool_id, excluded.spool_id), heartbeat_at = now(),
        lost_at = NULL, status = excluded.status,
        new_spool_since = CASE
            WHEN excluded.spool_id IS NULL THEN nodes.new_spool_since
            WHEN nodes.spool_id <> excluded.spool_id THEN coalesce(nodes.new_spool_since, %s) END
    WHERE nodes.instance IS NULL OR nodes.instance = excluded.instance OR nodes.instance = %s OR NOT nodes.{IS_FRESH}
    RETURNING draining, spool_id
"""
_STOP: Final = "UPDATE nodes SET instance = NULL WHERE name = %s AND instance = %s"
_LIST: Final = f"""
    SELECT name, draining, heartbeat_at, status,
           CASE WHEN lost_at IS NOT NULL THEN 'lost' WHEN instance IS NULL THEN 'stopped'
                WHEN NOT {IS_FRESH} THEN 'unreachable' WHEN draining THEN 'draining' ELSE 'running' END,
           (SELECT count(*) FROM jobs WHERE jobs.node = nodes.name AND done_at IS NULL)
    FROM nodes ORDER BY name
"""
_DRAIN: Final = "UPDATE nodes SET draining = %s WHERE name = %s RETURNING pg_notify(%s, name)"
_OTHER_NAME: Final = "SELECT name FROM nodes WHERE spool_id = %s AND name <> %s"
_STORE_CALLS: Final = """
    WITH gone AS (DELETE FROM calls WHERE node = %s AND id = ANY(%s)),
    settled AS (DELETE FROM call_reservations WHERE id = ANY(%s))
    INSERT INTO calls (id, node, profile_id, data)
    SELECT id, %s, profile_id, data FROM jsonb_to_recordset(%s::jsonb) AS new (id uuid, profile_id uuid, data jsonb)
    ON CONFLICT (id) DO UPDATE SET node = excluded.node, data = excluded.data
"""
_DELETE_OTHER_CALLS: Final = """
    WITH former AS (DELETE FROM call_reservations WHERE node = %s AND NOT id = ANY(%s))
    DELETE FROM calls WHERE node = %s AND NOT id = ANY(%s)
"""
_RESERVE_CALL: Final = PreparedStatement("SELECT voxrec_reserve_call(%s, %s, %s, %s, %s, %s::uuid[], %s::uuid[])")
_CALLS_OF_OTHERS: Final = f"""
    SELECT calls.data, nodes.instance IS NOT NULL AND nodes.{IS_FRESH}, now()
    FROM calls JOIN nodes ON nodes.name = calls.node
    WHERE calls.node <> %s
"""
_NODE_OF_CALL: Final = f"""
    SELECT node, instance IS NOT NULL AND {IS_FRESH} FROM calls JOIN nodes ON name = node WHERE calls.id = %s
"""
_NODE_OF_RECORDING: Final = f"""
    SELECT node, instance IS NOT NULL AND {IS_FRESH} FROM recordings JOIN nodes ON name = node
    WHERE recordings.id = %s
"""


class Registration(NamedTuple):
    """The row of a node after its heartbeat."""

    draining: bool
    spool_id: UUID | None


class Owner(NamedTuple):
    """The node that has a call, and whether it reports."""

    node: str
    alive: bool


class Nodes:
    """The tables of nodes and their calls. Methods raise StoreUnavailable while PostgreSQL cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def heartbeat(
        self,
        name: str,
        instance: UUID,
        spool_id: UUID | None,
        status: NodeStatus,
        former: UUID | None = None,
        spool_since: datetime | None = None,
    ) -> Registration | None:
        """Report; return None if another process has the name, unless it is ``former``, which has certainly ended.

        ``spool_since`` is when this process first saw the recording directory with ``spool_id``.
        """
        data = msgspec.json.encode(status).decode()
        params = (name, instance, spool_id, data, spool_since or datetime.now(UTC), former)
        rows = await self._database.returning(_HEARTBEAT, params)
        return Registration(*rows[0]) if rows else None

    async def stop(self, name: str, instance: UUID) -> None:
        """Report that this process stops."""
        await self._database.execute(_STOP, (name, instance))

    async def list_all(self) -> list[Node]:
        """Return all nodes by name."""
        return [
            msgspec.convert(
                {
                    **status,
                    "name": name,
                    "state": state,
                    "draining": draining,
                    "lastHeartbeat": heartbeat,
                    "pendingJobs": jobs,
                },
                Node,
            )
            for name, draining, heartbeat, status, state, jobs in await self._database.query(_LIST)
        ]

    async def has_peers(self, name: str) -> bool:
        """Return whether there are nodes besides this one."""
        return bool(await self._database.query("SELECT 1 FROM nodes WHERE name <> %s LIMIT 1", (name,)))

    async def set_draining(self, name: str, draining: bool) -> None:
        """Let a node refuse new calls, or accept them again, and notify it. Raises NotFound."""
        if not await self._database.returning(_DRAIN, (draining, name, NODES_CHANNEL)):
            raise NotFound(f"There is no node {name}.")

    async def other_name(self, spool_id: UUID, name: str) -> str | None:
        """Return the name of another node with the same recording directory: the former name of this one."""
        rows = await self._database.query(_OTHER_NAME, (spool_id, name))
        return rows[0][0] if rows else None

    async def store_calls(
        self, node: str, calls: Sequence[Call], gone: Collection[UUID], settled: Collection[UUID] = ()
    ) -> None:
        """Store the live calls of a node that are new or have changed, and delete those that are ``gone``.

        The reservations ``settled`` are deleted with that: their calls are stored now, or have ended.
        """
        rows = [{"id": call.id, "profile_id": call.profile_id, "data": call} for call in calls]
        data = msgspec.json.encode(rows).decode()
        await self._database.execute(_STORE_CALLS, (node, list(gone), list(settled), node, data))

    async def delete_other_calls(self, node: str, live: Collection[UUID], reserved: Collection[UUID] = ()) -> None:
        """Delete the calls of a node that are not ``live``, and its reservations that are not ``reserved``."""
        await self._database.execute(_DELETE_OTHER_CALLS, (node, list(reserved), node, list(live)))

    async def reserve_call(
        self,
        reservation: UUID,
        node: str,
        profile: Profile,
        own_calls: int,
        known: Collection[UUID] | None,
        settled: Collection[UUID],
    ) -> bool:
        """Reserve a call of a Profile, and return whether its maximum permits that (migration 0025).

        ``own_calls`` is the number of its calls that the node has itself, and ``known`` are the ids of these and of the
        stored ones. ``settled`` are the reservations that are among them, or whose calls have ended.
        """
        ids = None if known is None else list(known)
        params = (reservation, node, profile.id, profile.max_calls, own_calls, ids, list(settled))
        ((granted,),) = await self._database.returning(_RESERVE_CALL, params)
        return bool(granted)

    async def calls_of_others(self, node: str) -> list[Call]:
        """Return the live calls of all other nodes; their state is ``lost`` if the node does not report."""
        rows = await self._database.query(_CALLS_OF_OTHERS, (node,))
        return [_call(data, alive, now) for data, alive, now in rows]

    async def node_of_call(self, call_id: UUID) -> Owner | None:
        """Return the node of a live call."""
        rows = await self._database.query(_NODE_OF_CALL, (call_id,))
        return Owner(*rows[0]) if rows else None

    async def node_of_recording(self, recording_id: UUID) -> Owner | None:
        """Return the node that records, or recorded, a call."""
        rows = await self._database.query(_NODE_OF_RECORDING, (recording_id,))
        return Owner(*rows[0]) if rows else None

    async def send(self, message: str) -> None:
        """Send a message to all nodes; at most 8000 bytes (PostgreSQL, NOTIFY)."""
        await self._database.query("SELECT pg_notify(%s, %s)", (NODE_MESSAGES_CHANNEL, message))


def _call(data: Mapping[str, Any], alive: bool, now: datetime) -> Call:
    call = msgspec.convert(data, Call)
    return msgspec.structs.replace(
        call,
        # the clock of the other node, which began the call, may be fast
        age=max(0.0, round((now.astimezone(UTC) - call.started_at).total_seconds(), 3)),
        state=call.state if alive else CallState.LOST,
    )
