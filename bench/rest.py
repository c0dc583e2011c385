"""REST: responses per second and their 99th percentile, voxrec compared with FastAPI on uvicorn and asyncpg.

Both serve the same contract from one process each, with equal databases in the same PostgreSQL; wrk sends the requests
to both in alternation. ``--quick`` runs one round only.
"""

import json
import os
import socket
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

from bench.measure import Spread, interleaved, requested_rounds
from bench.report import BarChart, Section, Table, Target, publish
from bench.servers import (
    Server,
    ensure_environment,
    parse_json,
    print_progress,
    start_voxrec,
    temporary_postgresql,
)
from bench.wrk import CONNECTIONS, HttpLoad, run_wrk, wrk_command
from voxrec.postgres.migrate import migrate
from voxrec.sandbox.asterisk import free_port
from voxrec.store.tokens import generate_secret, hash_secret

SECONDS: Final = 5.0  # of each run
WARM_UP: Final = 1.0
MIN_RATIO: Final = 1.25  # of voxrec's rate to FastAPI's, and of FastAPI's p99 to voxrec's
PROFILES: Final = 1000
RECORDINGS: Final = 10_000
AUDIO_BYTES: Final = 1_920_044  # a minute of two channels
RANGE_BYTES: Final = 65_536  # of each request, as from a player
HERE: Final = Path(__file__).parent
FILL: Final = f"""
    SET session_replication_role = replica;  -- no triggers and notifications
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
           gen_random_uuid(), 'completed', 'wav', 2, at, at + interval '1 minute', 60, {AUDIO_BYTES}, repeat('ab', 32),
           '+4930' || n % 5000, '+4940' || n % 5000, 'sip:desk' || n || '@pbx.example', 16,
           '[{{"at": 0.0, "event": "answered", "by": "callee"}}, {{"at": 0.1, "event": "announcement.started"}},
             {{"at": 60.0, "event": "hangup", "by": "caller"}}]',
           '{{"ok": true, "reasons": [], "caller": {{"speechSeconds": 31.2, "levelDbfs": -25.1, "clipped": false}},
              "callee": {{"speechSeconds": 22.8, "levelDbfs": -27.5, "clipped": false}}, "repaired": false,
              "truncated": false}}',
           jsonb_build_object('customer', n::text), false, 'one.wav', at, at
    FROM (SELECT n, timestamptz '2026-02-01' - n * interval '1 second' AS at
          FROM generate_series(1, {RECORDINGS}) AS n) AS generated;
    SET session_replication_role = origin;
    ANALYZE
"""  # noqa: S608 - constants only
PROFILE: Final = {
    "name": "Desk", "email": "desk@example.org, archive@example.org", "remoteSipUri": "sip:desk@pbx.example",
    "record": True, "recordChannels": "dual", "retentionDays": 90, "metadata": {"customer": "42", "site": "Hamburg"},
}  # fmt: skip


@dataclass(frozen=True)
class Task:
    """One kind of request; ``requests`` returns the complete requests of a run, with a token."""

    name: str
    requests: Callable[[str], list[bytes]]


def profile_id(number: int) -> UUID:
    """Return the id of an existing Profile by its number from 1."""
    return UUID(f"00000000-0000-4000-8000-{number:012d}")


def recording_id(number: int) -> UUID:
    """Return the id of an existing Recording by its number from 1."""
    return UUID(f"00000000-0000-4000-9000-{number:012d}")


