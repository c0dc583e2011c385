"""How lists of Recordings grow: pages and filters over 1,000, 100,000 and 3,000,000 rows, by the same requests.

Each size has a database and a daemon of its own, so that they are asked in turn. What is looked for has 60 rows, spread
over all or all of them the oldest; or a fifth; or nearly all: a page is always full. ``--quick`` does a single round.
"""

import http.client
import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode
from uuid import UUID

import msgspec
import psycopg2

from bench.gateway import Server, postgresql, say, voxrec
from bench.measure import ROUNDS, Spread, interleaved, percentile
from bench.report import Reach, Section, Table, publish
from voxrec.cursor import Cursor
from voxrec.model import RecordingState
from voxrec.postgres.cluster import Cluster
from voxrec.postgres.migrate import migrate
from voxrec.store.metadata_index import COMMON_TERM_ROWS
from voxrec.store.recordings import RecordingFilter, Recordings
from voxrec.store.tokens import generate_secret, hash_secret
from voxrec.web.pagination import encode_cursor

SIZES: Final = (1_000, 100_000, 3_000_000)
FEW: Final = 60  # rows that a rare value has, at any size
ASKED: Final = 200  # requests of each kind in a round
AIM: Final = 1.5  # p99 against that of the smallest size
SET_UP_AIM: Final = 180.0  # seconds
_NO_MATTER: Final = 0.5  # milliseconds by which p99 may differ whatever the ratio: a page takes a few in any case
NEWEST: Final = datetime.fromisoformat("2026-02-01T00:00:00Z")
RARE, OLD, FIFTH = (UUID(f"{digit * 8}-1111-4111-8111-111111111111") for digit in "123")
# Rows are a second apart. Every ``size / 60``-th one is of the rare Profile, state, caller and so on; the last 60 are
# of the old one; every fifth is of another. The rest share a thousand Profiles.
FILL: Final = f"""
    INSERT INTO recordings (id, profile_id, state, format, channels, started_at, ended_at, "from", "to", duration, size,
                            timeline, metadata, legal_hold, path, created_at, updated_at)
    SELECT gen_random_uuid(),
           CASE kind WHEN 'rare' THEN '{RARE}' WHEN 'old' THEN '{OLD}' WHEN 'fifth' THEN '{FIFTH}'
                     ELSE '00000000-0000-4000-8000-' || lpad((n %% 1009)::text, 12, '0') END::uuid,
           CASE kind WHEN 'rare' THEN 'failed' WHEN 'old' THEN 'absent' ELSE 'completed' END,
           'wav', 2, at, at + interval '1 minute',
           CASE kind WHEN 'rare' THEN '+4930' WHEN 'old' THEN '+4931' WHEN 'fifth' THEN '+4932'
                     ELSE '+4935' || n %% 100003 END,
           CASE kind WHEN 'rare' THEN '+4940' WHEN 'fifth' THEN '+4942' ELSE '+4945' || n %% 1009 END,
           61.5, 984044,
           '[{{"at": 0.0, "event": "answered"}}, {{"at": 61.5, "event": "hangup", "by": "caller"}}]',
           jsonb_build_object('customer', coalesce(kind, n::text), 'site', 'Hamburg'), false, 'one.wav', at, at
    FROM (SELECT n, timestamptz '{NEWEST}' - n * interval '1 second' AS at,
                 CASE WHEN n %% (%(size)s / {FEW}) = 0 THEN 'rare'
                      WHEN n > %(size)s - {FEW} THEN 'old'
                      WHEN n %% 5 = 1 THEN 'fifth' END AS kind
          FROM generate_series(1, %(size)s) AS n) AS made
"""  # noqa: S608 - nothing of it comes from elsewhere
# The same that a trigger does row by row: the metadata are flat here.
MARK: Final = """
    INSERT INTO recording_marks SELECT jsonb_hash_extended(jsonb_build_array(key, value), 0), created_at, id
    FROM recordings CROSS JOIN LATERAL jsonb_each(metadata)
"""
PROFILES: Final = """
    INSERT INTO profiles (id, record, record_format, record_channels, record_beep_at_start, record_beep_interval,
                          record_prompt, metadata, created_at, updated_at)
    SELECT id, true, 'wav', 'dual', true, 0, 'none', '{}', now(), now() FROM unnest(%s::uuid[]) AS id
"""

