"""How lists of Recordings grow: pages and filters over 1,000, 100,000 and 3,000,000 rows, by the same requests.

Each size has a database and a daemon of its own, so that they are asked in turn. Every filter finds 60 rows, or nearly
all, whatever the size: a page is always full. ``--quick`` does a single round.
"""

import http.client
import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

import psycopg2

from bench.gateway import Server, postgresql, say, voxrec
from bench.measure import ROUNDS, Spread, interleaved, percentile
from bench.report import Reach, Section, Table, publish
from voxrec.model import RecordingState
from voxrec.store.embedded import Cluster
from voxrec.store.keyset import Cursor
from voxrec.store.migrate import migrate
from voxrec.store.recordings import RecordingFilter, Recordings
from voxrec.store.tokens import digest, new_secret

SIZES: Final = (1_000, 100_000, 3_000_000)
RARE: Final = 60  # rows that a rare value has, at any size
ASKED: Final = 150  # requests of each kind in a round
AIM: Final = 1.5  # p99 against that of the smallest size
SET_UP_AIM: Final = 180.0  # seconds
_NO_MATTER: Final = 0.5  # milliseconds by which p99 may differ whatever the ratio: a page takes a few in any case
PROFILE: Final = UUID("11111111-1111-4111-8111-111111111111")
NEWEST: Final = "2026-02-01T00:00:00Z"
# Rows are a second apart; every ``size / 60``-th one is of the Profile, the caller, the callee ... that is asked for.
FILL: Final = """
    INSERT INTO recordings (id, profile_id, state, format, channels, started_at, ended_at, "from", "to", duration, size,
                            timeline, metadata, legal_hold, path, created_at, updated_at)
    SELECT gen_random_uuid(), CASE WHEN rare THEN '{profile}'::uuid ELSE gen_random_uuid() END,
           CASE WHEN rare THEN 'failed' ELSE 'completed' END, 'wav', 2, at, at + interval '1 minute',
           CASE WHEN rare THEN '+4930' ELSE '+4931' || n % 100000 END,
           CASE WHEN rare THEN '+4940' ELSE '+4941' || n % 100000 END, 61.5, 984044,
           '[{{"at": 0.0, "event": "answered"}}, {{"at": 61.5, "event": "hangup", "by": "caller"}}]',
           jsonb_build_object('customer', CASE WHEN rare THEN 'ours' ELSE n::text END, 'site', 'Hamburg'), false,
           'one.wav', at, at
    FROM (SELECT n, n % ({size} / {rare}) = 0 AS rare, timestamptz '{newest}' - n * interval '1 second' AS at
          FROM generate_series(1, {size}) AS n) AS made
"""
PROFILES: Final = f"""
    INSERT INTO profiles (id, record, record_format, record_channels, record_beep_at_start, record_beep_interval,
                          record_prompt, metadata, created_at, updated_at)
    VALUES ('{PROFILE}', true, 'wav', 'dual', true, 0, 'none', '{{}}', now(), now())
"""  # noqa: S608 - nothing of it comes from elsewhere


@dataclass(frozen=True)
class Question:
    """One list: what follows ``/recordings?limit=50`` or stands in its place, and the same for PostgreSQL."""

    name: str
    path: str
    wanted: RecordingFilter
    limited: bool = False  # asked with a token that is limited to the Profile


def _list(**parameters: str) -> str:
    return "/recordings?limit=50" + "".join(f"&{name}={quote(value)}" for name, value in parameters.items())


QUESTIONS: Final = (
    Question("the newest", _list(), RecordingFilter()),
    Question("of a Profile", f"/profiles/{PROFILE}/recordings?limit=50", RecordingFilter(profile_id=PROFILE)),
    Question("state, rare", _list(state="failed"), RecordingFilter(states=[RecordingState.FAILED])),
    Question("state, nearly all", _list(state="completed"), RecordingFilter(states=[RecordingState.COMPLETED])),
    Question("from", _list(**{"from": "+4930"}), RecordingFilter(from_="+4930")),
    Question("to", _list(to="+4940"), RecordingFilter(to="+4940")),
    Question("q, rare", _list(q='{"customer":"ours"}'), RecordingFilter(metadata={"customer": "ours"})),
    Question("q, nearly all", _list(q='{"site":"Hamburg"}'), RecordingFilter(metadata={"site": "Hamburg"})),
    Question(
        "q and from",
        _list(**{"q": '{"site":"Hamburg"}', "from": "+4930"}),
        RecordingFilter(metadata={"site": "Hamburg"}, from_="+4930"),
    ),
    Question("limited token", _list(), RecordingFilter(), limited=True),
)
DEEP: Final = "deep in the list"


