"""Finishing of Recordings: CPU per hour of audio by format, the queue's throughput, and memory for a long recording.

The leg files contain noise whose level changes like that of speech, which encoders cannot compress well. ``--quick``
runs one round only.
"""

import os
import re
import sys
import tempfile
import time
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import numpy as np
import psycopg2
import soundfile

from bench.measure import Spread, interleaved, requested_rounds
from bench.report import BarChart, Section, Table, Target, publish
from bench.servers import Server, print_progress, start_voxrec, temporary_postgresql
from voxrec.archive.local import LocalArchive
from voxrec.audio.formats import FORMATS
from voxrec.model import Job, JobKind, JobState, Recording, RecordingState, Side, leg_name
from voxrec.postgres.migrate import migrate
from voxrec.recordings.finish import Finisher

RATE: Final = 8000
MINUTES: Final = 10  # length of the call whose finishing is measured in each format
BATCH: Final = 200  # Recordings of a minute in the queue
LONG_SECONDS: Final = 3 * 3600
MAX_GROWTH_MB: Final = 32.0  # of the memory for a long recording beyond that for a short one
MIN_CONCURRENT_CALLS: Final = 200.0
_BATCH_TIMEOUT: Final = 300.0  # seconds
_COUNT_COMPLETED: Final = "SELECT count(*) FROM recordings WHERE id = ANY(%s::uuid[]) AND state = 'completed'"
FORMATS_TITLE: Final = "Finishing one hour of audio"
FORMATS_CHART: Final = "CPU to finish one hour of a call"
FORMATS_INTRO: Final = (
    "Seconds of CPU from two leg files to the archived, checked and hashed Recording, for an hour of a call with both "
    f"sides at {RATE} Hz; measured with {MINUTES} minutes."
)
QUEUE_TITLE: Final = "Throughput of the queue"
QUEUE_INTRO: Final = (
    f"{BATCH} calls of a minute, with both sides, end at the same time: the number that voxrec finishes per second, "
    "with PostgreSQL, fsync and the archive. If calls take a minute, the number that end per second is that of "
    "concurrent calls divided by 60; longer calls end less often, and the cost of finishing is proportional to their "
    "length."
)
MEMORY_TITLE: Final = "Memory for a long recording"
MEMORY_INTRO: Final = "The peak of resident memory (RSS) of voxrec while it finishes one Recording."
_ROWS: Final = """
    INSERT INTO recordings (id, profile_id, state, format, channels, started_at, ended_at, timeline, metadata,
                            legal_hold, created_at, updated_at)
    SELECT id, gen_random_uuid(), 'processing', 'wav', 2, now() - %s, now(), '[]', '{}', false, now(), now()
    FROM unnest(%s::uuid[]) AS given (id);
    INSERT INTO jobs (kind, recording_id) SELECT 'finish', id FROM unnest(%s::uuid[]) AS given (id)
"""