def encode_request(token: str, method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
    """Return one complete HTTP/1.1 request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token}", *headers]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def get_requests(token: str) -> list[bytes]:
    """Return a GET of each Profile."""
    return [encode_request(token, "GET", f"/profiles/{profile_id(n)}") for n in range(1, PROFILES + 1)]


def put_requests(token: str) -> list[bytes]:
    """Return a PUT of a new Profile."""
    return [encode_request(token, "PUT", "/profiles", json.dumps(PROFILE).encode())]


def post_requests(token: str) -> list[bytes]:
    """Return a POST of one field to each Profile, for any version."""
    bodies = [json.dumps({"name": f"Desk {n}"}).encode() for n in range(1, PROFILES + 1)]
    return [
        encode_request(token, "POST", f"/profiles/{profile_id(n)}", body, "If-Match: *")
        for n, body in enumerate(bodies, 1)
    ]


def page_requests(token: str) -> list[bytes]:
    """Return a GET of a page of Recordings before each minute of two hours."""
    return [
        encode_request(token, "GET", f"/recordings?limit=50&until=2026-01-31T{hour:02d}:{minute:02d}:00Z")
        for hour in (22, 23)
        for minute in range(60)
    ]


def range_requests(token: str) -> list[bytes]:
    """Return a GET of each range of a Recording's audio."""
    starts = range(0, AUDIO_BYTES - RANGE_BYTES, RANGE_BYTES)
    ranges = [f"Range: bytes={start}-{start + RANGE_BYTES - 1}" for start in starts]
    return [
        encode_request(token, "GET", f"/recordings/{recording_id(n)}/audio", b"", header)
        for n, header in enumerate(ranges, 1)
    ]


TASKS: Final = (
    Task("GET a Profile", get_requests),
    Task("PUT a Profile", put_requests),
    Task("POST to a Profile, If-Match", post_requests),
    Task("page of 50 Recordings", page_requests),
    Task("64 KiB of audio, Range", range_requests),
)
SERVERS: Final = ("voxrec", "FastAPI")
TITLE: Final = "REST compared with FastAPI"
INTRO: Final = (
    f"Responses per second on {CONNECTIONS} connections, and the 99th percentile of their times. Each server is one "
    "process with a PostgreSQL database of the same content; wrk sends the requests, and is not the bottleneck. The "
    "other program (bench/rivals/fastapi_app.py) implements the same contract with FastAPI's own means, on uvicorn "
    "with uvloop and httptools, and asyncpg. Before the measurement, both respond alike to {compared} valid and "
    "invalid requests."
)
NOTES: Final = (
    "In favour of the other program: it counts no metrics, does not slow down the guessing of tokens, and does not "
    "support Idempotency-Key."
)


def assert_same_contract(servers: dict[str, Server]) -> int:
    """Compare the responses of both servers to a number of requests, and return that number.

    Raises AssertionError if a response differs.
    """
    existing = f"/profiles/{profile_id(1)}"
    audio = f"/recordings/{recording_id(1)}/audio"
    as_json = {"Content-Type": "application/json"}
    valid = json.dumps(PROFILE).encode()
    requests: list[tuple[str, str, bytes | None, dict[str, str]]] = [
        ("GET", existing, None, {}),
        ("GET", existing, None, {"Authorization": "Bearer wrong"}),
        ("GET", f"/profiles/{recording_id(1)}", None, {}),
        ("GET", "/profiles/none", None, {}),
        ("PUT", "/profiles", valid, as_json),
        ("PUT", "/profiles", b"{", as_json),
        ("PUT", "/profiles", b'{"email": "nobody", "retentionDays": 0}', as_json),
        ("PUT", "/profiles", b'{"remoteSipUri": "tel:1"}', as_json),
        ("PUT", "/profiles", b'{"unknown": 1}', as_json),
        ("PUT", "/profiles", json.dumps({"numbers": ["+493011"]}).encode(), as_json),
        ("POST", existing, b'{"name": "x"}', {**as_json, "If-Match": '"another"'}),
        ("POST", existing, b'{"recordChannels": "quad"}', as_json),
        ("GET", "/recordings?limit=50", None, {}),
        ("GET", "/recordings?limit=0", None, {}),
        ("GET", "/recordings?limit=5&colour=red", None, {}),
        ("GET", audio, None, {"Range": "bytes=100-299"}),
        ("GET", audio, None, {}),
    ]
    for method, path, body, headers in requests:
        responses = {
            name: _comparable(*server.request(path, method, body, headers)) for name, server in servers.items()
        }
        if len({repr(response) for response in responses.values()}) > 1:
            raise AssertionError(f"{method} {path} {headers}: {responses}")
    return len(requests)


def _comparable(status: int, headers: dict[str, str], body: bytes) -> tuple[Any, ...]:
    """Return what both servers must have in common: status, content type, shape of the body, and headers."""
    content = parse_json(body)
    kind = headers.get("content-type", "").partition(";")[0]
    if kind == "application/problem+json":
        return status, kind, content["status"], sorted({error["field"] for error in content.get("errors", ())})
    content = content[0] if isinstance(content, list) else content
    shape = _compared_keys(content) if isinstance(content, dict) else len(body)
    return status, kind, shape, sorted({"etag", "link", "location", "content-range", "accept-ranges"} & headers.keys())


def _compared_keys(content: dict[str, Any]) -> list[str]:
    """Return those of the compared keys that exist; newer keys of voxrec need not exist in FastAPI's version."""
    return sorted(content.keys() & {"id", "email", "numbers", "createdAt", "updatedAt", "metadata", "audioUrl", "from"})


def start_fastapi(directory: Path, dsn: str, archive: Path, token: str) -> Server:
    """Start the FastAPI program on uvicorn in one process."""
    programs = ensure_environment("fastapi", HERE / "rivals" / "fastapi.txt")
    port = free_port(socket.SOCK_STREAM)
    command = [
        str(programs / "uvicorn"), "--app-dir", str(HERE / "rivals"), "--host", "127.0.0.1", "--port", str(port),
        "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning", "fastapi_app:app",
    ]  # fmt: skip
    parameters = parse_dsn(dsn)
    database = f"postgresql:///{parameters.pop('dbname')}?{urlencode(parameters)}"
    settings = {"DATABASE_URL": database, "ARCHIVE": str(archive), "PUBLIC_URL": f"http://127.0.0.1:{port}"}
    return Server(command, port, directory / "fastapi.log", token, **settings)


# In voxrec's schema, the index of all Recordings by time serves only queries that name it (migration 0013).
FASTAPI_INDEX: Final = "CREATE INDEX recordings_by_time ON recordings (created_at DESC, id DESC)"


def fill(dsn: str, secret: str) -> None:
    """Create the tables, their rows, and the token."""
    migrate(dsn)
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(FILL)
        cursor.execute(
            "INSERT INTO tokens (id, name, hash, role, created_at) VALUES (gen_random_uuid(), 'bench', %s, 'provision',"
            " now())",
            (hash_secret(secret),),
        )


def measure(rounds: int) -> tuple[dict[tuple[str, str], list[HttpLoad]], int]:
    """Run all tasks on both servers in alternation; return the loads, and the number of compared requests."""
    loads: dict[tuple[str, str], list[HttpLoad]] = {(task.name, name): [] for task in TASKS for name in SERVERS}
    program = wrk_command()
    secret = generate_secret()
    with temporary_postgresql() as (directory, cluster):
        for name in ("voxrec", "fastapi"):
            cluster.create_database(f"rest_{name}")
            fill(cluster.dsn(f"rest_{name}"), secret)
        with closing(psycopg2.connect(cluster.dsn("rest_fastapi"))) as connection, connection.cursor() as cursor:
            cursor.execute(FASTAPI_INDEX)
            connection.commit()
        voxrec = start_voxrec(directory / "voxrec", cluster.dsn("rest_voxrec"))
        voxrec.token = secret
        archive = directory / "voxrec" / "archive"
        (archive / "one.wav").write_bytes(os.urandom(AUDIO_BYTES))
        fastapi = start_fastapi(directory, cluster.dsn("rest_fastapi"), archive, secret)
        servers = dict(zip(SERVERS, (voxrec, fastapi), strict=True))
        try:
            for server in servers.values():
                server.wait_until_ready("/recordings?limit=1")
            compared = assert_same_contract(servers)
            for task in TASKS:
                for number, name in interleaved(SERVERS, rounds):
                    server = servers[name]
                    requests = task.requests(secret)
                    if number == 0:
                        run_wrk(program, server.port, requests, WARM_UP, directory / "requests.lua")
                    run = run_wrk(program, server.port, requests, SECONDS, directory / "requests.lua")
                    loads[task.name, name].append(run)
                    print_progress(
                        f"{task.name}, {name}: {run.rate:.0f}/s, p50 {run.median:.1f} ms, p99 {run.p99:.1f} ms"
                    )
        finally:
            for server in servers.values():
                server.stop()
    return loads, compared


def sections(loads: dict[tuple[str, str], list[HttpLoad]], compared: int) -> list[Section]:
    """Return the section of the report."""
    rows, targets, bars = [], [], {}
    for task in TASKS:
        rates = {name: [run.rate for run in loads[task.name, name]] for name in SERVERS}
        p99s = {name: [run.p99 for run in loads[task.name, name]] for name in SERVERS}
        for name in SERVERS:
            bars[f"{name}: {task.name}"] = Spread.of(rates[name])
            texts = Spread.of(rates[name]).text(0), Spread.of(p99s[name]).text(1)
            rows.append((task.name, name, *texts))
        rate = Spread.of(rates["voxrec"]).median / Spread.of(rates["FastAPI"]).median
        p99 = Spread.of(p99s["FastAPI"]).median / Spread.of(p99s["voxrec"]).median
        targets.append(Target.at_least(f"{task.name}: rate, voxrec relative to FastAPI", rate, MIN_RATIO, " x"))
        targets.append(Target.at_least(f"{task.name}: p99, FastAPI relative to voxrec", p99, MIN_RATIO, " x"))
    return [
        Section(
            TITLE,
            INTRO.format(compared=compared),
            (Table(("request", "server", "responses per second", "p99, ms"), tuple(rows)),),
            tuple(targets),
            BarChart("REST", "responses per second", bars),
            NOTES,
        )
    ]


def main() -> None:
    """Measure and publish."""
    rounds = requested_rounds(sys.argv[1:])
    loads, compared = measure(rounds)
    publish("rest", sections(loads, compared), rounds)


if __name__ == "__main__":
    main()
