"""Finishing: CPU for an hour of audio by format, how many calls the queue keeps up with, memory for a long recording.

The legs are noise with the rise and fall of speech, which no encoder can make light of. ``--quick`` does a single
round.
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

from bench.gateway import Server, postgresql, say, voxrec
from bench.measure import ROUNDS, Spread, interleaved
from bench.report import Bars, Reach, Section, Table, publish
from voxrec.archive.local import LocalArchive
from voxrec.audio.formats import FORMATS
from voxrec.model import Job, JobKind, JobState, Recording, RecordingState, Side, leg_name
from voxrec.postgres.migrate import migrate
from voxrec.recordings.finish import Finisher

RATE: Final = 8000
MINUTES: Final = 10  # of the call whose finishing is timed in each format
BATCH: Final = 200  # Recordings of a minute that wait in the queue
LONG: Final = 3 * 3600  # seconds
GROWTH_AIM: Final = 32.0  # MB that the long one may take beyond the short one
CALLS_AIM: Final = 200.0  # calls at once that the queue has to keep up with, at the least
_PATIENCE: Final = 300.0  # seconds for a batch
_ROWS: Final = """
    INSERT INTO recordings (id, profile_id, state, format, channels, started_at, ended_at, timeline, metadata,
                            legal_hold, created_at, updated_at)
    SELECT id, gen_random_uuid(), 'processing', 'wav', 2, now() - %s, now(), '[]', '{}', false, now(), now()
    FROM unnest(%s::uuid[]) AS given (id);
    INSERT INTO jobs (kind, recording_id) SELECT 'finish', id FROM unnest(%s::uuid[]) AS given (id)
"""


def write_leg(path: Path, seconds: int) -> None:
    """One side of a call."""
    source = np.random.default_rng(1)
    rise = (np.sin(np.arange(10 * RATE) * 2 * np.pi / (2.5 * RATE)) + 1) / 2
    block = (source.normal(0, 2500, 10 * RATE) * rise).clip(-32768, 32767).astype(np.int16)
    with soundfile.SoundFile(path, "w", RATE, 1, subtype="PCM_16", format="WAV") as sound:
        for _ in range(seconds // 10):
            sound.write(block)


class Ended:
    """Takes the place of the store: a Recording that has just ended, in one format after the other."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording

    async def get(self, _recording_id: UUID, /) -> Recording:
        """The Recording."""
        return self.recording

    async def complete(self, recording: Recording, _follow_up: object, /) -> None:
        """Keep what came of it."""
        self.recording = recording


class Now:
    """The clock that finishing asks."""

    def seconds(self) -> float:
        """Since the epoch."""
        return time.time()


async def at_once(function: Any, *arguments: Any) -> Any:
    """In place of a thread."""
    return function(*arguments)


def cpu_per_hour(directory: Path, leg: Path, format_: str) -> tuple[float, float]:
    """Seconds of CPU that finishing takes for an hour of a call, and megabytes that the hour is then."""
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
    store = Ended(recording)
    archive = LocalArchive(directory)
    clock: Any = Now()
    finisher = Finisher(clock, store, archive, directory, directory / ".work", at_once)
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


def queue(cursor: Any, spool: Path, leg: Path, seconds: int, count: int) -> float:
    """Give the daemon so many Recordings at once; gives the seconds until all are finished."""
    ids = [uuid4() for _ in range(count)]
    for recording_id in ids:
        for side in Side:
            os.link(leg, spool / f"{leg_name(recording_id, side)}.wav")
    given = [str(recording_id) for recording_id in ids]
    cursor.execute(_ROWS, (timedelta(seconds=seconds), given, given))
    began = time.monotonic()
    while time.monotonic() - began < _PATIENCE:
        cursor.execute("SELECT count(*) FROM recordings WHERE id = ANY(%s::uuid[]) AND state = 'completed'", (given,))
        if cursor.fetchone()[0] == count:
            return time.monotonic() - began
        time.sleep(0.02)
    raise AssertionError(f"{count} Recordings were not finished within {_PATIENCE:g} s")


