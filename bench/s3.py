"""Uploads to S3: MB/s and CPU of the daemon against boto3 uploading the same files, and memory for a file of 2 GB.

The store is SeaweedFS on loopback. The daemon hashes each file, compares it with the Recording, uploads it with its
SHA-256, stores that in PostgreSQL and removes the local file. ``--quick`` runs one round, without the file of 2 GB.
"""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import psycopg2

from bench.measure import Spread, cpu_seconds, interleaved, requested_rounds, resident_megabytes
from bench.report import HERE, BarChart, Section, Table, Target, publish
from bench.servers import Server, print_progress, start_voxrec, temporary_postgresql
from voxrec.postgres.migrate import migrate
from voxrec.sandbox.seaweedfs import ACCESS_KEY, SECRET_KEY, SeaweedFS, client_of

FILES: Final = 200  # in a round
FILE_SIZE: Final = 960_000  # bytes: a minute of a call, 16 bits at 8 kHz
LARGE_SIZE: Final = 256_000_000  # bytes: 2 hours of a call in stereo
HUGE_SIZE: Final = 2_000_000_000  # bytes
CONCURRENCY: Final = 4
MAX_GROWTH_MB: Final = 64.0  # of the memory for a large file beyond that for small ones
_TIMEOUT: Final = 900.0  # seconds
_BLOCK: Final = 1 << 20
BUCKET: Final = "bench"
TITLE: Final = "Uploads to S3"
INTRO: Final = (
    f"{FILES} recordings of one minute ({FILE_SIZE / 1e6:.2f} MB), {CONCURRENCY} at a time, to SeaweedFS on loopback. "
    "voxrec compares each file with its Recording, uploads it with its SHA-256, stores the result in PostgreSQL and "
    f"removes the file; the script with boto3's managed transfer (SHA-256, threads) only uploads. Then one file of "
    f"{LARGE_SIZE / 1e6:.0f} MB, which both upload in parts, and one of {HUGE_SIZE / 1e9:.0f} GB with voxrec only. "
    "CPU is that of the uploading process. The memory is the largest resident size."
)
_INSERT: Final = """
    INSERT INTO recordings (id, profile_id, state, format, channels, timeline, metadata, legal_hold, created_at,
                            updated_at, path, size, sha256)
    VALUES (%s, gen_random_uuid(), 'completed', 'wav', 1, '[]', '{}', false, now(), now(), %s, %s, %s)
"""
_ENQUEUE: Final = "INSERT INTO jobs (kind, recording_id) SELECT 'upload', unnest(%s::uuid[])"
_PENDING: Final = "SELECT count(*) FROM jobs WHERE kind = 'upload' AND done_at IS NULL"


