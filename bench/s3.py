"""Uploads to S3: MB/s and CPU of the daemon against boto3 uploading the same files, and memory for a file of 2 GB.

The store is SeaweedFS on loopback. The daemon hashes each file, compares it with the Recording, uploads it with its
SHA-256, stores that in PostgreSQL and removes the local file. ``--quick`` runs one round, and a large file of 256 MB.
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

import boto3
import psycopg2
from botocore.config import Config

from bench.measure import Spread, cpu_seconds, interleaved, requested_rounds, resident_megabytes
from bench.report import HERE, BarChart, Section, Table, Target, publish
from bench.servers import Server, print_progress, start_voxrec, temporary_postgresql
from voxrec.postgres.migrate import migrate
from voxrec.sandbox.seaweedfs import ACCESS_KEY, SECRET_KEY, SeaweedFS

FILES: Final = 200  # in a round
FILE_SIZE: Final = 960_000  # bytes: a minute of a call, 16 bits at 8 kHz
LARGE_SIZE: Final = 2_000_000_000  # bytes
CONCURRENCY: Final = 4
QUICK_LARGE_SIZE: Final = 256_000_000
MAX_GROWTH_MB: Final = 64.0  # of the memory for a large file beyond that for small ones
_TIMEOUT: Final = 900.0  # seconds
_BLOCK: Final = 1 << 20
BUCKET: Final = "bench"
TITLE: Final = "Uploads to S3"
INTRO: Final = (
    f"{FILES} recordings of one minute ({FILE_SIZE / 1e6:.2f} MB), {CONCURRENCY} at a time, to SeaweedFS on loopback. "
    "voxrec compares each file with its Recording, uploads it with its SHA-256, stores the result in PostgreSQL and "
    "removes the file; the script with boto3's managed transfer (SHA-256, threads) only uploads. CPU is that of the "
    "uploading process. The memory is the largest resident size while one file of 2 GB is uploaded in parts."
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


def create_bucket(endpoint: str) -> None:
    """Create the bucket."""
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )
    client.create_bucket(Bucket=BUCKET)


@dataclass
class Bench:
    """The servers, and what was measured: MB/s and ms of CPU per MB by uploader, and the memory in MB."""

    directory: Path
    store: SeaweedFS
    server: Server
    cursor: Any
    rates: dict[str, list[float]] = field(default_factory=lambda: {"voxrec": [], "boto3": []})
    cpu: dict[str, list[float]] = field(default_factory=lambda: {"voxrec": [], "boto3": []})
    memory: dict[str, float] = field(default_factory=dict)

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
            seconds, cpu, self.memory[name] = self.upload(name, [FILE_SIZE] * FILES)
            self.rates[name].append(megabytes / seconds)
            self.cpu[name].append(cpu / megabytes * 1000)
            print_progress(f"{name}: {self.rates[name][-1]:.0f} MB/s, {self.cpu[name][-1]:.1f} ms of CPU per MB")

    def measure_large(self, size: int) -> Section:
        """Upload one large file with each, and return all results."""
        rows, growth = [], {}
        for name in self.rates:
            seconds, _, memory = self.upload(name, [size])
            growth[name] = memory - self.memory[name]
            small = (Spread.of(self.rates[name]).text(0), Spread.of(self.cpu[name]).text(1))
            rows.append((name, *small, f"{size / 1e6 / seconds:.0f}", f"{self.memory[name]:.0f}", f"{memory:.0f}"))
        ratio = Spread.of(self.rates["voxrec"]).median / Spread.of(self.rates["boto3"]).median
        header = (
            *("uploader", "MB/s, minutes of calls", "CPU, ms per MB", f"MB/s, {size / 1e6:.0f} MB"),
            *("memory, MB", "memory with the large file, MB"),
        )
        targets = (
            Target.at_least("MB/s of voxrec, relative to boto3", ratio, 0.8),
            Target.at_most("growth of the memory by a large file, MB", growth["voxrec"], MAX_GROWTH_MB),
        )
        return Section(
            TITLE, INTRO, (Table(header, tuple(rows)),), targets, BarChart.of("Uploads to S3", "MB/s", self.rates)
        )


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
        create_bucket(store.endpoint)
        cluster.create_database("s3")
        dsn = cluster.dsn("s3")
        migrate(dsn)
        archive = directory / "archive"
        archive.mkdir()
        sections = {"s3": s3_settings(store.endpoint), "archive": {"directory": str(archive)}}
        server = start_voxrec(directory / "voxrec", dsn, **sections)
        try:
            server.wait_until_ready("/recordings?limit=1")
            with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
                connection.autocommit = True
                bench = Bench(directory, store, server, cursor)
                bench.measure_small(rounds)
                return bench.measure_large(LARGE_SIZE if rounds > 1 else QUICK_LARGE_SIZE)
        finally:
            server.stop()
            store.kill()


def main() -> None:
    """Measure and publish."""
    rounds = requested_rounds(sys.argv[1:])
    publish("s3", [measure(rounds)], rounds)


if __name__ == "__main__":
    main()
