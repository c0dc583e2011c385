"""The files of Recordings as the database knows them, for backups. Blocking."""

from dataclasses import dataclass
from typing import Final

from psycopg2.extensions import connection as BlockingConnection

_ARCHIVED: Final = "SELECT path, size, sha256 FROM recordings WHERE path IS NOT NULL ORDER BY path"
_UNFINISHED: Final = "SELECT id::text FROM recordings WHERE state NOT IN ('completed', 'absent')"
_UNFINISHED_ELSEWHERE: Final = """
    SELECT node, count(*) FROM recordings
    WHERE state IN ('recording', 'paused', 'processing') AND node <> %s
    GROUP BY node ORDER BY node
"""
_UNANNOUNCED: Final = f"{_UNFINISHED} AND prompt_played = false"


@dataclass(frozen=True, slots=True)
class ArchivedFile:
    """A file in the archive: its path, its size in bytes, and its SHA-256 in hexadecimal."""

    path: str
    size: int | None
    sha256: str | None


def archived_files(connection: BlockingConnection) -> list[ArchivedFile]:
    """Return the archived files of all Recordings."""
    with connection.cursor() as cursor:
        cursor.execute(_ARCHIVED)
        return [ArchivedFile(*row) for row in cursor.fetchall()]


def unannounced_recordings(connection: BlockingConnection) -> set[str]:
    """Return the ids of unfinished Recordings whose audio may not be kept (yet), for want of an announcement."""
    with connection.cursor() as cursor:
        cursor.execute(_UNANNOUNCED)
        return {recording_id for (recording_id,) in cursor.fetchall()}


def unfinished_recordings(connection: BlockingConnection) -> set[str]:
    """Return the ids of the Recordings whose audio is still in Asterisk's recording directory."""
    with connection.cursor() as cursor:
        cursor.execute(_UNFINISHED)
        return {recording_id for (recording_id,) in cursor.fetchall()}


def unfinished_on_other_nodes(connection: BlockingConnection, node: str) -> dict[str, int]:
    """Return the number of Recordings whose audio is in the recording directory of another node, by its name."""
    with connection.cursor() as cursor:
        cursor.execute(_UNFINISHED_ELSEWHERE, (node,))
        return dict(cursor.fetchall())


def forget_disks(connection: BlockingConnection) -> None:
    """Let each node begin with the disk that it has: the database was restored, and the disks may be new."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('nodes') IS NOT NULL AND to_regclass('calls') IS NOT NULL")
        if cursor.fetchone() == (True,):  # not in a backup of an earlier version
            cursor.execute("DELETE FROM calls")
            cursor.execute("UPDATE nodes SET spool_id = NULL, instance = NULL")
