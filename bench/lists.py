"""Lists of 100,000 rows: the daemon's memory and time for a whole list, pages while rows come and go, indexes used.

The daemon runs as its users run it, in a process of its own. Fails where a promise is broken. Prints a table and a line
of JSON.
"""

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import psycopg2
import yaml

from voxrec.model import RecordingState
from voxrec.store.embedded import Cluster
from voxrec.store.migrate import migrate
from voxrec.store.profiles import ProfileFilter, Profiles
from voxrec.store.recordings import RecordingFilter, Recordings

ROWS: Final = 100_000
GROWTH: Final = 50.0  # MB by which the daemon may grow
PROFILE: Final = UUID("11111111-1111-4111-8111-111111111111")
SINCE: Final = datetime(2026, 1, 31, tzinfo=UTC)
FILL_PROFILES: Final = f"""
    INSERT INTO profiles
    SELECT CASE n WHEN 1 THEN '{PROFILE}' ELSE gen_random_uuid() END, 'Desk ' || n,
           'desk' || n || '@example.org, all' || n % 1000 || '@example.org', 'sip:desk' || n || '@pbx.example', true,
           'wav', 'mono', true, 0, 'none', NULL, NULL, 90, jsonb_build_object('customer', n::text),
           timestamptz '2026-02-01' - n * interval '1 second', timestamptz '2026-02-01'
    FROM generate_series(1, {ROWS}) AS n;
    INSERT INTO profile_numbers
    SELECT '+49301' || row_number() OVER (), id, 1 FROM profiles;
    ANALYZE
"""  # noqa: S608 - nothing of it comes from elsewhere
FILL_RECORDINGS: Final = f"""
    INSERT INTO recordings (id, profile_id, state, format, channels, "from", "to", duration, size, timeline, metadata,
                            legal_hold, created_at, updated_at)
    SELECT gen_random_uuid(), CASE WHEN n % 1000 = 0 THEN '{PROFILE}'::uuid ELSE gen_random_uuid() END,
           CASE WHEN n % 1000 = 7 THEN 'failed' ELSE 'completed' END, 'wav', 1,
           '+4930' || n % 5000, '+4940' || n % 5000,
           61.5, 984044, '[{{"at": 0.0, "event": "answered"}}, {{"at": 61.5, "event": "ended", "by": "caller"}}]',
           jsonb_build_object('customer', n::text), false,
           timestamptz '2026-02-01' - n * interval '1 second', timestamptz '2026-02-01'
    FROM generate_series(1, {ROWS}) AS n;
    ANALYZE
"""  # noqa: S608 - nothing of it comes from elsewhere
PROFILE_FILTERS: Final = {
    "none": ProfileFilter(),
    "number": ProfileFilter(number="+4930177"),
    "email": ProfileFilter(email="DESK77@example.org"),
    "remoteSipUri": ProfileFilter(remote_sip_uri="sip:desk77@pbx.example"),
}
RECORDING_FILTERS: Final = {
    "none": RecordingFilter(),
    "profile": RecordingFilter(profile_id=PROFILE),
    "state failed": RecordingFilter(states=[RecordingState.FAILED]),
    "state completed": RecordingFilter(states=[RecordingState.COMPLETED]),
    "state absent": RecordingFilter(states=[RecordingState.ABSENT]),
    "from": RecordingFilter(from_="+493077"),
    "to": RecordingFilter(to="+494077"),
    "since": RecordingFilter(since=SINCE),
    "until": RecordingFilter(until=SINCE),
    "q": RecordingFilter(metadata={"customer": "77"}),
}


