"""REST: answers a second and their 99th percentile, voxrec against FastAPI on uvicorn and asyncpg.

Both serve the same contract from one process each, from equal databases of the same PostgreSQL; wrk asks both, in turn.
``--quick`` does a single round.
"""

import json
import os
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

import psycopg2
from psycopg2.extensions import parse_dsn

from bench.gateway import Server, environment, free_port, postgresql, say, shown, voxrec
from bench.measure import ROUNDS, Spread, interleaved
from bench.report import Bars, Reach, Section, Table, publish
from bench.wrk import CONNECTIONS, Load, load, wrk
from voxrec.postgres.migrate import migrate
from voxrec.store.tokens import generate_secret, hash_secret

SECONDS: Final = 5.0  # of each run
WARM_UP: Final = 1.0
AIM: Final = 1.25  # voxrec's rate against the rival's, and the rival's p99 against voxrec's
PROFILES: Final = 1000
RECORDINGS: Final = 10_000
AUDIO: Final = 1_920_044  # bytes: a minute of two channels
PART: Final = 65_536  # bytes asked for at once, as a player does
HERE: Final = Path(__file__).parent
FILL: Final = f"""
    SET session_replication_role = replica;  -- nobody needs to be told of each row
    INSERT INTO profiles (id, name, email, remote_sip_uri, record, record_format, record_channels, record_beep_at_start,
                          record_beep_interval, record_prompt, retention_days, metadata, created_at, updated_at)
    SELECT ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, 'Desk ' || n, 'desk' || n || '@example.org',
           'sip:desk' || n || '@pbx.example', true, 'wav', 'dual', true, 0, 'none', 90,
           jsonb_build_object('customer', n::text, 'site', 'Hamburg'),
           timestamptz '2026-02-01' - n * interval '1 second', timestamptz '2026-02-01'
    FROM generate_series(1, {PROFILES}) AS n;
    INSERT INTO profile_numbers SELECT '+49301' || n, ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, 1
    FROM generate_series(1, {PROFILES}) AS n;
    INSERT INTO recordings (id, profile_id, call_id, state, format, channels, started_at, ended_at, duration, size,
                            sha256, "from", "to", remote_sip_uri, hangup_cause, timeline, verdict, metadata,
                            legal_hold, path, created_at, updated_at)
    SELECT ('00000000-0000-4000-9000-' || lpad(n::text, 12, '0'))::uuid,
           ('00000000-0000-4000-8000-' || lpad((n % {PROFILES} + 1)::text, 12, '0'))::uuid,
           gen_random_uuid(), 'completed', 'wav', 2, at, at + interval '1 minute', 60, {AUDIO}, repeat('ab', 32),
           '+4930' || n % 5000, '+4940' || n % 5000, 'sip:desk' || n || '@pbx.example', 16,
           '[{{"at": 0.0, "event": "answered", "by": "callee"}}, {{"at": 0.1, "event": "announcement.started"}},
             {{"at": 60.0, "event": "hangup", "by": "caller"}}]',
           '{{"ok": true, "reasons": [], "caller": {{"speechSeconds": 31.2, "levelDbfs": -25.1, "clipped": false}},
              "callee": {{"speechSeconds": 22.8, "levelDbfs": -27.5, "clipped": false}}, "repaired": false,
              "truncated": false}}',
           jsonb_build_object('customer', n::text), false, 'one.wav', at, at
    FROM (SELECT n, timestamptz '2026-02-01' - n * interval '1 second' AS at
          FROM generate_series(1, {RECORDINGS}) AS n) AS made;
    SET session_replication_role = origin;
    ANALYZE
"""  # noqa: S608 - nothing of it comes from elsewhere
PROFILE: Final = {
    "name": "Desk", "email": "desk@example.org, archive@example.org", "remoteSipUri": "sip:desk@pbx.example",
    "record": True, "recordChannels": "dual", "retentionDays": 90, "metadata": {"customer": "42", "site": "Hamburg"},
}  # fmt: skip


@dataclass(frozen=True)
class Task:
    """One thing to ask for; ``requests`` makes the requests of one run, whole, for a token."""

    name: str
    requests: Callable[[str], list[bytes]]


def profile_id(number: int) -> UUID:
    """One of the Profiles that there are, counted from 1."""
    return UUID(f"00000000-0000-4000-8000-{number:012d}")


def recording_id(number: int) -> UUID:
    """One of the Recordings that there are, counted from 1."""
    return UUID(f"00000000-0000-4000-9000-{number:012d}")


