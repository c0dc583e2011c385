"""How much there is of what: a few numbers for whoever watches over voxrec."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from voxrec.postgres.database import Database

# Those that are completed or absent would have to be read one by one, and they are millions; the others have an index.
_UNFINISHED: Final = """
    SELECT state, count(*) FROM recordings WHERE state NOT IN ('completed', 'absent') GROUP BY state
"""
_ALL: Final = "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'recordings'::regclass"
_OWED: Final = """
    SELECT kind, count(*), count(*) FILTER (WHERE due_at <= now()),
           extract(epoch FROM now() - min(created_at))::float8
    FROM jobs WHERE done_at IS NULL AND NOT dead GROUP BY kind
"""
_DEAD: Final = "SELECT kind, count(*) FROM jobs WHERE dead GROUP BY kind"


@dataclass(frozen=True, slots=True)
class PendingJobs:
    """Jobs of one kind that are to be done: how many, how many are due, and the age of the oldest in seconds."""

    count: int = 0
    due: int = 0
    oldest_age: float = 0.0


@dataclass(frozen=True, slots=True)
class Statistics:
    """Recordings by state, without those completed or absent; about how many there are in all; jobs by kind."""

    recordings: Mapping[str, int]
    total_recordings: int
    pending: Mapping[str, PendingJobs]
    dead: Mapping[str, int]


async def read_statistics(database: Database) -> Statistics:
    """The figures of the whole database. StoreUnavailable."""
    unfinished = await database.query(_UNFINISHED)
    ((estimate,),) = await database.query(_ALL)
    owed = await database.query(_OWED)
    dead = await database.query(_DEAD)
    return Statistics(dict(unfinished), estimate, {kind: PendingJobs(*rest) for kind, *rest in owed}, dict(dead))
