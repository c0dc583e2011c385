"""Whole lists and long walks: the daemon's memory for 100,000 rows at once, and pages while rows come and go.

``--quick`` changes nothing: it is one round in any case.
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

from bench.gateway import Server, postgresql, say, voxrec
from bench.measure import resident_megabytes
from bench.report import Reach, Section, Table, publish
from voxrec.postgres.migrate import migrate

ROWS: Final = 100_000
PAGE: Final = 1000
AIM: Final = 50.0  # MB by which the daemon may grow for a whole list
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
"""  # noqa: S608 - nothing of it comes from elsewhere
FILL_RECORDINGS: Final = f"""
    INSERT INTO recordings (id, profile_id, state, format, channels, "from", "to", duration, size, timeline, metadata,
                            legal_hold, created_at, updated_at)
    SELECT gen_random_uuid(), gen_random_uuid(), 'completed', 'wav', 1, '+4930' || n % 5000, '+4940' || n % 5000,
           61.5, 984044, '[{{"at": 0.0, "event": "answered"}}, {{"at": 61.5, "event": "hangup", "by": "caller"}}]',
           jsonb_build_object('customer', n::text), false,
           timestamptz '2026-02-01' - n * interval '1 second', timestamptz '2026-02-01'
    FROM generate_series(1, {ROWS}) AS n;
    ANALYZE
"""  # noqa: S608 - nothing of it comes from elsewhere


@dataclass(frozen=True, slots=True)
class Whole:
    """One whole list: its size, how long it took, and what the daemon had in memory before, and how much more."""

    path: str
    megabytes: float
    seconds: float
    before: float
    growth: float


@dataclass(frozen=True, slots=True)
class Walk:
    """All pages of a table, in milliseconds; ``missed`` and ``twice`` count rows that were there from first to last."""

    table: str
    pages: int
    first: float
    last: float
    missed: int
    twice: int


def settle(daemon: Server) -> None:
    """Wait until all of its start is over."""
    steady, last = 0, 0.0
    while steady < 10:
        now = resident_megabytes(daemon.pid)
        steady = steady + 1 if abs(now - last) < 0.5 else 0
        last = now
        time.sleep(0.2)


@contextmanager
def highest(daemon: Server) -> Iterator[list[float]]:
    """The most memory that the daemon had meanwhile."""
    found, over = [resident_megabytes(daemon.pid)], threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            found[0] = max(found[0], resident_megabytes(daemon.pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def whole(daemon: Server, path: str) -> Whole:
    """Read one whole list."""
    before, began = resident_megabytes(daemon.pid), time.monotonic()
    with highest(daemon) as most:
        body = daemon.ask(path)[2]
    seconds = time.monotonic() - began
    if (found := len({row["id"] for row in json.loads(body)})) != ROWS:
        raise AssertionError(f"{path}: {found} rows of {ROWS}")
    return Whole(path, len(body) / 1e6, seconds, before, most[0] - before)


def walk(daemon: Server, cursor: Any, table: str) -> Walk:
    """Read page by page, while before each one a row comes at the front and another goes in the middle."""
    cursor.execute(f"SELECT id::text FROM {table}")  # noqa: S608
    steady = {row[0] for row in cursor.fetchall()}
    seen: list[str] = []
    seconds: list[float] = []
    path = f"/{table}?limit={PAGE}"
    while path:
        began = time.monotonic()
        status, headers, body = daemon.ask(path)
        seconds.append(time.monotonic() - began)
        if status != 200:
            raise AssertionError(f"{path}: {status} {body!r}")
        seen += [row["id"] for row in json.loads(body)]
        cursor.execute(f"SELECT id::text FROM {table} ORDER BY random() LIMIT 1")  # noqa: S608
        gone = cursor.fetchone()[0]
        steady.discard(gone)
        cursor.execute(f"DELETE FROM {table} WHERE id = %s", (gone,))  # noqa: S608
        cursor.execute(
            f"""INSERT INTO {table} SELECT (jsonb_populate_record({table}, jsonb_build_object(
                'id', %s, 'created_at', now()))).* FROM {table} LIMIT 1""",  # noqa: S608
            (str(uuid4()),),
        )
        following = re.search(r"<http://[^/]+([^>]+)>", headers.get("link", ""))
        path = following[1] if following else ""
    return Walk(
        table=table,
        pages=len(seconds),
        first=seconds[0] * 1000,
        last=max(seconds[-5:]) * 1000,
        missed=len(steady - set(seen)),
        twice=len(seen) - len(set(seen)),
    )


def section(lists: list[Whole], walks: list[Walk]) -> Section:
    """Both tables, and what was aimed at."""
    return Section(
        title="Whole lists, and pages while rows come and go",
        intro=f"A list without `limit` is streamed: {ROWS:,} rows must not pass through memory at once. Pages of "
        f"{PAGE:,} are read while a row is added at the front and one is deleted in the middle before each.",
        tables=(
            Table(
                ("list", "MB", "seconds", "daemon before, MB", "growth, MB"),
                tuple(
                    (f"`{one.path}`", f"{one.megabytes:.1f}", f"{one.seconds:.2f}", f"{one.before:.1f}",
                     f"{one.growth:.1f}")
                    for one in lists
                ),
            ),
            Table(
                ("pages of", "pages", "first, ms", "slowest of the last five, ms", "rows missed", "rows twice"),
                tuple(
                    (one.table, str(one.pages), f"{one.first:.1f}", f"{one.last:.1f}", str(one.missed), str(one.twice))
                    for one in walks
                ),
            ),
        ),
        reaches=(
            Reach.at_most("growth for a whole list", max(one.growth for one in lists), AIM, " MB"),
            Reach.at_most("rows missed or seen twice", sum(one.missed + one.twice for one in walks), 0),
        ),
    )  # fmt: skip


def main() -> None:
    """Measure, and put it into the report."""
    with postgresql({"fsync": "off"}) as (directory, cluster):
        cluster.create_database("lists")
        dsn = cluster.dsn("lists")
        migrate(dsn)
        with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            cursor.execute("SET session_replication_role = replica")  # nobody needs to be told of each row
            cursor.execute(FILL_RECORDINGS)
            daemon = voxrec(directory / "voxrec", dsn)
            try:
                daemon.wait("/profiles?limit=1")
                settle(daemon)
                say("whole lists")
                lists = [whole(daemon, "/recordings")]
                # only now, so that the daemon does not take them into its own memory, whose leavings would be used
                cursor.execute(FILL_PROFILES)
                lists += [whole(daemon, "/profiles"), whole(daemon, "/recordings")]
                say("pages")
                walks = [walk(daemon, cursor, table) for table in ("recordings", "profiles")]
            finally:
                daemon.stop()
    publish("lists", [section(lists, walks)], 1)


if __name__ == "__main__":
    main()
