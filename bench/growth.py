"""Response time of Recording lists with 1,000, 100,000 and 3,000,000 rows, for the same requests.

Each size has its own database and voxrec, so that they are measured in alternation. A rare value has 60 rows, either
spread evenly or all the oldest; others have a fifth of the rows or nearly all: a page is always full. ``--quick`` runs
one round only; ``--sizes 1000 20000`` tries the program out. The results are stored after each round and each section,
so that what has been measured remains if the program is stopped. Filling the tables takes about 6 minutes, a round one.
"""

import argparse
import http.client
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode
from uuid import UUID

import msgspec
import psycopg2

from bench.measure import ROUNDS, Spread, interleaved, percentile
from bench.report import Section, Table, Target, publish
from bench.servers import ADMIN_TOKEN, PASSWORD, USER, Server, print_progress, start_voxrec, temporary_postgresql
from voxrec.cursor import Cursor
from voxrec.model import RecordingSort, RecordingState, VerdictFilter
from voxrec.postgres.cluster import Cluster
from voxrec.postgres.migrate import migrate
from voxrec.store.metadata_index import COMMON_TERM_ROWS
from voxrec.store.recording_filter import RecordingFilter
from voxrec.store.recordings import Recordings
from voxrec.store.tokens import generate_secret, hash_secret
from voxrec.web.pagination import encode_cursor

SIZES: Final = (1_000, 100_000, 3_000_000)
RARE_ROWS: Final = 60  # rows with a rare value, at any size
REQUESTS: Final = 100  # for each query in a round
SMALL_PAGES: Final = 2000  # a table of 1,000 Recordings, which is rightly read as a whole, has fewer
MAX_RATIO: Final = 1.5  # of p99 to that of the smallest size
MAX_FILL_SECONDS: Final = 900.0
MAX_CONSOLE_MS: Final = 150.0  # that a page of the console takes longer than the same page over REST
CONSOLE_REQUESTS: Final = 40
_IGNORED_MS: Final = 0.5  # difference of p99 that is ignored whatever its ratio: a page takes some milliseconds anyway
NEWEST: Final = datetime.fromisoformat("2026-02-01T00:00:00Z")
RARE, OLD, FIFTH = (UUID(f"{digit * 8}-1111-4111-8111-111111111111") for digit in "123")
# The rows' times are one second apart. Every ``size / 60``-th row belongs to the rare Profile, state, caller and so on;
# the last 60 to the old one; every fifth to a third one. The others share a thousand Profiles.
FILL: Final = f"""
    INSERT INTO recordings (id, profile_id, state, format, channels, started_at, ended_at, "from", "to", duration, size,
                            timeline, metadata, node, verdict, legal_hold, path, created_at, updated_at)
    SELECT gen_random_uuid(),
           CASE kind WHEN 'rare' THEN '{RARE}' WHEN 'old' THEN '{OLD}' WHEN 'fifth' THEN '{FIFTH}'
                     ELSE '00000000-0000-4000-8000-' || lpad((n %% 1009)::text, 12, '0') END::uuid,
           CASE kind WHEN 'rare' THEN 'failed' WHEN 'old' THEN 'absent' ELSE 'completed' END,
           'wav', 2, at, at + interval '1 minute',
           CASE kind WHEN 'rare' THEN '+4930' WHEN 'old' THEN '+4931' WHEN 'fifth' THEN '+4932'
                     ELSE '+4935' || n %% 100003 END,
           CASE kind WHEN 'rare' THEN '+4940' WHEN 'fifth' THEN '+4942' ELSE '+4945' || n %% 1009 END,
           CASE kind WHEN 'rare' THEN 4000 ELSE 61.5 + n %% 600 END, 984044 + n %% 600 * 16000,
           '[{{"at": 0.0, "event": "answered"}}, {{"at": 61.5, "event": "hangup", "by": "caller"}}]',
           jsonb_build_object('customer', coalesce(kind, n::text), 'site', 'Hamburg'),
           CASE kind WHEN 'old' THEN 'old' ELSE 'pbx-1' END,
           jsonb_build_object('ok', kind IS DISTINCT FROM 'rare', 'reasons', '[]'::jsonb),
           coalesce(kind = 'rare', false), 'one.wav', at, at
    FROM (SELECT n, timestamptz '{NEWEST}' - n * interval '1 second' AS at,
                 CASE WHEN n %% (%(size)s / {RARE_ROWS}) = 0 THEN 'rare'
                      WHEN n > %(size)s - {RARE_ROWS} THEN 'old'
                      WHEN n %% 5 = 1 THEN 'fifth' END AS kind
          FROM generate_series(1, %(size)s) AS n) AS generated
"""  # noqa: S608 - constants only
# The same as the trigger's result for each row; the metadata here are flat.
MARK: Final = """
    INSERT INTO recording_marks SELECT jsonb_hash_extended(jsonb_build_array(key, value), 0), created_at, id
    FROM recordings CROSS JOIN LATERAL jsonb_each(metadata)
"""
# The same as the trigger's result for each row.
INDEX_TEXT: Final = """
    INSERT INTO recording_search SELECT id, created_at, voxrec_search_document(
        ARRAY["from", "to", metadata ->> 'customer', metadata ->> 'site']) FROM recordings
"""
PROFILES: Final = """
    INSERT INTO profiles (id, record, record_format, record_channels, record_beep_at_start, record_beep_interval,
                          record_prompt, metadata, created_at, updated_at)
    SELECT id, true, 'wav', 'dual', true, 0, 'none', '{}', now(), now() FROM unnest(%s::uuid[]) AS id
"""