class Spied:
    """Takes the place of a pool, and keeps the statement that a page is read with."""

    async def query(self, sql: str, params: Any) -> list[Any]:
        """Nothing."""
        self.asked = (sql, params)
        return []


def fill(cluster: Cluster, size: int, secret: str) -> float:
    """A database of so many Recordings; gives the seconds that it took to make."""
    began = time.monotonic()
    name = f"growth_{size}"
    cluster.create_database(name)
    migrate(cluster.dsn(name))
    with closing(psycopg2.connect(cluster.dsn(name))) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("SET session_replication_role = replica")  # nobody needs to be told of each row
        cursor.execute("SET maintenance_work_mem = '1GB'")
        cursor.execute(PROFILES)
        cursor.execute(
            "INSERT INTO tokens (id, name, hash, role, profile_ids, created_at)"
            " VALUES (gen_random_uuid(), 'limited', %s, 'read', ARRAY[%s::uuid], now())",
            (digest(secret), str(PROFILE)),
        )
        with _without_indexes(cursor):
            cursor.execute(FILL.format(profile=PROFILE, size=size, rare=RARE, newest=NEWEST))
        cursor.execute("VACUUM ANALYZE")
    return time.monotonic() - began


@contextmanager
def _without_indexes(cursor: Any) -> Iterator[None]:
    """Indexes are made quicker at once than row by row."""
    cursor.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'recordings' AND indexname <> 'recordings_pkey'"
    )
    known = cursor.fetchall()
    for name, _ in known:
        cursor.execute(f"DROP INDEX {name}")
    yield
    for _, definition in known:
        cursor.execute(definition)


def milliseconds(server: Server, path: str, token: str, times: int) -> list[float]:
    """Ask so many times, one after the other, and time each answer; all are full pages."""
    found = []
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        for _ in range(times):
            began = time.perf_counter()
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
            response = connection.getresponse()
            body = response.read()
            found.append((time.perf_counter() - began) * 1e3)
    rows = len(json.loads(body))
    if response.status != 200 or rows != 50:
        raise AssertionError(f"{path}: {response.status}, {rows} rows")
    return found


def deep_path(server: Server, size: int) -> str:
    """Where the page in the middle of all is, as its neighbour's Link says."""
    middle = f"/recordings?limit=50&until={_moment(size // 2)}"
    link = server.ask(middle)[1]["link"]
    found = re.search(r"<http://[^/]+([^>]+)>", link)
    if found is None:
        raise AssertionError(link)
    return found[1]


def _moment(second: int) -> str:
    return f"{datetime.fromisoformat(NEWEST) - timedelta(seconds=second):%Y-%m-%dT%H:%M:%SZ}"


