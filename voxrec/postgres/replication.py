"""The standbys of a PostgreSQL server by streaming replication. Blocking."""

from typing import Final, NamedTuple

from psycopg2.extensions import connection as BlockingConnection

# Another user than the standbys' sees their positions only with the rights of pg_monitor: they are null otherwise.
_STANDBYS: Final = """
    SELECT application_name, coalesce(state, ''), coalesce(sync_state, '') IN ('sync', 'quorum'),
           pg_wal_lsn_diff(pg_current_wal_lsn(), flush_lsn)::bigint, extract(epoch FROM flush_lag)::float8
    FROM pg_stat_replication ORDER BY application_name
"""


class Standby(NamedTuple):
    """A standby that is connected.

    ``state`` is ``streaming`` if it follows, and empty if the role may not see it. ``lag_bytes`` of the write-ahead log
    are not on its disk; ``lag_seconds`` is how long it took with the last ones. Both may be unknown: None.
    """

    name: str
    state: str
    synchronous: bool
    lag_bytes: int | None
    lag_seconds: float | None


def connected_standbys(connection: BlockingConnection) -> list[Standby]:
    """Return the standbys of a primary, by name."""
    with connection.cursor() as cursor:
        cursor.execute(_STANDBYS)
        return [Standby(*row) for row in cursor.fetchall()]