class Daemon:
    """voxrec without an Asterisk: REST is there all the same."""

    def __init__(self, directory: Path, dsn: str) -> None:
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        settings = {
            "data_directory": str(directory / "data"),
            "asterisk": {"url": "http://127.0.0.1:9/ari", "recordings": str(directory), "sounds": str(directory)},
            "database": {"dsn": dsn},
            "archive": {"directory": str(directory / "archive")},
            "rest": {
                "listen": f"tcp:{self.port}:interface=127.0.0.1",
                "public_url": f"http://127.0.0.1:{self.port}",
                "admin_token": "admin",
            },
        }
        config = directory / "voxrec.yaml"
        config.write_text(yaml.safe_dump(settings))
        command = [
            str(Path(sys.executable).with_name("twistd")),
            "--nodaemon",
            "--pidfile=",
            "voxrec",
            "--config",
            str(config),
        ]
        self.log = directory / "voxrec.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=directory)

    def wait(self) -> None:
        """Until it answers."""
        for _ in range(300):
            try:
                if self.ask("/profiles?limit=1")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        raise RuntimeError(f"voxrec does not answer:\n{self.log.read_text()}")

    def ask(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of a GET."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)) as connection:
            connection.request("GET", path, headers={"Authorization": "Bearer admin"})
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()

    def memory(self) -> float:
        """What it has in memory, in MB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        return int(found[1]) / 1024 if found else 0.0

    def settle(self) -> None:
        """Wait until all of its start is over."""
        steady, last = 0, 0.0
        while steady < 10:
            now = self.memory()
            steady = steady + 1 if abs(now - last) < 0.5 else 0
            last = now
            time.sleep(0.2)

    def stop(self) -> None:
        """End it in order."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Spied:
    """Takes the place of a pool, and keeps the statement that a page is read with."""

    async def query(self, sql: str, params: Any) -> list[Any]:
        """Nothing."""
        self.asked = (sql, params)
        return []


def run(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Run what waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise RuntimeError("it waits")


@contextmanager
def highest(daemon: Daemon) -> Iterator[list[float]]:
    """The most memory that the daemon had meanwhile."""
    found, over = [daemon.memory()], threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            found[0] = max(found[0], daemon.memory())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def whole(daemon: Daemon, path: str) -> dict[str, Any]:
    """Read one whole list."""
    before, began = daemon.memory(), time.monotonic()
    with highest(daemon) as most:
        body = daemon.ask(path)[2]
    rows = json.loads(body)
    if len({row["id"] for row in rows}) != ROWS:
        raise AssertionError(f"{path}: {len(rows)} rows of {ROWS}")
    growth = most[0] - before
    if growth > GROWTH:
        raise AssertionError(f"{path}: the daemon grew by {growth:.1f} MB")
    return {
        "path": path,
        "rows": len(rows),
        "megabytes": round(len(body) / 1e6, 1),
        "seconds": round(time.monotonic() - began, 2),
        "memory_before_mb": round(before, 1),
        "growth_mb": round(growth, 1),
    }


def pages(daemon: Daemon, cursor: Any, table: str) -> dict[str, Any]:
    """Walk all pages, while before each one a row comes at the front and another goes in the middle."""
    cursor.execute(f"SELECT id::text FROM {table}")  # noqa: S608
    steady = {row[0] for row in cursor.fetchall()}
    seen: list[str] = []
    seconds: list[float] = []
    path = f"/{table}?limit=1000"
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
        following = re.search(r"<http://[^/]+([^>]+)>", headers.get("Link", ""))
        path = following[1] if following else ""
    if len(seen) != len(set(seen)) or not steady <= set(seen):
        raise AssertionError(f"{table}: {len(steady - set(seen))} rows missed, {len(seen) - len(set(seen))} twice")
    return {
        "table": table,
        "pages": len(seconds),
        "first_page_ms": round(seconds[0] * 1000, 1),
        "last_pages_ms": round(max(seconds[-5:]) * 1000, 1),
        "changes_meanwhile": 2 * len(seconds),
    }


def plans(cursor: Any, store: type[Any], filters: dict[str, Any]) -> list[dict[str, Any]]:
    """How PostgreSQL reads a page with each filter."""
    told = []
    for name, wanted in filters.items():
        spied = Spied()
        run(store(spied).page(wanted, 51, None))
        sql, params = spied.asked
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", tuple(params))
        plan = cursor.fetchone()[0][0]
        text = json.dumps(plan)
        table = store.__name__.lower()
        if re.search(rf'"Seq Scan"[^{{}}]*"Relation Name": "{table}"', text):
            raise AssertionError(f"{table} by {name}: the whole table is read")
        told.append(
            {
                "list": f"{table} by {name}",
                "indexes": sorted(set(re.findall(r'"Index Name": "(\w+)"', text))),
                "milliseconds": plan["Execution Time"],
            }
        )
    return told


def main() -> None:
    """Measure, print, and fail where a promise is broken."""
    with tempfile.TemporaryDirectory(prefix="voxrec-bench-") as place:
        directory = Path(place)
        directory.chmod(0o755)
        cluster = Cluster(directory / "postgres", {"fsync": "off"})
        (directory / "postgres").mkdir()
        cluster.prepare()
        cluster.launch()
        daemon = None
        try:
            cluster.wait_until_ready()
            cluster.create_database("lists")
            dsn = cluster.dsn("lists")
            migrate(dsn)
            with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
                connection.autocommit = True
                began = time.monotonic()
                cursor.execute("SET session_replication_role = replica")  # nobody needs to be told of each row
                cursor.execute(FILL_RECORDINGS)
                daemon = Daemon(directory, dsn)
                daemon.wait()
                daemon.settle()
                lists = [whole(daemon, "/recordings")]
                # only now, so that the daemon does not take them into its own memory, whose leavings would be used
                cursor.execute(FILL_PROFILES)
                print(f"{2 * ROWS} rows made and listed in {time.monotonic() - began:.1f} s", file=sys.stderr)
                lists += [whole(daemon, "/profiles"), whole(daemon, "/recordings")]
                walks = [pages(daemon, cursor, table) for table in ("recordings", "profiles")]
                indexes = plans(cursor, Profiles, PROFILE_FILTERS) + plans(cursor, Recordings, RECORDING_FILTERS)
        finally:
            if daemon:
                daemon.stop()
            cluster.stop()
    for row in (*lists, *walks, *indexes):
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    print(json.dumps({"lists": lists, "pages": walks, "indexes": indexes}))


if __name__ == "__main__":
    main()
