"""Webhooks: messages per second and CPU of the daemon, against a plain loop with httpx that stores nothing.

The receiver is a process of its own on loopback. The daemon sends from its queue in PostgreSQL, with every attempt
stored. ``--quick`` runs one round only.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

import psycopg2

from bench.measure import Spread, cpu_seconds, interleaved, requested_rounds
from bench.report import HERE, BarChart, Section, Table, Target, publish
from bench.servers import ensure_environment, print_progress, start_voxrec, temporary_postgresql
from voxrec.postgres.migrate import migrate

COUNT: Final = 2000  # messages in a round
CONCURRENCY: Final = 16  # requests at the same time
_TIMEOUT: Final = 300.0  # seconds
TITLE: Final = "Webhooks"
INTRO: Final = (
    f"{COUNT} signed messages to one receiver on loopback, {CONCURRENCY} at the same time. voxrec takes them from its "
    "queue, stores each attempt, and opens a connection for each request; the loop with httpx keeps its connections "
    "open and stores nothing. CPU is that of the sending process."
)
_RECEIVER: Final = """
from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import Site

class Receiver(Resource):
    isLeaf = True
    def render(self, request):
        request.content.read()
        return b"ok"

site = Site(Receiver())
print(reactor.listenTCP(0, site, interface="127.0.0.1").getHost().port, flush=True)
reactor.run()
"""
_INSERT: Final = """
    INSERT INTO recordings (id, profile_id, state, format, channels, timeline, metadata, legal_hold, created_at,
                            updated_at)
    SELECT gen_random_uuid(), gen_random_uuid(), 'failed', 'wav', 1, '[]', '{}', false, now(), now()
    FROM generate_series(1, %s)
"""


@contextmanager
def receiver() -> Iterator[str]:
    """Run the receiver, and yield its URL."""
    process = subprocess.Popen([sys.executable, "-c", _RECEIVER], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/"
    finally:
        process.kill()
        process.wait()


def count_deliveries(cursor: Any) -> dict[str, int]:
    """Return the number of deliveries in each state."""
    cursor.execute("SELECT state, count(*) FROM webhook_deliveries GROUP BY state")
    return dict(cursor.fetchall())


def send_queued(cursor: Any, pid: int, count: int) -> tuple[float, float]:
    """Insert events, and return the seconds and the seconds of CPU until the daemon has delivered them.

    Raises AssertionError if one was not delivered, or only by a second attempt.
    """
    before = count_deliveries(cursor).get("delivered", 0)
    used = cpu_seconds(pid, descendants=False)
    began = time.monotonic()
    cursor.execute(_INSERT, (count,))
    while time.monotonic() - began < _TIMEOUT:
        cursor.execute("SELECT count(*) FROM webhook_deliveries WHERE state = 'pending'")
        if cursor.fetchone()[0] == 0:
            result = time.monotonic() - began, cpu_seconds(pid, descendants=False) - used
            states = count_deliveries(cursor)
            cursor.execute("SELECT count(*) FROM webhook_attempts")
            if states != {"delivered": before + count} or cursor.fetchone() != (before + count,):
                raise AssertionError(f"{count} messages, but these deliveries: {states}")
            return result
        time.sleep(0.05)
    raise AssertionError(f"{count} messages were not delivered within {_TIMEOUT:g} s")


def send_with_httpx(url: str) -> tuple[float, float]:
    """Return the seconds and the seconds of CPU of the loop with httpx."""
    python = ensure_environment("httpx", HERE / "rivals" / "httpx.txt") / "python"
    command = [str(python), str(HERE / "rivals" / "httpx_loop.py"), url, str(COUNT), str(CONCURRENCY)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, cpu = map(float, output.split())
    return seconds, cpu


def measure(rounds: int) -> Section:
    """Measure both senders in alternation."""
    rates: dict[str, list[float]] = {"voxrec": [], "httpx loop": []}
    cpu: dict[str, list[float]] = {"voxrec": [], "httpx loop": []}
    with temporary_postgresql() as (directory, cluster), receiver() as url:
        cluster.create_database("webhooks")
        dsn = cluster.dsn("webhooks")
        migrate(dsn)
        settings = {"allowed_networks": ["127.0.0.1"], "concurrency_per_target": CONCURRENCY}
        server = start_voxrec(directory / "voxrec", dsn, webhooks=settings)
        try:
            server.wait_until_ready("/webhooks?limit=1")
            with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
                connection.autocommit = True
                cursor.execute("INSERT INTO webhooks (url) VALUES (%s)", (url,))
                send_queued(cursor, server.pid, 50)
                for _, name in interleaved(tuple(rates), rounds):
                    seconds, used = send_queued(cursor, server.pid, COUNT) if name == "voxrec" else send_with_httpx(url)
                    rates[name].append(COUNT / seconds)
                    cpu[name].append(used / COUNT * 1000)
                    print_progress(f"{name}: {rates[name][-1]:.0f} per second, {cpu[name][-1]:.2f} ms of CPU each")
        finally:
            server.stop()
    rows = tuple((name, Spread.of(rates[name]).text(0), Spread.of(cpu[name]).text(2)) for name in rates)
    rate = Spread.of(rates["voxrec"]).median / Spread.of(rates["httpx loop"]).median
    ratio = Spread.of(cpu["voxrec"]).median / Spread.of(cpu["httpx loop"]).median
    return Section(
        TITLE,
        INTRO,
        (Table(("sender", "messages per second", "CPU, ms each"), rows),),
        (
            Target.at_least("messages per second of voxrec, relative to the loop", rate, 1.0),
            Target.at_most("CPU of voxrec, relative to the loop", ratio, 1.5),
        ),
        BarChart.of("CPU for a webhook", "milliseconds", cpu),
    )


def main() -> None:
    """Measure and publish."""
    rounds = requested_rounds(sys.argv[1:])
    publish("webhooks", [measure(rounds)], rounds)


if __name__ == "__main__":
    main()
