"""The files of Recordings as the database knows them, for backups. Blocking."""

from dataclasses import dataclass
from typing import Final

from psycopg2.extensions import connection as BlockingConnection

_ARCHIVED: Final = """
    SELECT path, size, sha256, coalesce(stored_object ->> 'stored_at', '') <> '' FROM recordings
    WHERE path IS NOT NULL ORDER BY path
"""
_HAS_UPLOADS: Final = """
    SELECT FROM information_schema.columns WHERE table_name = 'recordings' AND column_name = 'stored_object'
"""
_UPLOAD_BACKLOG: Final = """
    SELECT count(*), coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8,
           coalesce((array_agg(last_error ORDER BY due_at DESC) FILTER (WHERE last_error IS NOT NULL))[1], ''),
           (SELECT count(*) FROM recordings WHERE stored_object IS NOT NULL)
    FROM jobs WHERE kind = 'upload' AND done_at IS NULL
"""
_UNFINISHED: Final = "SELECT id::text FROM recordings WHERE state NOT IN ('completed', 'absent')"
_UNFINISHED_ELSEWHERE: Final = """
    SELECT node, count(*) FROM recordings
    WHERE state IN ('recording', 'paused', 'processing') AND node <> %s
    GROUP BY node ORDER BY node
"""
_UNANNOUNCED: Final = f"{_UNFINISHED} AND prompt_played = false"


@dataclass(frozen=True, slots=True)
class ArchivedFile:
    """A file in the archive: its path, its size in bytes, its SHA-256 in hexadecimal, and whether S3 has it, too."""

    path: str
    size: int | None
    sha256: str | None
    uploaded: bool = False


@dataclass(frozen=True, slots=True)
class UploadBacklog:
    """Uploads that wait, the age of the oldest in seconds, an error, and the number of Recordings in S3."""

    waiting: int
    oldest_age: float
    last_error: str
    stored: int


def read_upload_backlog(connection: BlockingConnection) -> UploadBacklog | None:
    """Return the state of the uploads to S3; None if the schema is older than they are."""
    with connection.cursor() as cursor:
        cursor.execute(_HAS_UPLOADS)
        if cursor.fetchone() is None:
            return None
        cursor.execute(_UPLOAD_BACKLOG)
        row = cursor.fetchone()
        assert row is not None, "an aggregate has one row"
        return UploadBacklog(*row)


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
