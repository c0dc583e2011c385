"""Complete lists and pagination: voxrec's memory for a list of 100,000 rows, and pages during inserts and deletes.

``--quick`` has no effect: there is only one round.
"""

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import psycopg2

from bench.measure import resident_megabytes
from bench.report import Section, Table, Target, publish
from bench.servers import Server, print_progress, start_voxrec, temporary_postgresql
from voxrec.postgres.migrate import migrate

ROWS: Final = 100_000
PAGE_ROWS: Final = 1000
MAX_GROWTH_MB: Final = 50.0  # of voxrec's memory for a complete list
FILL_PROFILES: Final = f"""
    INSERT INTO profiles (id, name, email, remote_sip_uri, record, record_format, record_channels, record_beep_at_start,
                          record_beep_interval, record_prompt, retention_days, metadata, created_at, updated_at)
    SELECT gen_random_uuid(), 'Desk ' || n, 'desk' || n || '@example.org, all' || n % 1000 || '@example.org',
           'sip:desk' || n || '@pbx.example', true, 'wav', 'mono', true, 0, 'none', 90,
           jsonb_build_object('customer', n::text),
           timestamptz '2026-02-01' - n * interval '1 second', timestamptz '2026-02-01'
    FROM generate_series(1, {ROWS}) AS n;
    INSERT INTO profile_numbers SELECT '+49301' || row_number() OVER (), id, 1 FROM profiles;
    ANALYZE
"""  # noqa: S608 - constants only
FILL_RECORDINGS: Final = f"""
    INSERT INTO recordings (id, profile_id, state, format, channels, "from", "to", duration, size, timeline, metadata,
                            legal_hold, created_at, updated_at)
    SELECT gen_random_uuid(), gen_random_uuid(), 'completed', 'wav', 1, '+4930' || n % 5000, '+4940' || n % 5000,
           61.5, 984044, '[{{"at": 0.0, "event": "answered"}}, {{"at": 61.5, "event": "hangup", "by": "caller"}}]',
           jsonb_build_object('customer', n::text), false,
           timestamptz '2026-02-01' - n * interval '1 second', timestamptz '2026-02-01'
    FROM generate_series(1, {ROWS}) AS n;
    ANALYZE
"""  # noqa: S608 - constants only


TITLE: Final = "Complete lists, and pages during inserts and deletes"
INTRO: Final = (
    f"A list without `limit` is streamed: {ROWS:,} rows must not be in memory at once. Pages of {PAGE_ROWS:,} are read "
    "while, before each of them, one row is inserted at the front and one is deleted in the middle."
)


@dataclass(frozen=True, slots=True)
class CompleteList:
    """One complete list: its size, the duration, and voxrec's memory in MB before, and the growth at its peak."""

    path: str
    megabytes: float
    seconds: float
    before: float
    growth: float


@dataclass(frozen=True, slots=True)
class PageSequence:
    """All pages of a table, times in ms; ``missed`` and ``duplicates`` count rows that existed all the time."""

    table: str
    pages: int
    first: float
    last: float
    missed: int
    duplicates: int


def wait_until_memory_is_steady(daemon: Server) -> None:
    """Wait until the process's memory changes by less than 0.5 MB for 2 s."""
    steady, last = 0, 0.0
    while steady < 10:
        now = resident_megabytes(daemon.pid)
        steady = steady + 1 if abs(now - last) < 0.5 else 0
        last = now
        time.sleep(0.2)