def write_leg(path: Path, seconds: int) -> None:
    """Write a leg file: one side of a call."""
    random = np.random.default_rng(1)
    envelope = (np.sin(np.arange(10 * RATE) * 2 * np.pi / (2.5 * RATE)) + 1) / 2
    block = (random.normal(0, 2500, 10 * RATE) * envelope).clip(-32768, 32767).astype(np.int16)
    with soundfile.SoundFile(path, "w", RATE, 1, subtype="PCM_16", format="WAV") as sound:
        for _ in range(seconds // 10):
            sound.write(block)


class SingleRecordingStore:
    """A test double of the repository that holds one Recording."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording

    async def get(self, _recording_id: UUID, /) -> Recording:
        """Return the Recording."""
        return self.recording

    async def complete(self, recording: Recording, _follow_up: object, /) -> None:
        """Store the finished Recording."""
        self.recording = recording


class SystemClock:
    """A clock with the system's time."""

    def seconds(self) -> float:
        """Return the seconds since the epoch."""
        return time.time()


async def call_directly(function: Any, *arguments: Any) -> Any:
    """Call the function in this thread, in place of defer_to_thread."""
    return function(*arguments)


def cpu_per_hour(directory: Path, leg: Path, format_: str) -> tuple[float, float]:
    """Return the seconds of CPU to finish an hour of a call, and the megabytes of the result."""
    ended = datetime.now(UTC)
    recording = Recording(
        id=uuid4(),
        profile_id=uuid4(),
        state=RecordingState.PROCESSING,
        format=format_,
        channels=1 if FORMATS[format_].channels == 1 else 2,
        started_at=ended - timedelta(minutes=MINUTES),
        ended_at=ended,
        created_at=ended,
        updated_at=ended,
    )
    for side in Side:
        os.link(leg, directory / f"{leg_name(recording.id, side)}.wav")
    store = SingleRecordingStore(recording)
    archive = LocalArchive(directory)
    clock: Any = SystemClock()
    finisher = Finisher(clock, store, archive, directory, directory / ".work", call_directly)
    job = Job(
        id=uuid4(),
        kind=JobKind.FINISH,
        recording_id=recording.id,
        state=JobState.RUNNING,
        attempts=1,
        due_at=ended,
        created_at=ended,
    )
    began = time.process_time()
    with suppress(StopIteration):
        finisher(job).send(None)
    used = time.process_time() - began
    done = store.recording
    if done.state is not RecordingState.COMPLETED or done.path is None or done.size is None:
        raise AssertionError(f"{format_}: {done}")
    archive.delete(done.path)
    return used * 60 / MINUTES, done.size / 1e6 * 60 / MINUTES


def finish_batch(cursor: Any, spool: Path, leg: Path, seconds: int, count: int) -> float:
    """Insert ``count`` Recordings with finish jobs, and return the seconds until voxrec has finished all of them."""
    ids = [uuid4() for _ in range(count)]
    for recording_id in ids:
        for side in Side:
            os.link(leg, spool / f"{leg_name(recording_id, side)}.wav")
    id_strings = [str(recording_id) for recording_id in ids]
    cursor.execute(_ROWS, (timedelta(seconds=seconds), id_strings, id_strings))
    began = time.monotonic()
    while time.monotonic() - began < _BATCH_TIMEOUT:
        cursor.execute(_COUNT_COMPLETED, (id_strings,))
        if cursor.fetchone()[0] == count:
            return time.monotonic() - began
        time.sleep(0.02)
    raise AssertionError(f"{count} Recordings were not finished within {_BATCH_TIMEOUT:g} s")


def peak_memory(server: Server) -> float:
    """Return a process's peak of resident memory in MB since `reset_peak_memory`."""
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{server.pid}/status").read_text())
    return int(match[1]) * 1024 / 1e6 if match else 0.0


def reset_peak_memory(server: Server) -> None:
    """Reset the peak of resident memory to the current value (proc(5), clear_refs)."""
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")


def measure_formats(rounds: int) -> Section:
    """Measure the CPU per hour of audio in each format."""
    cpu: dict[str, list[float]] = {name: [] for name in FORMATS}
    size: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="voxrec-bench-") as place:
        directory = Path(place)
        leg = directory / "leg"
        write_leg(leg, MINUTES * 60)
        for _, name in interleaved(tuple(FORMATS), rounds):
            seconds, size[name] = cpu_per_hour(directory, leg, name)
            cpu[name].append(seconds)
    rows = tuple((name, Spread.of(cpu[name]).text(2), f"{size[name]:.0f}") for name in FORMATS)
    return Section(
        FORMATS_TITLE,
        FORMATS_INTRO,
        (Table(("format", "CPU, s per hour", "MB per hour"), rows),),
        (),
        BarChart.of(FORMATS_CHART, "seconds of CPU", {f"voxrec: {name}": cpu[name] for name in FORMATS}),
    )


def measure_queue(rounds: int) -> list[Section]:
    """Measure the throughput of the queue, and the peak memory for a long recording."""
    rates: list[float] = []
    short: list[float] = []
    long: list[float] = []
    with temporary_postgresql() as (directory, cluster):
        cluster.create_database("finish")
        dsn = cluster.dsn("finish")
        migrate(dsn)
        spool = directory / "voxrec"
        server = start_voxrec(spool, dsn)
        try:
            minute, hours = spool / "minute", spool / "hours"
            write_leg(minute, 60)
            write_leg(hours, LONG_SECONDS)
            server.wait_until_ready("/recordings?limit=1")
            with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
                connection.autocommit = True
                finish_batch(cursor, spool, minute, 60, 20)
                for _ in range(rounds):
                    rates.append(BATCH / finish_batch(cursor, spool, minute, 60, BATCH))
                    print_progress(f"{rates[-1]:.1f} Recordings finished per second")
                for _ in range(rounds):
                    for peaks, leg, seconds in ((short, minute, 60), (long, hours, LONG_SECONDS)):
                        reset_peak_memory(server)
                        finish_batch(cursor, spool, leg, seconds, 1)
                        peaks.append(peak_memory(server))
                    print_progress(f"peak memory: one minute {short[-1]:.0f} MB, three hours {long[-1]:.0f} MB")
        finally:
            server.stop()
    rate = Spread.of(rates)
    growth = Spread.of(long).median - Spread.of(short).median
    return [
        Section(
            QUEUE_TITLE,
            QUEUE_INTRO,
            (
                Table(
                    ("finished per second", "concurrent calls"),
                    ((rate.text(1), f"{rate.median * 60:.0f}"),),
                ),
            ),
            (Target.at_least("concurrent calls", rate.median * 60, MIN_CONCURRENT_CALLS),),
        ),
        Section(
            MEMORY_TITLE,
            MEMORY_INTRO,
            (
                Table(
                    ("length of the call", "peak, MB"),
                    (("one minute", Spread.of(short).text(0)), ("three hours", Spread.of(long).text(0))),
                ),
            ),
            (Target.at_most("peak for three hours above that for one minute", growth, MAX_GROWTH_MB, " MB"),),
        ),
    ]


def main() -> None:
    """Measure and publish."""
    rounds = requested_rounds(sys.argv[1:])
    publish("finish", [measure_formats(rounds), *measure_queue(rounds)], rounds)


if __name__ == "__main__":
    main()