NOTES: Final = f"""
What still grows: two things that are each frequent and hardly ever meet, such as a Profile and a caller's number with a
hundred thousand Recordings each and a handful in common. All rows of one of them may have to be gone through for a
page. So it is for `from` together with `to`, for either together with a Profile or a state, for `q` together with any
of these where {COMMON_TERM_ROWS:,} Recordings or more contain it, and for `q` of several values that so many
contain; also for
`state=completed` where hardly any are, and for a token that is limited to 200 Profiles or more, all of them without
calls for long. One that is limited to fewer looks into each, which with 190 takes PostgreSQL about 4 ms, however many
Recordings there are.
""".strip()


@dataclass(frozen=True)
class Question:
    """One list: what is wanted, from behind ``after`` on, by a token that is limited to these Profiles, if to any."""

    name: str
    wanted: RecordingFilter
    after: Cursor | None = None
    limited: frozenset[UUID] | None = None

    @property
    def path(self) -> str:
        """How REST is asked for it."""
        wanted = self.wanted
        given = {
            "limit": 50,
            "state": ",".join(wanted.states),
            "from": wanted.from_,
            "to": wanted.to,
            "since": wanted.since and wanted.since.isoformat(),
            "until": wanted.until and wanted.until.isoformat(),
            "q": wanted.metadata and msgspec.json.encode(wanted.metadata).decode(),
            "cursor": self.after and encode_cursor(self.after),
        }
        below = f"/profiles/{wanted.profile_id}" if wanted.profile_id else ""
        return f"{below}/recordings?{urlencode({name: value for name, value in given.items() if value})}"