@contextmanager
def peak_memory(daemon: Server) -> Iterator[list[float]]:
    """Measure the peak of resident memory inside this context; the list's only item is updated from a thread."""
    peak, stopped = [resident_megabytes(daemon.pid)], threading.Event()

    def watch() -> None:
        while not stopped.wait(0.02):
            peak[0] = max(peak[0], resident_megabytes(daemon.pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        stopped.set()
        thread.join()


def read_complete_list(daemon: Server, path: str) -> CompleteList:
    """Request a complete list. Raises AssertionError if rows are missing."""
    before, began = resident_megabytes(daemon.pid), time.monotonic()
    with peak_memory(daemon) as peak:
        body = daemon.request(path)[2]
    seconds = time.monotonic() - began
    if (rows := len({row["id"] for row in json.loads(body)})) != ROWS:
        raise AssertionError(f"{path}: {rows} rows of {ROWS}")
    return CompleteList(path, len(body) / 1e6, seconds, before, peak[0] - before)


def read_pages(daemon: Server, cursor: Any, table: str) -> PageSequence:
    """Request all pages; before each one a row is inserted at the front and another one deleted in the middle."""
    cursor.execute(f"SELECT id::text FROM {table}")  # noqa: S608
    existing = {row[0] for row in cursor.fetchall()}
    seen: list[str] = []
    seconds: list[float] = []
    path = f"/{table}?limit={PAGE_ROWS}"
    while path:
        began = time.monotonic()
        status, headers, body = daemon.request(path)
        seconds.append(time.monotonic() - began)
        if status != 200:
            raise AssertionError(f"{path}: {status} {body!r}")
        seen += [row["id"] for row in json.loads(body)]
        cursor.execute(f"SELECT id::text FROM {table} ORDER BY random() LIMIT 1")  # noqa: S608
        deleted = cursor.fetchone()[0]
        existing.discard(deleted)
        cursor.execute(f"DELETE FROM {table} WHERE id = %s", (deleted,))  # noqa: S608
        cursor.execute(
            f"""INSERT INTO {table} SELECT (jsonb_populate_record({table}, jsonb_build_object(
                'id', %s, 'created_at', now()))).* FROM {table} LIMIT 1""",  # noqa: S608
            (str(uuid4()),),
        )
        next_link = re.search(r"<http://[^/]+([^>]+)>", headers.get("link", ""))
        path = next_link[1] if next_link else ""
    return PageSequence(
        table=table,
        pages=len(seconds),
        first=seconds[0] * 1000,
        last=max(seconds[-5:]) * 1000,
        missed=len(existing - set(seen)),
        duplicates=len(seen) - len(set(seen)),
    )


def section(lists: list[CompleteList], sequences: list[PageSequence]) -> Section:
    """Return the section of the report."""
    return Section(
        title=TITLE,
        intro=INTRO,
        tables=(
            Table(
                ("list", "MB", "seconds", "voxrec before, MB", "growth, MB"),
                tuple(
                    (f"`{one.path}`", f"{one.megabytes:.1f}", f"{one.seconds:.2f}", f"{one.before:.1f}",
                     f"{one.growth:.1f}")
                    for one in lists
                ),
            ),
            Table(
                ("pages of", "pages", "first, ms", "slowest of the last five, ms", "rows missed", "duplicates"),
                tuple(
                    (one.table, str(one.pages), f"{one.first:.1f}", f"{one.last:.1f}", str(one.missed),
                     str(one.duplicates))
                    for one in sequences
                ),
            ),
        ),
        targets=(
            Target.at_most("growth for a complete list", max(one.growth for one in lists), MAX_GROWTH_MB, " MB"),
            Target.at_most("rows missed or duplicated", sum(one.missed + one.duplicates for one in sequences), 0),
        ),
    )  # fmt: skip


def main() -> None:
    """Measure and publish."""
    with temporary_postgresql({"fsync": "off"}) as (directory, cluster):
        cluster.create_database("lists")
        dsn = cluster.dsn("lists")
        migrate(dsn)
        with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            cursor.execute("SET session_replication_role = replica")  # no triggers and notifications
            cursor.execute(FILL_RECORDINGS)
            daemon = start_voxrec(directory / "voxrec", dsn)
            try:
                daemon.wait_until_ready("/profiles?limit=1")
                wait_until_memory_is_steady(daemon)
                print_progress("complete lists")
                lists = [read_complete_list(daemon, "/recordings")]
                # Inserted after the first list: loaded into the cache at start-up, they would leave free memory behind.
                cursor.execute(FILL_PROFILES)
                lists += [read_complete_list(daemon, "/profiles"), read_complete_list(daemon, "/recordings")]
                print_progress("pages")
                sequences = [read_pages(daemon, cursor, table) for table in ("recordings", "profiles")]
            finally:
                daemon.stop()
    publish("lists", [section(lists, sequences)], 1)


if __name__ == "__main__":
    main()