def request(token: str, method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
    """One request as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token}", *headers]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def gets(token: str) -> list[bytes]:
    """GET of each of the Profiles."""
    return [request(token, "GET", f"/profiles/{profile_id(n)}") for n in range(1, PROFILES + 1)]


def puts(token: str) -> list[bytes]:
    """PUT of a new Profile."""
    return [request(token, "PUT", "/profiles", json.dumps(PROFILE).encode())]


def changes(token: str) -> list[bytes]:
    """POST of one field to each of the Profiles, for whatever version there is."""
    return [
        request(token, "POST", f"/profiles/{profile_id(n)}", json.dumps({"name": f"Desk {n}"}).encode(), "If-Match: *")
        for n in range(1, PROFILES + 1)
    ]


def lists(token: str) -> list[bytes]:
    """GET of a page, from each of the last hours."""
    return [
        request(token, "GET", f"/recordings?limit=50&until=2026-01-31T{hour:02d}:{minute:02d}:00Z")
        for hour in (22, 23)
        for minute in range(60)
    ]


def parts(token: str) -> list[bytes]:
    """GET of a part of a Recording's audio, from its beginning to its end."""
    starts = range(0, AUDIO - PART, PART)
    return [
        request(token, "GET", f"/recordings/{recording_id(n)}/audio", b"", f"Range: bytes={start}-{start + PART - 1}")
        for n, start in enumerate(starts, 1)
    ]


TASKS: Final = (
    Task("GET a Profile", gets),
    Task("PUT a Profile", puts),
    Task("POST to a Profile, If-Match", changes),
    Task("page of 50 Recordings", lists),
    Task("64 KiB of audio, Range", parts),
)
SERVERS: Final = ("voxrec", "FastAPI")


def same_contract(servers: dict[str, Server]) -> int:
    """Ask both servers the same and compare what they say; gives the number of questions. AssertionError."""
    known = f"/profiles/{profile_id(1)}"
    audio = f"/recordings/{recording_id(1)}/audio"
    as_json = {"Content-Type": "application/json"}
    good = json.dumps(PROFILE).encode()
    questions: list[tuple[str, str, bytes | None, dict[str, str]]] = [
        ("GET", known, None, {}),
        ("GET", known, None, {"Authorization": "Bearer wrong"}),
        ("GET", f"/profiles/{recording_id(1)}", None, {}),
        ("GET", "/profiles/none", None, {}),
        ("PUT", "/profiles", good, as_json),
        ("PUT", "/profiles", b"{", as_json),
        ("PUT", "/profiles", b'{"email": "nobody", "retentionDays": 0}', as_json),
        ("PUT", "/profiles", b'{"remoteSipUri": "tel:1"}', as_json),
        ("PUT", "/profiles", b'{"unknown": 1}', as_json),
        ("PUT", "/profiles", json.dumps({"numbers": ["+493011"]}).encode(), as_json),
        ("POST", known, b'{"name": "x"}', {**as_json, "If-Match": '"another"'}),
        ("POST", known, b'{"recordChannels": "quad"}', as_json),
        ("GET", "/recordings?limit=50", None, {}),
        ("GET", "/recordings?limit=0", None, {}),
        ("GET", "/recordings?limit=5&colour=red", None, {}),
        ("GET", audio, None, {"Range": "bytes=100-299"}),
        ("GET", audio, None, {}),
    ]
    for method, path, body, headers in questions:
        answers = {name: _essence(*server.ask(path, method, body, headers)) for name, server in servers.items()}
        if len({repr(answer) for answer in answers.values()}) > 1:
            raise AssertionError(f"{method} {path} {headers}: {answers}")
    return len(questions)


def _essence(status: int, headers: dict[str, str], body: bytes) -> tuple[Any, ...]:
    """What has to be the same: the status, the kind and the shape of the body, which headers tell of it."""
    told = shown(body)
    kind = headers.get("content-type", "").partition(";")[0]
    if kind == "application/problem+json":
        return status, kind, told["status"], sorted({fault["field"] for fault in told.get("errors", ())})
    told = told[0] if isinstance(told, list) else told
    shape = _compared(told) if isinstance(told, dict) else len(body)
    return status, kind, shape, sorted({"etag", "link", "location", "content-range", "accept-ranges"} & headers.keys())


def _compared(shape: dict[str, Any]) -> list[str]:
    """The keys that both have to show; what is new in voxrec's model need not be known to the other."""
    return sorted(shape.keys() & {"id", "email", "numbers", "createdAt", "updatedAt", "metadata", "audioUrl", "from"})


def fastapi(directory: Path, dsn: str, archive: Path, token: str) -> Server:
    """The rival, on uvicorn in one process."""
    programs = environment("fastapi", HERE / "rivals" / "fastapi.txt")
    port = free_port()
    command = [
        str(programs / "uvicorn"), "--app-dir", str(HERE / "rivals"), "--host", "127.0.0.1", "--port", str(port),
        "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning", "fastapi_app:app",
    ]  # fmt: skip
    given = parse_dsn(dsn)
    database = f"postgresql:///{given.pop('dbname')}?{urlencode(given)}"
    settings = {"DATABASE_URL": database, "ARCHIVE": str(archive), "PUBLIC_URL": f"http://127.0.0.1:{port}"}
    return Server(command, port, directory / "fastapi.log", token, **settings)


# voxrec's own index of all Recordings by time serves only who asks for it by name (migration 0013).
RIVALS_INDEX: Final = "CREATE INDEX recordings_by_time ON recordings (created_at DESC, id DESC)"


def fill(dsn: str, secret: str) -> None:
    """Make the tables, and what is in them."""
    migrate(dsn)
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(FILL)
        cursor.execute(
            "INSERT INTO tokens (id, name, hash, role, created_at) VALUES (gen_random_uuid(), 'bench', %s, 'provision',"
            " now())",
            (hash_secret(secret),),
        )


def measure(rounds: int) -> tuple[dict[tuple[str, str], list[Load]], int]:
    """All tasks on both servers, in turn."""
    found: dict[tuple[str, str], list[Load]] = {(task.name, name): [] for task in TASKS for name in SERVERS}
    program = wrk()
    secret = generate_secret()
    with postgresql() as (directory, cluster):
        for name in ("voxrec", "fastapi"):
            cluster.create_database(f"rest_{name}")
            fill(cluster.dsn(f"rest_{name}"), secret)
        with closing(psycopg2.connect(cluster.dsn("rest_fastapi"))) as connection, connection.cursor() as cursor:
            cursor.execute(RIVALS_INDEX)
            connection.commit()
        ours = voxrec(directory / "voxrec", cluster.dsn("rest_voxrec"))
        ours.token = secret
        archive = directory / "voxrec" / "archive"
        (archive / "one.wav").write_bytes(os.urandom(AUDIO))
        theirs = fastapi(directory, cluster.dsn("rest_fastapi"), archive, secret)
        servers = dict(zip(SERVERS, (ours, theirs), strict=True))
        try:
            for server in servers.values():
                server.wait("/recordings?limit=1")
            questions = same_contract(servers)
            for task in TASKS:
                for number, name in interleaved(SERVERS, rounds):
                    server = servers[name]
                    asked = task.requests(secret)
                    if number == 0:
                        load(program, server.port, asked, WARM_UP, directory / "requests.lua")
                    run = load(program, server.port, asked, SECONDS, directory / "requests.lua")
                    found[task.name, name].append(run)
                    say(f"{task.name}, {name}: {run.rate:.0f}/s, p50 {run.median:.1f} ms, p99 {run.p99:.1f} ms")
        finally:
            for server in servers.values():
                server.stop()
    return found, questions


def sections(found: dict[tuple[str, str], list[Load]], questions: int) -> list[Section]:
    """What came of it, in words."""
    rows, reaches, bars = [], [], {}
    for task in TASKS:
        rates = {name: [run.rate for run in found[task.name, name]] for name in SERVERS}
        slowest = {name: [run.p99 for run in found[task.name, name]] for name in SERVERS}
        for name in SERVERS:
            bars[f"{name}: {task.name}"] = Spread.of(rates[name])
            shown = Spread.of(rates[name]).shown(0), Spread.of(slowest[name]).shown(1)
            rows.append((task.name, name, *shown))
        rate = Spread.of(rates["voxrec"]).median / Spread.of(rates["FastAPI"]).median
        p99 = Spread.of(slowest["FastAPI"]).median / Spread.of(slowest["voxrec"]).median
        reaches.append(Reach.at_least(f"{task.name}: rate, voxrec to FastAPI", rate, AIM, " x"))
        reaches.append(Reach.at_least(f"{task.name}: p99, FastAPI to voxrec", p99, AIM, " x"))
    return [
        Section(
            "REST against FastAPI",
            f"Answers a second on {CONNECTIONS} connections, and the time that 99 % of them took at most. Either is "
            "one process with a PostgreSQL of equal content; wrk asks, and is not what is measured. The rival "
            "(bench/rivals/fastapi_app.py) keeps the same contract by FastAPI's own means, on uvicorn with uvloop and "
            f"httptools, and asyncpg; before that, {questions} requests, good and bad, are answered alike by both.",
            (Table(("what", "server", "answers a second", "p99, ms"), tuple(rows)),),
            tuple(reaches),
            Bars("REST", "answers a second", bars),
            "In the rival's favour: it counts no metrics, slows no guessing of tokens, and knows no Idempotency-Key.",
        )
    ]


def main() -> None:
    """Measure and publish."""
    rounds = 1 if "--quick" in sys.argv[1:] else ROUNDS
    found, questions = measure(rounds)
    publish("rest", sections(found, questions), rounds)


if __name__ == "__main__":
    main()