def questions(size: int) -> tuple[Question, ...]:
    """What is asked of so many."""
    failed, absent, completed = ([RecordingState(state)] for state in ("failed", "absent", "completed"))
    middle = Cursor(_moment(size // 2), UUID(int=0))
    span = {"since": _moment(size * 3 // 4), "until": _moment(size // 4)}
    hamburg, fifth = {"site": "Hamburg"}, {"customer": "fifth"}
    every = RecordingFilter
    return (
        Question("the newest", every()),
        Question("the newest, deep", every(), middle),
        Question("a span of time", every(**span)),
        Question("a Profile, rare", every(profile_id=RARE)),
        Question("a Profile, old", every(profile_id=OLD)),
        Question("a Profile, a fifth", every(profile_id=FIFTH)),
        Question("a Profile, a fifth, deep", every(profile_id=FIFTH), middle),
        Question("a Profile in a span", every(profile_id=FIFTH, **span)),
        Question("a Profile and a state", every(profile_id=RARE, states=failed)),
        Question("state, rare", every(states=failed)),
        Question("state, old", every(states=absent)),
        Question("state, nearly all", every(states=completed)),
        Question("two states", every(states=[*failed, *absent])),
        Question("from, rare", every(from_="+4930")),
        Question("from, old", every(from_="+4931")),
        Question("from, a fifth, in a span", every(from_="+4932", **span)),
        Question("to, rare", every(to="+4940")),
        Question("from and to", every(from_="+4932", to="+4942")),
        Question("q, rare", every(metadata={"customer": "rare"})),
        Question("q, old", every(metadata={"customer": "old"})),
        Question("q, a fifth", every(metadata=fifth)),
        Question("q, a fifth, deep", every(metadata=fifth), middle),
        Question("q, nearly all", every(metadata=hamburg)),
        Question("q, nearly all, in a span", every(metadata=hamburg, **span)),
        Question("q of two values", every(metadata={**hamburg, "customer": "rare"})),
        Question("q and from", every(metadata=hamburg, from_="+4930")),
        Question("q and a Profile", every(metadata=fifth, profile_id=FIFTH)),
        Question("limited token", every(), limited=frozenset([RARE])),
        Question("limited to three", every(), limited=frozenset([RARE, OLD, FIFTH])),
        Question("limited to three, q", every(metadata=hamburg), limited=frozenset([RARE, OLD, FIFTH])),
    )


def _moment(second: int) -> datetime:
    return NEWEST - timedelta(seconds=second)


def fill(cluster: Cluster, size: int, secrets: dict[frozenset[UUID], str]) -> float:
    """A database of so many Recordings; gives the seconds that it took to make."""
    began = time.monotonic()
    name = f"growth_{size}"
    cluster.create_database(name)
    migrate(cluster.dsn(name))
    with closing(psycopg2.connect(cluster.dsn(name))) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("SET session_replication_role = replica")  # nobody needs to be told of each row
        cursor.execute("SET maintenance_work_mem = '1GB'")
        cursor.execute(PROFILES, ([RARE, OLD, FIFTH],))
        for profile_ids, secret in secrets.items():
            cursor.execute(
                "INSERT INTO tokens (id, name, hash, role, profile_ids, created_at)"
                " VALUES (gen_random_uuid(), 'limited', %s, 'read', %s::uuid[], now())",
                (hash_secret(secret), list(profile_ids)),
            )
        # tables that were emptied in the same transaction need no write-ahead log (wal_level minimal)
        cursor.execute("BEGIN")
        cursor.execute("TRUNCATE recordings, deliveries, recording_marks")
        with _without_indexes(cursor):
            cursor.execute(FILL, {"size": size})
            cursor.execute(MARK)
        cursor.execute("COMMIT")
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
    cursor.execute("ALTER TABLE recording_marks DROP CONSTRAINT recording_marks_pkey")
    yield
    for _, definition in known:
        cursor.execute(definition)
    cursor.execute("ALTER TABLE recording_marks ADD PRIMARY KEY (mark, at, recording_id)")


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


class Plan(NamedTuple):
    """How PostgreSQL does a statement, or two: what it does, how many pages of tables and indexes it sees, and ms."""

    shape: str
    pages: int
    ms: float


class Explaining:
    """Takes the place of a pool, and tells of each statement how it is done."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        self.plans: list[Plan] = []

    async def query(self, sql: str, params: Any) -> list[Any]:
        """The rows."""
        self._cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", tuple(params))
        told = self._cursor.fetchone()[0][0]
        if any(name == "Seq Scan on recordings" for name in _nodes(told["Plan"])):
            raise AssertionError(f"the whole table is read: {sql}")
        pages = told["Plan"]["Shared Hit Blocks"] + told["Plan"]["Shared Read Blocks"]
        self.plans.append(Plan(_shape(told["Plan"]), pages, told["Execution Time"]))
        self._cursor.execute(sql, tuple(params))
        rows: list[Any] = self._cursor.fetchall()
        return rows


def explained(cursor: Any, question: Question) -> Plan:
    """How PostgreSQL finds a page."""
    explaining: Any = Explaining(cursor)
    store = Recordings(explaining).scoped_to(question.limited)
    for _ in range(2):  # the second time all is in memory
        explaining.plans.clear()
        _run(store.page(question.wanted, 51, question.after))
    shapes, pages, ms = zip(*explaining.plans, strict=True)
    return Plan("; ".join(shapes), sum(pages), sum(ms))


def _run(coroutine: Any) -> None:
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise RuntimeError("it waits")


def _nodes(plan: dict[str, Any]) -> Iterator[str]:
    yield f"{plan['Node Type']} on {plan.get('Index Name') or plan.get('Relation Name')}"
    for below in plan.get("Plans", ()):
        yield from _nodes(below)


def _shape(plan: dict[str, Any]) -> str:
    """A plan in a line: what stands above goes before."""
    loops = f" x {plan['Actual Loops']:.0f}" if plan["Actual Loops"] > 1 else ""
    read = plan.get("Index Name")
    own = f"{plan['Node Type']}{f' {read}' if read else ''}{loops}"
    below = [_shape(each) for each in plan.get("Plans", ())]
    if len(below) > 1:
        return f"{own} ({', '.join(below)})"
    return " > ".join([own, *below])


def indexes(cursor: Any) -> list[tuple[str, str]]:
    """Each table and index, with their megabytes."""
    cursor.execute("""
        SELECT 'table ' || oid::regclass, pg_table_size(oid) / 1e6 FROM pg_class
        WHERE oid IN ('recordings'::regclass, 'recording_marks'::regclass)
        UNION ALL
        SELECT indexrelid::regclass::text, pg_relation_size(indexrelid) / 1e6 FROM pg_index
        WHERE indrelid IN ('recordings'::regclass, 'recording_marks'::regclass)
        ORDER BY 2 DESC
    """)
    return [(name, f"{size:.0f}") for name, size in cursor.fetchall()]


def main() -> None:
    """Measure and publish."""
    rounds = 1 if "--quick" in sys.argv[1:] else ROUNDS
    secrets = {each.limited: generate_secret() for each in questions(SIZES[0]) if each.limited}
    slowest: dict[tuple[str, int], list[float]] = {}
    with postgresql({"fsync": "off", "max_wal_size": "4GB", "shared_buffers": "512MB"}) as (directory, cluster):
        took = 0.0
        servers = {}
        for size in SIZES:
            took += fill(cluster, size, secrets)
            say(f"{size} Recordings are there after {took:.0f} s")
            servers[size] = voxrec(directory / str(size), cluster.dsn(f"growth_{size}"))
        try:
            for server in servers.values():
                server.wait("/recordings?limit=1")
            for asked in zip(*map(questions, SIZES), strict=True):
                each = dict(zip(SIZES, asked, strict=True))
                for number, size in interleaved(SIZES, rounds):
                    token = secrets.get(each[size].limited or frozenset(), "admin")
                    if number == 0:
                        milliseconds(servers[size], each[size].path, token, 20)
                    times = milliseconds(servers[size], each[size].path, token, ASKED)
                    slowest.setdefault((each[size].name, size), []).append(percentile(times, 99))
                name = asked[0].name
                say(f"{name}: " + ", ".join(f"{Spread.of(slowest[name, size]).median:.1f} ms" for size in SIZES))
        finally:
            for server in servers.values():
                server.stop()
        plans = {size: list(_explained(cluster, size)) for size in (SIZES[0], SIZES[-1])}
        with closing(psycopg2.connect(cluster.dsn(f"growth_{SIZES[-1]}"))) as connection:
            kept = indexes(connection.cursor())
    publish("growth", sections(slowest, plans, kept, took), rounds)


def _explained(cluster: Cluster, size: int) -> Iterable[Plan]:
    with closing(psycopg2.connect(cluster.dsn(f"growth_{size}"))) as connection:
        cursor = connection.cursor()
        cursor.execute("SET TimeZone = 'UTC'")
        for question in questions(size):
            yield explained(cursor, question)


def sections(
    slowest: dict[tuple[str, int], list[float]],
    plans: dict[int, list[Plan]],
    kept: list[tuple[str, str]],
    took: float,
) -> list[Section]:
    """What came of it, in words."""
    rows, reaches, read = [], [], []
    names = [question.name for question in questions(SIZES[0])]
    for name in names:
        found = {size: Spread.of(slowest[name, size]) for size in SIZES}
        least = found[SIZES[0]].median
        worst = max(found[size].median for size in SIZES[1:])
        ratio = 1.0 if worst - least <= _NO_MATTER else worst / least
        rows.append((name, *(spread.shown(1) for spread in found.values()), f"{worst / least:.2f}"))
        reaches.append(Reach.at_most(f"{name}: p99, larger to smallest", ratio, AIM, " x"))
    reaches.append(Reach.at_most(f"rows made, {sum(SIZES):,} of them", took, SET_UP_AIM, " s"))
    for name, small, large in zip(names, plans[SIZES[0]], plans[SIZES[-1]], strict=True):
        read.append((name, large.shape, f"{small.pages}", f"{large.pages}", f"{large.ms:.2f}"))
    columns = ("page of 50", *(f"{size:,}" for size in SIZES), "ratio")
    return [
        Section(
            "Lists that grow",
            "The milliseconds that 99 % of pages took at most over REST, by the number of Recordings. What is rare has "
            f"{FEW} of them, spread evenly; what is old has {FEW}, all the oldest; deep is behind half of all. A ratio "
            f"above {AIM:g} counts where the difference is above {_NO_MATTER:g} ms.",
            (Table(columns, tuple(rows)),),
            tuple(reaches),
        ),
        Section(
            f"How PostgreSQL finds a page of {SIZES[-1]:,} Recordings",
            "As EXPLAIN ANALYZE tells; no list reads the whole table. Pages are of 8 KiB, here and, for comparison, in "
            f"{SIZES[0]:,} Recordings; ms are PostgreSQL's own. Where two statements are told of, the first one counts "
            "the rows that have what is looked for in the metadata, to choose the way of the second.",
            (
                Table(("page", "plan", f"pages of {SIZES[0]:,}", "pages", "ms"), tuple(read)),
                Table(("on the disk", "MB"), tuple(kept)),
            ),
            notes=NOTES,
        ),
    ]


if __name__ == "__main__":
    main()