def write_file(path: Path, size: int) -> str:
    """Write a file of random bytes, and return its SHA-256 in hex."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, block = hashlib.sha256(), os.urandom(_BLOCK)
    with path.open("wb") as file:
        while size > 0:
            part = block[: min(size, _BLOCK)]
            digest.update(part)
            file.write(part)
            size -= len(part)
    return digest.hexdigest()


def add_recordings(cursor: Any, archive: Path, sizes: Sequence[int]) -> list[str]:
    """Add completed Recordings with their files, without jobs, and return their ids."""
    recording_ids = []
    for size in sizes:
        recording_id = str(uuid4())
        path = f"2026/01/01/{recording_id}.wav"
        sha256 = write_file(archive / path, size)
        cursor.execute(_INSERT, (recording_id, path, size, sha256))
        recording_ids.append(recording_id)
    return recording_ids


def upload_with_voxrec(server: Server, cursor: Any, recording_ids: list[str]) -> tuple[float, float, float]:
    """Return seconds, seconds of CPU, and the largest resident size in MB, until the daemon has uploaded all."""
    used, began, peak = cpu_seconds(server.pid, descendants=False), time.monotonic(), 0.0
    cursor.execute(_ENQUEUE, (recording_ids,))
    while time.monotonic() - began < _TIMEOUT:
        peak = max(peak, resident_megabytes(server.pid))
        cursor.execute(_PENDING)
        if cursor.fetchone()[0] == 0:
            return time.monotonic() - began, cpu_seconds(server.pid, descendants=False) - used, peak
        time.sleep(0.02)
    raise AssertionError(f"{len(recording_ids)} recordings were not uploaded within {_TIMEOUT:g} s")


def upload_with_boto3(endpoint: str, files: Sequence[Path]) -> tuple[float, float, float]:
    """Return seconds, seconds of CPU, and the largest resident size in MB, of the script."""
    command = [
        *(sys.executable, str(HERE / "rivals" / "boto3_upload.py"), endpoint, BUCKET, ACCESS_KEY, SECRET_KEY),
        *(str(CONCURRENCY), *map(str, files)),
    ]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, cpu, megabytes = map(float, output.split())
    return seconds, cpu, megabytes


Figures = dict[str, list[float]]
"""Measurements by uploader."""


def no_figures() -> Figures:
    """Return lists for the uploaders in the order of the tables."""
    return {"voxrec": [], "boto3": []}


@dataclass
class Bench:
    """The servers, and what was measured: MB/s and ms of CPU per MB by uploader, and the memory in MB."""

    directory: Path
    store: SeaweedFS
    server: Server
    cursor: Any
    rates: Figures = field(default_factory=no_figures)
    cpu: Figures = field(default_factory=no_figures)
    memory: Figures = field(default_factory=no_figures)
    large_rates: Figures = field(default_factory=no_figures)
    large_memory: Figures = field(default_factory=no_figures)
    huge_rates: list[float] = field(default_factory=list)
    huge_memory: list[float] = field(default_factory=list)

    def upload(self, name: str, sizes: Sequence[int]) -> tuple[float, float, float]:
        """Upload new files of these sizes; see `upload_with_voxrec`."""
        if name == "voxrec":
            recordings = add_recordings(self.cursor, self.directory / "archive", sizes)
            return upload_with_voxrec(self.server, self.cursor, recordings)
        files = [self.directory / "files" / f"{uuid4()}.wav" for _ in sizes]
        for file, size in zip(files, sizes, strict=True):
            write_file(file, size)
        result = upload_with_boto3(self.store.endpoint, files)
        for file in files:
            file.unlink()
        return result

    def measure_small(self, rounds: int) -> None:
        """Upload the minutes of calls with both in alternation."""
        self.upload("voxrec", [FILE_SIZE] * 10)
        megabytes = FILES * FILE_SIZE / 1e6
        for _, name in interleaved(tuple(self.rates), rounds):
            seconds, cpu, memory = self.upload(name, [FILE_SIZE] * FILES)
            self.rates[name].append(megabytes / seconds)
            self.cpu[name].append(cpu / megabytes * 1000)
            self.memory[name].append(memory)
            print_progress(f"{name}: {self.rates[name][-1]:.0f} MB/s, {self.cpu[name][-1]:.1f} ms of CPU per MB")

    def measure_large(self, rounds: int) -> None:
        """Upload a large file with both in alternation."""
        for _, name in interleaved(tuple(self.rates), rounds):
            seconds, _, memory = self.upload(name, [LARGE_SIZE])
            self.large_rates[name].append(LARGE_SIZE / 1e6 / seconds)
            self.large_memory[name].append(memory)
            print_progress(f"{name}: {self.large_rates[name][-1]:.0f} MB/s for {LARGE_SIZE / 1e6:.0f} MB")

    def measure_huge(self) -> None:
        """Upload a file that is much larger than the memory, with voxrec."""
        seconds, _, memory = self.upload("voxrec", [HUGE_SIZE])
        self.huge_rates.append(HUGE_SIZE / 1e6 / seconds)
        self.huge_memory.append(memory)
        print_progress(
            f"voxrec: {self.huge_rates[-1]:.0f} MB/s, {memory:.0f} MB of memory for {HUGE_SIZE / 1e9:.0f} GB"
        )

    def section(self) -> Section:
        """Return all results."""
        rows = tuple(
            (
                *(name, Spread.of(self.rates[name]).text(0), Spread.of(self.cpu[name]).text(1)),
                Spread.of(self.large_rates[name]).text(0),
            )
            for name in self.rates
        )
        header = ("uploader", "MB/s, minutes of calls", "CPU, ms per MB", f"MB/s, {LARGE_SIZE / 1e6:.0f} MB")
        memory = {
            "minutes of calls": self.memory["voxrec"],
            f"{LARGE_SIZE / 1e6:.0f} MB": self.large_memory["voxrec"],
            f"{HUGE_SIZE / 1e9:.0f} GB": self.huge_memory,
        }
        memory_rows = tuple((name, f"{max(figures):.0f}") for name, figures in memory.items() if figures)
        growth = max(*self.large_memory["voxrec"], *self.huge_memory) - max(self.memory["voxrec"])
        targets = (
            Target.at_least("MB/s of voxrec, relative to boto3", _ratio(self.rates), 0.8),
            Target.at_least("the same for a large file", _ratio(self.large_rates), 0.8),
            Target.at_most("growth of the memory by large files, MB", growth, MAX_GROWTH_MB),
        )
        chart = BarChart.of("Uploads to S3", "MB/s", self.rates)
        tables = (Table(header, rows), Table(("files of voxrec", "memory, MB"), memory_rows))
        return Section(TITLE, INTRO, tables, targets, chart)


def _ratio(rates: Figures) -> float:
    return Spread.of(rates["voxrec"]).median / Spread.of(rates["boto3"]).median


def s3_settings(endpoint: str) -> dict[str, Any]:
    """Return the settings of the daemon."""
    return {
        "bucket": BUCKET,
        "endpoint": endpoint,
        "addressing": "path",
        "access_key": ACCESS_KEY,
        "secret_key": SECRET_KEY,
        "concurrency": CONCURRENCY,
        "concurrency_per_bucket": CONCURRENCY,
    }


def measure(rounds: int) -> Section:
    """Start the servers, and measure both uploaders."""
    with temporary_postgresql() as (directory, cluster):
        store = SeaweedFS(directory / "s3")
        store.start()
        client_of(store).create_bucket(Bucket=BUCKET)
        cluster.create_database("s3")
        dsn = cluster.dsn("s3")
        migrate(dsn)
        archive = directory / "archive"
        archive.mkdir()
        server = start_voxrec(
            directory / "voxrec", dsn, s3=s3_settings(store.endpoint), archive={"directory": str(archive)}
        )
        try:
            server.wait_until_ready("/recordings?limit=1")
            with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
                connection.autocommit = True
                bench = Bench(directory, store, server, cursor)
                bench.measure_small(rounds)
                bench.measure_large(rounds)
                if rounds > 1:
                    bench.measure_huge()
                return bench.section()
        finally:
            server.stop()
            store.kill()


def main() -> None:
    """Measure and publish."""
    rounds = requested_rounds(sys.argv[1:])
    publish("s3", [measure(rounds)], rounds)


if __name__ == "__main__":
    main()
