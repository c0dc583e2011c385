"""Statistics of the database, for the metrics."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from voxrec.model.reasons import NODE_LOST
from voxrec.postgres.database import Database

# Completed and absent Recordings are not counted: there are millions, and counting reads each of them. The other states
# have an index.
_RECORDINGS_BY_STATE: Final = """
    SELECT state, count(*) FROM recordings WHERE state NOT IN ('completed', 'absent') GROUP BY state
"""
_TOTAL_RECORDINGS: Final = "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'recordings'::regclass"
_PENDING_JOBS: Final = """
    SELECT kind, count(*), count(*) FILTER (WHERE due_at <= now()),
           extract(epoch FROM now() - min(created_at))::float8
    FROM jobs WHERE done_at IS NULL AND NOT dead GROUP BY kind
"""
_NODE_LOST: Final = "SELECT count(*) FROM recordings WHERE state = 'failed' AND verdict -> 'reasons' ? %s"
_DEAD_JOBS: Final = """
    SELECT kind, count(*) FILTER (WHERE NOT unconfirmed), count(*) FILTER (WHERE unconfirmed)
    FROM jobs WHERE dead GROUP BY kind
"""


@dataclass(frozen=True, slots=True)
class PendingJobs:
    """Jobs of one kind that are not done: their number, how many are due, and the age of the oldest in seconds.

    Those that a daemon has claimed are waiting and due, too.
    """

    count: int = 0
    due: int = 0
    oldest_age: float = 0.0


@dataclass(frozen=True, slots=True)
class Statistics:
    """Numbers of Recordings and jobs.

    ``recordings`` is by state, without completed and absent ones; ``total_recordings`` is the planner's estimate;
    ``pending``, ``dead`` and ``unconfirmed`` are by kind of job; ``node_lost`` is the number of Recordings that were
    lost with a node.
    """

    recordings: Mapping[str, int]
    total_recordings: int
    pending: Mapping[str, PendingJobs]
    dead: Mapping[str, int]
    unconfirmed: Mapping[str, int]
    node_lost: int = 0


async def read_statistics(database: Database) -> Statistics:
    """Read the statistics. Raises StoreUnavailable."""
    recordings = await database.query(_RECORDINGS_BY_STATE)
    ((total,),) = await database.query(_TOTAL_RECORDINGS)
    pending = await database.query(_PENDING_JOBS)
    dead = await database.query(_DEAD_JOBS)
    ((node_lost,),) = await database.query(_NODE_LOST, (NODE_LOST,))
    return Statistics(
        recordings=dict(recordings),
        total_recordings=total,
        pending={kind: PendingJobs(*rest) for kind, *rest in pending},
        dead={kind: count for kind, count, _ in dead if count},
        unconfirmed={kind: count for kind, _, count in dead if count},
        node_lost=node_lost,
    )