NOTES: Final = f"""
These queries still depend on the number of Recordings: two conditions that each match many rows and rarely the same
one, for example a Profile and a caller's number with a hundred thousand Recordings each and a handful in common. To
fill a page, all rows of one condition may have to be read. This applies to `from` together with `to`; to either
together with a Profile or a state; to `q` together with any of these if at least {COMMON_TERM_ROWS:,} Recordings
contain its value; to `q` with several values that each have so many; to `state=completed` if hardly any Recording is;
and to a token that is limited to 200 Profiles or more if none of them has had calls for a long time. For a token with
fewer Profiles each one is searched: with 190 Profiles that takes PostgreSQL about 4 ms, whatever the number of
Recordings.
""".strip()


LISTS_TITLE: Final = "Recording lists by size of the table"
LISTS_INTRO: Final = (
    "The 99th percentile of the response time of pages over REST in milliseconds, by the number of Recordings. A rare "
    f"value has {RARE_ROWS} Recordings, spread evenly; an old one has {RARE_ROWS}, all the oldest; a middle page "
    f"starts after half of all rows. A ratio above {MAX_RATIO:g} counts only if the difference is above "
    f"{_IGNORED_MS:g} ms."
)
CONSOLE_INTRO: Final = (
    "The median time of a page of 50 of the console and of the same page over REST, each on a connection of its own. "
    "The page contains the names of Profiles and forms for its filters and actions."
)
PLANS_INTRO: Final = (
    "From EXPLAIN ANALYZE; no list reads the whole table. Pages are of 8 KiB, for this size and, for comparison, for "
    "{smallest:,} Recordings; ms is the time in PostgreSQL. Where there are several statements, some count Recordings, "
    "at most as many as the page may cost, to choose the others."
)