def peak(server: Server) -> float:
    """The most memory that a daemon had since ``forget_peak``, in MB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{server.pid}/status").read_text())
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def forget_peak(server: Server) -> None:
    """Let the peak be what there is now (proc(5), clear_refs)."""
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")


def by_format(rounds: int) -> Section:
    """What an hour costs in each format."""
    used: dict[str, list[float]] = {name: [] for name in FORMATS}
    size: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="voxrec-bench-") as place:
        directory = Path(place)
        leg = directory / "leg"
        write_leg(leg, MINUTES * 60)
        for _, name in interleaved(tuple(FORMATS), rounds):
            seconds, size[name] = cpu_per_hour(directory, leg, name)
            used[name].append(seconds)
    rows = tuple((name, Spread.of(used[name]).shown(2), f"{size[name]:.0f}") for name in FORMATS)
    return Section(
        "Finishing an hour",
        "Seconds of CPU from two leg files to the archived, checked and hashed Recording: an hour of a call, both "
        f"sides, at {RATE} Hz; measured with {MINUTES} minutes.",
        (Table(("format", "CPU, s for an hour", "MB for an hour"), rows),),
        (),
        Bars.of("Finishing an hour of a call", "seconds of CPU", {f"voxrec: {name}": used[name] for name in FORMATS}),
    )


def under_load(rounds: int) -> list[Section]:
    """How many calls the queue keeps up with, and what a long recording takes."""
    rates, short, long = [], [], []
    with postgresql() as (directory, cluster):
        cluster.create_database("finish")
        dsn = cluster.dsn("finish")
        migrate(dsn)
        spool = directory / "voxrec"
        server = voxrec(spool, dsn)
        try:
            minute, hours = spool / "minute", spool / "hours"
            write_leg(minute, 60)
            write_leg(hours, LONG)
            server.wait("/recordings?limit=1")
            with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
                connection.autocommit = True
                queue(cursor, spool, minute, 60, 20)
                for _ in range(rounds):
                    rates.append(BATCH / queue(cursor, spool, minute, 60, BATCH))
                    say(f"{rates[-1]:.1f} finishes a second")
                for _ in range(rounds):
                    for found, leg, seconds in ((short, minute, 60), (long, hours, LONG)):
                        forget_peak(server)
                        queue(cursor, spool, leg, seconds, 1)
                        found.append(peak(server))
                    say(f"peak of memory: a minute {short[-1]:.0f} MB, three hours {long[-1]:.0f} MB")
        finally:
            server.stop()
    rate = Spread.of(rates)
    growth = Spread.of(long).median - Spread.of(short).median
    return [
        Section(
            "The queue keeps up",
            f"{BATCH} calls of a minute, both sides, end at once: how many the daemon finishes in a second, with "
            "PostgreSQL, fsync and the archive. Where calls take a minute, as many end in a second as are live divided "
            "by 60; longer calls end more seldom, and cost finishing in proportion to their length.",
            (
                Table(
                    ("finishes a second", "calls at once that it keeps up with"),
                    ((rate.shown(1), f"{rate.median * 60:.0f}"),),
                ),
            ),
            (Reach.at_least("calls at once", rate.median * 60, CALLS_AIM),),
        ),
        Section(
            "Memory for a long recording",
            "The most memory (RSS) that the daemon had while it finished one Recording.",
            (
                Table(
                    ("one call of", "peak, MB"),
                    (("a minute", Spread.of(short).shown(0)), ("three hours", Spread.of(long).shown(0))),
                ),
            ),
            (Reach.at_most("three hours beyond a minute", growth, GROWTH_AIM, " MB"),),
        ),
    ]


def main() -> None:
    """Measure and publish."""
    rounds = 1 if "--quick" in sys.argv[1:] else ROUNDS
    publish("finish", [by_format(rounds), *under_load(rounds)], rounds)


if __name__ == "__main__":
    main()