def plans(cursor: Any) -> list[tuple[str, str, str]]:
    """How PostgreSQL reads each page: the list, the indexes in use, and milliseconds."""
    told = []
    for question in QUESTIONS:
        spied = Spied()
        store: Any = Recordings(spied).within(frozenset([PROFILE]) if question.limited else None)  # type: ignore[arg-type]
        _run(store.page(question.wanted, 51, None))
        told.append((question.name, *_explained(cursor, *spied.asked)))
    spied = Spied()
    cursor.execute("SELECT created_at, id FROM recordings ORDER BY created_at OFFSET %s LIMIT 1", (SIZES[-1] // 2,))
    _run(Recordings(spied).page(RecordingFilter(), 51, Cursor(*cursor.fetchone())))  # type: ignore[arg-type]
    told.append((DEEP, *_explained(cursor, *spied.asked)))
    return told


def _explained(cursor: Any, sql: str, params: Any) -> tuple[str, str]:
    cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", tuple(params))
    plan = cursor.fetchone()[0][0]
    text = json.dumps(plan)
    if re.search(r'"Seq Scan"[^{}]*"Relation Name": "recordings"', text):
        raise AssertionError(f"the whole table is read: {sql}")
    indexes = sorted(set(re.findall(r'"Index Name": "(\w+)"', text)))
    return ", ".join(indexes), f"{plan['Execution Time']:.2f}"


def _run(coroutine: Any) -> None:
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise RuntimeError("it waits")


def indexes(cursor: Any) -> list[tuple[str, str]]:
    """Each index and the table itself, with their megabytes."""
    cursor.execute(
        "SELECT indexrelid::regclass::text, pg_relation_size(indexrelid) / 1e6 FROM pg_index"
        " WHERE indrelid = 'recordings'::regclass ORDER BY 2 DESC"
    )
    sizes = cursor.fetchall()
    cursor.execute("SELECT pg_table_size('recordings') / 1e6")
    return [("the table", f"{cursor.fetchone()[0]:.0f}"), *((name, f"{size:.0f}") for name, size in sizes)]


def main() -> None:
    """Measure and publish."""
    rounds = 1 if "--quick" in sys.argv[1:] else ROUNDS
    secret = new_secret()
    slowest: dict[tuple[str, int], list[float]] = {}
    with postgresql({"fsync": "off", "max_wal_size": "4GB"}) as (directory, cluster):
        took = 0.0
        servers = {}
        for size in SIZES:
            took += fill(cluster, size, secret)
            say(f"{size} Recordings are there after {took:.0f} s")
            servers[size] = voxrec(directory / str(size), cluster.dsn(f"growth_{size}"))
        try:
            for server in servers.values():
                server.wait("/recordings?limit=1")
            paths = {(q.name, size): q.path for q in QUESTIONS for size in SIZES}
            paths |= {(DEEP, size): deep_path(servers[size], size) for size in SIZES}
            limited = {question.name for question in QUESTIONS if question.limited}
            names = [*(question.name for question in QUESTIONS), DEEP]
            for name in names:
                token = secret if name in limited else "admin"
                for number, size in interleaved(SIZES, rounds):
                    if number == 0:
                        milliseconds(servers[size], paths[name, size], token, 20)
                    times = milliseconds(servers[size], paths[name, size], token, ASKED)
                    slowest.setdefault((name, size), []).append(percentile(times, 99))
                say(f"{name}: " + ", ".join(f"{Spread.of(slowest[name, size]).median:.1f} ms" for size in SIZES))
            with closing(psycopg2.connect(cluster.dsn(f"growth_{SIZES[-1]}"))) as connection:
                cursor = connection.cursor()
                read, kept = plans(cursor), indexes(cursor)
        finally:
            for server in servers.values():
                server.stop()
    publish("growth", sections(names, slowest, read, kept, took), rounds)


def sections(
    names: list[str],
    slowest: dict[tuple[str, int], list[float]],
    read: list[tuple[str, str, str]],
    kept: list[tuple[str, str]],
    took: float,
) -> list[Section]:
    """What came of it, in words."""
    rows, reaches = [], []
    for name in names:
        found = {size: Spread.of(slowest[name, size]) for size in SIZES}
        least = found[SIZES[0]].median
        worst = max(found[size].median for size in SIZES[1:])
        ratio = 1.0 if worst - least <= _NO_MATTER else worst / least
        rows.append((name, *(spread.shown(1) for spread in found.values()), f"{worst / least:.2f}"))
        reaches.append(Reach.at_most(f"{name}: p99, larger to smallest", ratio, AIM, " x"))
    reaches.append(Reach.at_most(f"rows made, {sum(SIZES):,} of them", took, SET_UP_AIM, " s"))
    columns = ("page of 50", *(f"{size:,}" for size in SIZES), "ratio")
    return [
        Section(
            "Lists that grow",
            "The milliseconds that 99 % of pages took at most over REST, by the number of Recordings. Every filter "
            f"finds {RARE} of them, or nearly all.",
            (Table(columns, tuple(rows)),),
            tuple(reaches),
        ),
        Section(
            f"How PostgreSQL reads a page of {SIZES[-1]:,} Recordings",
            "As EXPLAIN ANALYZE tells; no list reads the whole table.",
            (Table(("page", "indexes", "ms"), tuple(read)), Table(("on the disk", "MB"), tuple(kept))),
        ),
    ]


if __name__ == "__main__":
    main()