@dataclass(frozen=True)
class PageQuery:
    """A list request: its filters, the cursor ``after``, and the Profiles to which the token is limited, if any."""

    name: str
    filters: RecordingFilter
    after: Cursor | None = None
    profile_ids: frozenset[UUID] | None = None

    @property
    def path(self) -> str:
        """The path and query string of the request."""
        filters = self.filters
        parameters = {
            "limit": 50,
            "state": ",".join(filters.states),
            "from": filters.from_,
            "to": filters.to,
            "since": filters.since and filters.since.isoformat(),
            "until": filters.until and filters.until.isoformat(),
            "q": filters.metadata and msgspec.json.encode(filters.metadata).decode(),
            "search": filters.search,
            "verdict": filters.verdict,
            "minDuration": filters.min_duration,
            "node": filters.node,
            "legalHold": None if filters.legal_hold is None else str(filters.legal_hold).lower(),
            "sort": None if filters.sort is RecordingSort.NEWEST else filters.sort,
            "cursor": self.after and encode_cursor(self.after),
        }
        parent = f"/profiles/{filters.profile_id}" if filters.profile_id else ""
        return f"{parent}/recordings?{urlencode({name: value for name, value in parameters.items() if value})}"


def page_queries(size: int) -> tuple[PageQuery, ...]:
    """Return the queries for a table of ``size`` rows."""
    failed, absent, completed = ([RecordingState(state)] for state in ("failed", "absent", "completed"))
    middle = Cursor(_time_before_newest(size // 2), UUID(int=0))
    interval: dict[str, Any] = {"since": _time_before_newest(size * 3 // 4), "until": _time_before_newest(size // 4)}
    minutes: dict[str, Any] = {"since": _time_before_newest(900), "until": _time_before_newest(300)}
    hamburg, fifth = {"site": "Hamburg"}, {"customer": "fifth"}
    filters = RecordingFilter
    return (
        PageQuery("newest", filters()),
        PageQuery("newest, middle", filters(), middle),
        PageQuery("time interval", filters(**interval)),
        PageQuery("Profile, rare", filters(profile_id=RARE)),
        PageQuery("Profile, old", filters(profile_id=OLD)),
        PageQuery("Profile, a fifth", filters(profile_id=FIFTH)),
        PageQuery("Profile, a fifth, middle", filters(profile_id=FIFTH), middle),
        PageQuery("Profile, time interval", filters(profile_id=FIFTH, **interval)),
        PageQuery("Profile and state", filters(profile_id=RARE, states=failed)),
        PageQuery("state, rare", filters(states=failed)),
        PageQuery("state, old", filters(states=absent)),
        PageQuery("state, nearly all", filters(states=completed)),
        PageQuery("two states", filters(states=[*failed, *absent])),
        PageQuery("from, rare", filters(from_="+4930")),
        PageQuery("from, old", filters(from_="+4931")),
        PageQuery("from, a fifth, time interval", filters(from_="+4932", **interval)),
        PageQuery("to, rare", filters(to="+4940")),
        PageQuery("from and to", filters(from_="+4932", to="+4942")),
        PageQuery("q, rare", filters(metadata={"customer": "rare"})),
        PageQuery("q, old", filters(metadata={"customer": "old"})),
        PageQuery("q, a fifth", filters(metadata=fifth)),
        PageQuery("q, a fifth, middle", filters(metadata=fifth), middle),
        PageQuery("q, nearly all", filters(metadata=hamburg)),
        PageQuery("q, nearly all, time interval", filters(metadata=hamburg, **interval)),
        PageQuery("q with two values", filters(metadata={**hamburg, "customer": "rare"})),
        PageQuery("q and from", filters(metadata=hamburg, from_="+4930")),
        PageQuery("q and Profile", filters(metadata=fifth, profile_id=FIFTH)),
        PageQuery("search, rare", filters(search="rare")),
        PageQuery("search, old", filters(search="old")),
        PageQuery("search, a fifth", filters(search="fifth")),
        PageQuery("search, nearly all", filters(search="hamb")),
        PageQuery("search, nearly all, middle", filters(search="hamb"), middle),
        PageQuery("search, a common and a rare word", filters(search="hamburg rare")),
        PageQuery("search, number by its end", filters(search="4932")),
        PageQuery("search, Profile, rare", filters(search="hamburg", profile_id=RARE)),
        PageQuery("search, oldest first", filters(search="rare", sort=RecordingSort.OLDEST)),
        PageQuery("oldest first", filters(sort=RecordingSort.OLDEST)),
        PageQuery("longest first", filters(sort=RecordingSort.LONGEST)),
        PageQuery("largest first, Profile, rare", filters(sort=RecordingSort.LARGEST, profile_id=RARE)),
        PageQuery("largest first, a fifth", filters(sort=RecordingSort.LARGEST, profile_id=FIFTH)),
        PageQuery("largest first, 10 minutes", filters(sort=RecordingSort.LARGEST, **minutes)),
        PageQuery("duration, rare", filters(min_duration=3600)),
        PageQuery("node, old", filters(node="old")),
        PageQuery("verdict, rare", filters(verdict=VerdictFilter.PROBLEM)),
        PageQuery("legal hold, rare", filters(legal_hold=True)),
        PageQuery("token for one Profile", filters(), profile_ids=frozenset([RARE])),
        PageQuery("token for three Profiles", filters(), profile_ids=frozenset([RARE, OLD, FIFTH])),
        PageQuery("token for three Profiles, q", filters(metadata=hamburg), profile_ids=frozenset([RARE, OLD, FIFTH])),
    )


def _time_before_newest(second: int) -> datetime:
    return NEWEST - timedelta(seconds=second)


def fill(cluster: Cluster, size: int, secrets: dict[frozenset[UUID], str]) -> float:
    """Create a database with ``size`` Recordings and the tokens, and return the seconds that this fill_seconds."""
    began = time.monotonic()
    name = f"growth_{size}"
    cluster.create_database(name)
    migrate(cluster.dsn(name))
    with closing(psycopg2.connect(cluster.dsn(name))) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("SET session_replication_role = replica")  # no triggers and notifications
        cursor.execute("SET maintenance_work_mem = '1GB'")
        cursor.execute(PROFILES, ([RARE, OLD, FIFTH],))
        for profile_ids, secret in secrets.items():
            cursor.execute(
                "INSERT INTO tokens (id, name, hash, role, profile_ids, created_at)"
                " VALUES (gen_random_uuid(), 'limited', %s, 'read', %s::uuid[], now())",
                (hash_secret(secret), list(profile_ids)),
            )
        # With wal_level minimal, tables that were truncated in the same transaction need no write-ahead log.
        cursor.execute("BEGIN")
        cursor.execute("TRUNCATE recordings, deliveries, recording_marks, recording_search CASCADE")
        with _without_indexes(cursor):
            cursor.execute(FILL, {"size": size})
            cursor.execute(MARK)
            cursor.execute(INDEX_TEXT)
        cursor.execute("COMMIT")
        cursor.execute("VACUUM ANALYZE")
    return time.monotonic() - began


@contextmanager
def _without_indexes(cursor: Any) -> Iterator[None]:
    """Drop the indexes and create them again afterwards, which is faster than updating them for each row."""
    cursor.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename IN ('recordings', 'recording_search') "
        "AND indexname NOT LIKE '%_pkey'"
    )
    definitions = cursor.fetchall()
    for name, _ in definitions:
        cursor.execute(f"DROP INDEX {name}")
    cursor.execute("ALTER TABLE recording_marks DROP CONSTRAINT recording_marks_pkey")
    yield
    for _, definition in definitions:
        cursor.execute(definition)
    cursor.execute("ALTER TABLE recording_marks ADD PRIMARY KEY (mark, at, recording_id)")


def request_times(server: Server, path: str, token: str, count: int) -> list[float]:
    """Request a page ``count`` times in sequence and return the milliseconds. Raises AssertionError if not full."""
    times = []
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        for _ in range(count):
            began = time.perf_counter()
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
            response = connection.getresponse()
            body = response.read()
            times.append((time.perf_counter() - began) * 1e3)
    rows = len(json.loads(body))
    if response.status != 200 or rows != 50:
        raise AssertionError(f"{path}: {response.status}, {rows} rows")
    return times


@dataclass(frozen=True, slots=True)
class ConsolePage:
    """The median milliseconds of a page of the console, and of the same page over REST."""

    name: str
    console: float
    rest: float


CONSOLE_LISTS: Final = (
    ("newest", ""),
    ("search, nearly all", "search=hamburg"),
    ("search, rare", "search=rare"),
    ("longest first", "sort=longest"),
    ("Profile, a fifth", f"profile={FIFTH}"),
)
"""Queries of the list of the console."""


def measure_console(server: Server) -> list[ConsolePage]:
    """Sign in, and request pages of the console and of REST in alternation."""
    server.create_user("read")
    credentials = json.dumps({"name": USER, "password": PASSWORD}).encode()
    headers = {"Content-Type": "application/json"}
    status, answered, body = server.request("/session", "PUT", body=credentials, headers=headers)
    if status != 200:
        raise AssertionError(f"signing in: {status} {body!r}")
    cookie = {"Cookie": answered["set-cookie"].partition(";")[0]}
    pages = []
    for name, query in CONSOLE_LISTS:
        profile = query.partition("profile=")[2]
        rest = f"/profiles/{profile}/recordings?limit=50" if profile else f"/recordings?limit=50&{query}".rstrip("&")
        times: dict[str, list[float]] = {"console": [], "rest": []}
        for _ in range(CONSOLE_REQUESTS):
            for kind, path in (("console", f"/console/recordings?{query}"), ("rest", rest)):
                began = time.perf_counter()
                status, _, body = server.request(path, headers=cookie if kind == "console" else {})
                times[kind].append((time.perf_counter() - began) * 1e3)
                rows = body.count(b'name="recording"') if kind == "console" else len(json.loads(body))
                if (status, rows) != (200, 50):
                    raise AssertionError(f"{path}: {status}, {rows} rows")
        pages.append(ConsolePage(name, percentile(times["console"], 50), percentile(times["rest"], 50)))
    return pages


class Plan(NamedTuple):
    """The plan of one or more statements: its nodes, the pages of tables and indexes read, and the milliseconds."""

    shape: str
    pages: int
    ms: float


class ExplainingDatabase:
    """A test double of a pool that also stores the plan of each statement."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        self.plans: list[Plan] = []

    async def query(self, sql: str, params: Any) -> list[Any]:
        """Return the rows and append the plan to ``plans``. Raises AssertionError if a large table is scanned."""
        if sql.startswith("EXPLAIN "):  # an estimate, which reads no table
            self._cursor.execute(sql, tuple(params))
            return list(self._cursor.fetchall())
        settings, semicolon, statement = sql.rpartition("; ")
        explain = f"{settings}{semicolon}EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
        self._cursor.execute(explain, tuple(params))
        explanation = self._cursor.fetchone()[0][0]
        plan = explanation["Plan"]
        pages = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        if pages > SMALL_PAGES and any(name == "Seq Scan on recordings" for name in _nodes(plan)):
            raise AssertionError(f"sequential scan of recordings: {sql}")
        self.plans.append(Plan(_shape(plan), pages, explanation["Execution Time"]))
        self._cursor.execute(sql, tuple(params))
        rows: list[Any] = self._cursor.fetchall()
        return rows


def explain_page(cursor: Any, query: PageQuery) -> Plan:
    """Return PostgreSQL's plan for a page."""
    database: Any = ExplainingDatabase(cursor)
    store = Recordings(database).scoped_to(query.profile_ids)
    for _ in range(2):  # the second time everything is in the buffer cache
        database.plans.clear()
        _run(store.page(query.filters, 51, query.after))
    shapes, pages, ms = zip(*database.plans, strict=True)
    return Plan("; ".join(shapes), sum(pages), sum(ms))


def _run(coroutine: Any) -> None:
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise RuntimeError("the coroutine did not finish synchronously")


def _nodes(plan: dict[str, Any]) -> Iterator[str]:
    yield f"{plan['Node Type']} on {plan.get('Index Name') or plan.get('Relation Name')}"
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _shape(plan: dict[str, Any]) -> str:
    """Return a plan as one line, parent nodes first."""
    loops = f" x {plan['Actual Loops']:.0f}" if plan["Actual Loops"] > 1 else ""
    index = plan.get("Index Name")
    own = f"{plan['Node Type']}{f' {index}' if index else ''}{loops}"
    children = [_shape(each) for each in plan.get("Plans", ())]
    if len(children) > 1:
        return f"{own} ({', '.join(children)})"
    return " > ".join([own, *children])


def index_sizes(cursor: Any) -> list[tuple[str, str]]:
    """Return the size in megabytes of each table and index, largest first."""
    cursor.execute("""
        SELECT 'table ' || oid::regclass, pg_table_size(oid) / 1e6 FROM pg_class
        WHERE oid IN ('recordings'::regclass, 'recording_marks'::regclass, 'recording_search'::regclass)
        UNION ALL
        SELECT indexrelid::regclass::text, pg_relation_size(indexrelid) / 1e6 FROM pg_index
        WHERE indrelid IN ('recordings'::regclass, 'recording_marks'::regclass, 'recording_search'::regclass)
        ORDER BY 2 DESC
    """)
    return [(name, f"{size:.0f}") for name, size in cursor.fetchall()]


class Results:
    """What has been measured so far."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = sizes
        self._rounds = 0
        self._p99: dict[tuple[str, int], list[float]] = {}
        self._sections: dict[str, Section] = {}
        self.fill_seconds = 0.0

    def add_p99(self, name: str, size: int, milliseconds: float) -> None:
        """Add the result of a list in one round."""
        self._p99.setdefault((name, size), []).append(milliseconds)

    def store_round(self) -> None:
        """Store the results of all rounds until now."""
        self._rounds += 1
        self.store(lists_section(self._p99, self._sizes, self.fill_seconds))

    def store(self, section: Section) -> None:
        """Store a section, with those before."""
        self._sections[section.title] = section
        publish("growth", [*self._sections.values()], self._rounds)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help="number of rounds of the lists")
    parser.add_argument("--quick", dest="rounds", action="store_const", const=1, help="the same as --rounds 1")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="N", help="numbers of Recordings")
    options = parser.parse_args(arguments)
    sizes: tuple[int, ...] = tuple(options.sizes)
    results = Results(sizes)
    secrets = {each.profile_ids: generate_secret() for each in page_queries(sizes[0]) if each.profile_ids}
    settings = {"fsync": "off", "max_wal_size": "4GB", "shared_buffers": "512MB"}
    with temporary_postgresql(settings) as (directory, cluster):
        servers = {}
        for size in sizes:
            results.fill_seconds += fill(cluster, size, secrets)
            print_progress(f"created {size} Recordings, {results.fill_seconds:.0f} s in total")
            servers[size] = start_voxrec(directory / str(size), cluster.dsn(f"growth_{size}"))
        try:
            for server in servers.values():
                server.wait_until_ready("/recordings?limit=1")
            measure_lists(servers, secrets, options.rounds, results)
            results.store(console_section(measure_console(servers[sizes[-1]]), sizes[-1]))
        finally:
            for server in servers.values():
                server.stop()
        plans = {size: list(_explain_pages(cluster, size)) for size in (sizes[0], sizes[-1])}
        with closing(psycopg2.connect(cluster.dsn(f"growth_{sizes[-1]}"))) as connection:
            results.store(plans_section(plans, index_sizes(connection.cursor())))


def measure_lists(
    servers: dict[int, Server], secrets: dict[frozenset[UUID], str], rounds: int, results: Results
) -> None:
    """Request all lists of all sizes in each round."""
    sizes = tuple(servers)
    for number, order in groupby(interleaved(sizes, rounds), key=itemgetter(0)):
        variants = [size for _, size in order]
        for queries in zip(*map(page_queries, sizes), strict=True):
            each = dict(zip(sizes, queries, strict=True))
            p99 = {}
            for size in variants:
                token = secrets.get(each[size].profile_ids or frozenset(), ADMIN_TOKEN)
                if number == 0:
                    request_times(servers[size], each[size].path, token, 20)
                p99[size] = percentile(request_times(servers[size], each[size].path, token, REQUESTS), 99)
                results.add_p99(queries[0].name, size, p99[size])
            print_progress(f"{queries[0].name}: " + ", ".join(f"{p99[size]:.1f} ms" for size in sizes))
        results.store_round()
        print_progress(f"stored round {number + 1} of {rounds}")


def _explain_pages(cluster: Cluster, size: int) -> Iterable[Plan]:
    with closing(psycopg2.connect(cluster.dsn(f"growth_{size}"))) as connection:
        connection.autocommit = True  # as voxrec's: settings for a statement end with it
        cursor = connection.cursor()
        cursor.execute("SET TimeZone = 'UTC'")
        for query in page_queries(size):
            yield explain_page(cursor, query)


def lists_section(p99: dict[tuple[str, int], list[float]], sizes: Sequence[int], fill_seconds: float) -> Section:
    """Return the section about response times."""
    rows, targets = [], []
    for name in dict.fromkeys(name for name, _ in p99):
        spreads = {size: Spread.of(p99[name, size]) for size in sizes}
        smallest = spreads[sizes[0]].median
        worst = max(spreads[size].median for size in sizes[1:])
        ratio = 1.0 if worst - smallest <= _IGNORED_MS else worst / smallest
        rows.append((name, *(spread.text(1) for spread in spreads.values()), f"{worst / smallest:.2f}"))
        targets.append(Target.at_most(f"{name}: p99, larger to smallest size", ratio, MAX_RATIO, " x"))
    targets.append(Target.at_most(f"creation of {sum(sizes):,} rows", fill_seconds, MAX_FILL_SECONDS, " s"))
    columns = ("page of 50", *(f"{size:,}" for size in sizes), "ratio")
    return Section(LISTS_TITLE, LISTS_INTRO, (Table(columns, tuple(rows)),), tuple(targets))


def console_section(pages: Sequence[ConsolePage], size: int) -> Section:
    """Return the section about the console."""
    table = Table(
        ("list", "console, ms", "REST, ms"),
        tuple((page.name, f"{page.console:.1f}", f"{page.rest:.1f}") for page in pages),
    )
    slowest = max(page.console - page.rest for page in pages)
    target = Target.at_most("page of the console, beyond REST", slowest, MAX_CONSOLE_MS, " ms")
    return Section(f"The list of the console with {size:,} Recordings", CONSOLE_INTRO, (table,), (target,))


def plans_section(plans: dict[int, list[Plan]], sizes_on_disk: list[tuple[str, str]]) -> Section:
    """Return the section about plans, for the smallest and the largest size."""
    smallest, largest = plans
    names = [query.name for query in page_queries(smallest)]
    rows = [
        (name, large.shape, f"{small.pages}", f"{large.pages}", f"{large.ms:.2f}")
        for name, small, large in zip(names, plans[smallest], plans[largest], strict=True)
    ]
    return Section(
        f"PostgreSQL's plans for pages of {largest:,} Recordings",
        PLANS_INTRO.format(smallest=smallest),
        (
            Table(("query", "plan", f"pages, {smallest:,} rows", "pages", "ms"), tuple(rows)),
            Table(("size on disk", "MB"), tuple(sizes_on_disk)),
        ),
        notes=NOTES,
    )


if __name__ == "__main__":
    main()
