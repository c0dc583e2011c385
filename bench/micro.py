"""The optimisations that make code less obvious, each measured alone: with it, and as the code would be without it.

docs/performance.md lists all of them, including those that other parts measure. ``--quick`` runs one round only.
"""

import gc
import json
import os
import re
import subprocess
import sys
import threading
import time
import uuid
import wave
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import soundfile
import txaio
from autobahn.twisted.websocket import WebSocketClientProtocol
from prometheus_client import CollectorRegistry, Histogram
from twisted.internet import reactor as installed_reactor
from twisted.internet.base import ReactorBase
from twisted.logger import globalLogBeginner
from werkzeug.routing import Map, Rule

from bench import calls
from bench.measure import Spread, interleaved, percentile, requested_rounds
from bench.report import Section, Table, publish
from bench.rest import PROFILE, encode_request
from bench.servers import start_voxrec, temporary_postgresql
from bench.wrk import run_wrk, wrk_command
from voxrec.ari import event_stream
from voxrec.audio.pcm_wav import open_pcm_wav, write_wav
from voxrec.calls.signalling import stasis_args
from voxrec.conversion import convert_fields
from voxrec.model import Profile
from voxrec.postgres.cluster import Cluster

_PROFILES: Final = 20_000
_SECONDS: Final = 3.0  # of each run with wrk
_PROFILE: Final = b'{"record": true, "remoteSipUri": "sip:desk@pbx.example"}'
# What the daemon executes before it starts, to be as it would be without an optimisation.
_ALL_AT_ONCE: Final = "import voxrec.web.site as site; site.REQUESTS_PER_TURN = 10**9"
_WRITE_IN_NEXT_TURN: Final = "import voxrec.web.channel as channel; del channel.LimitedChannel.requestDone"
_FREQUENT_COLLECTIONS: Final = "import voxrec.interpreter_tuning as tuning; tuning._FULL_COLLECTION_THRESHOLD = 10"

_IMPORT: Final = """
import time
began = time.process_time()
import voxrec.service
print(time.process_time() - began)
"""
_IMPORT_PAUSED: Final = "import gc; gc.disable()"


class Comparison(NamedTuple):
    """One optimisation: what is measured, in which unit, and how, with it and without it."""

    name: str
    unit: str
    with_it: Callable[[], float]
    without_it: Callable[[], float]


def microseconds(function: Callable[[], object], times: int) -> float:
    """Return the CPU time of one call, averaged over many."""
    began = time.thread_time()
    for _ in range(times):
        function()
    return (time.thread_time() - began) / times * 1e6


# The interpreter.


def wake_up_delay(interval: float) -> float:
    """Return by how many milliseconds a sleeping thread wakes up late while another one computes (median of 100)."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(interval)
    done = threading.Event()
    computing = threading.Thread(target=_compute, args=(done,))
    computing.start()
    delays = []
    try:
        for _ in range(100):
            began = time.perf_counter()
            time.sleep(0.001)
            delays.append(time.perf_counter() - began - 0.001)
    finally:
        done.set()
        computing.join()
        sys.setswitchinterval(before)
    return percentile(delays, 50) * 1e3


def _compute(done: threading.Event) -> None:
    while not done.is_set():
        sum(range(1000))


def full_collection(frozen: bool) -> float:
    """Return how many milliseconds a full garbage collection stops the process, with voxrec's modules loaded."""
    import voxrec.composition.gateway  # noqa: F401 - what the daemon has loaded

    gc.collect()
    if frozen:
        gc.freeze()
    try:
        began = time.perf_counter()
        gc.collect()
        return (time.perf_counter() - began) * 1e3
    finally:
        gc.unfreeze()


def import_of_the_daemon(paused: bool) -> float:
    """Return the CPU milliseconds in which a new process imports the daemon, while garbage is collected or not."""
    source = f"{_IMPORT_PAUSED if paused else ''}{_IMPORT}"
    return float(subprocess.run([sys.executable, "-c", source], check=True, capture_output=True).stdout) * 1e3


def collection_with_profiles(kind: type[msgspec.Struct]) -> float:
    """Return how many milliseconds of a full collection 20,000 Profiles cost that came after the start."""
    now = datetime(2026, 11, 26, tzinfo=UTC)
    gc.collect()
    gc.freeze()
    try:
        values: list[Any] = [
            kind(id=uuid.UUID(int=n), numbers=(f"+49{n}",), metadata={}, created_at=now, updated_at=now)
            for n in range(_PROFILES)
        ]
        began = time.perf_counter()
        gc.collect()
        spent = (time.perf_counter() - began) * 1e3
        values.clear()
        return spent
    finally:
        gc.unfreeze()


# Calls.


def call_messages() -> float:
    """Return the CPU milliseconds of a call's messages (bench.calls)."""
    gateway = calls.Gateway()
    gateway.call()
    return calls.milliseconds(gateway.call, 0.0)


@contextmanager
def _autobahns_own_methods() -> Iterator[None]:
    protocol: Any = event_stream._Protocol  # noqa: SLF001 - what is measured
    ours = protocol.dataReceived, protocol.sendData

    def data_received(self: Any, data: bytes) -> None:
        self.stream.start_time_slice()
        WebSocketClientProtocol.dataReceived(self, data)

    protocol.dataReceived, protocol.sendData = data_received, WebSocketClientProtocol.sendData
    try:
        yield
    finally:
        protocol.dataReceived, protocol.sendData = ours


def call_messages_with_autobahns_methods() -> float:
    """Return the same with the two methods that voxrec overrides."""
    with _autobahns_own_methods():
        return call_messages()


def autobahn_messages(validate: bool) -> Callable[[], object]:
    """Return a function that passes a call's messages through Autobahn alone, with or without checking their UTF-8."""
    gateway = calls.Gateway()
    gateway.call()
    alone = calls.AutobahnClient(gateway.asterisk.exchanged)
    alone._transport.protocol.utf8validateIncoming = validate  # noqa: SLF001 - what is measured
    return alone.call


def observed_with_cache() -> Callable[[], object]:
    """Return a function that observes a request's time, with its series in a dict."""
    histogram = Histogram("with_cache", "Seconds.", ["transport", "outcome"], registry=CollectorRegistry())
    series = {("websocket", "ok"): histogram.labels("websocket", "ok")}
    return lambda: series["websocket", "ok"].observe(0.001)


def observed_by_labels() -> Callable[[], object]:
    """Return the same, with its series looked up by labels."""
    histogram = Histogram("by_labels", "Seconds.", ["transport", "outcome"], registry=CollectorRegistry())
    return lambda: histogram.labels("websocket", "ok").observe(0.001)


def timer_per_request() -> None:
    """Schedule and cancel a timeout."""
    reactor: ReactorBase = installed_reactor  # type: ignore[assignment] # the default reactor is one
    reactor.callLater(10, print).cancel()


class SharedTimer:
    """What a command does where its timeout is scheduled already."""

    def __init__(self) -> None:
        self._timer: object | None = object()
        self._reactor: ReactorBase = installed_reactor  # type: ignore[assignment] # the default reactor is one

    def check(self) -> None:
        """Schedule nothing."""
        if self._timer is None:
            self._timer = self._reactor.callLater(10, print)


# REST.


class Daemon:
    """voxrec with a PostgreSQL, started anew for each measurement."""

    def __init__(self, directory: Path, cluster: Cluster) -> None:
        self._directory = directory
        self._dsn = cluster.dsn()
        self._started = 0

    def response_time(self, preparation: str = "") -> float:
        """Return within how many milliseconds 99 % of GETs of a Profile on 16 connections are answered.

        ``preparation`` is Python code that the daemon executes before it starts.
        """
        self._started += 1
        server = start_voxrec(self._directory / str(self._started), self._dsn, preparation)
        try:
            server.wait_until_ready("/profiles?limit=1")
            _, _, body = server.request("/profiles", "PUT", _PROFILE, {"Content-Type": "application/json"})
            get = encode_request(server.token, "GET", f"/profiles/{json.loads(body)['id']}")
            script = self._directory / "script.lua"
            run_wrk(wrk_command(), server.port, [get], 1.0, script)
            return run_wrk(wrk_command(), server.port, [get], _SECONDS, script).p99
        finally:
            server.stop()


class Uploads:
    """Whether a path takes an upload: asked for each request with a body, before its body arrives."""

    def __init__(self) -> None:
        paths = [path for n in range(15) for path in (f"/things{n}", f"/things{n}/<id>", f"/things{n}/<id>/audio")]
        self._map = Map([Rule(path, endpoint=path) for path in paths])
        self._uploads = re.compile("/things1/[^/]*/audio")

    def by_pattern(self) -> None:
        """Match the path with a pattern."""
        self._uploads.fullmatch("/things0")

    def by_routes(self) -> None:
        """Match the path with all routes."""
        self._map.bind("").match("/things0", method="PUT")


class CachedFile:
    """64 KiB in the page cache, read as the audio of a Recording is."""

    def __init__(self, directory: Path) -> None:
        path = directory / "cached"
        path.write_bytes(os.urandom(65536))
        self._descriptor = os.open(path, os.O_RDONLY)
        self._pool = ThreadPoolExecutor(1)

    def read_directly(self) -> None:
        """Read without waiting for the disk."""
        block = bytearray(65536)
        os.preadv(self._descriptor, [block], 0, os.RWF_NOWAIT)

    def read_in_thread(self) -> None:
        """Read in another thread, and wait for it."""
        self._pool.submit(os.pread, self._descriptor, 65536, 0).result()


# Audio.


class ShortFile:
    """A leg file of two seconds."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "leg.wav"
        self._copy = directory / "copy.wav"
        self._samples = np.zeros((16000, 1), dtype=np.int16)
        with wave.open(str(self._path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(self._samples.tobytes())

    def copy(self) -> None:
        """Read and write it as voxrec does."""
        with self._path.open("rb", buffering=0) as file:
            reader = open_pcm_wav(file, file.read(44))
            assert reader is not None, "it is linear PCM"
            write_wav([reader.read(16000)], self._copy, 8000, 1)

    def copy_with_libsndfile(self) -> None:
        """Read and write it with libsndfile."""
        with soundfile.SoundFile(self._path) as file:
            samples = file.read(16000, dtype="int16", always_2d=True)
        with soundfile.SoundFile(self._copy, "w", 8000, 1, "PCM_16", format="WAV") as output:
            output.write(samples)


_ARGUMENTS: Final = (
    *("codecs=%28ulaw%7Calaw%29", "presentation=allowed_not_screened", "path=", "max-forwards=70", "asserted="),
    *("P-Asserted-Identity=", "Diversion=%3Csip%3Adesk%40pbx.example%3E", "History-Info=", "User-to-User=00a1b2c3"),
)
_PROFILE_TYPES: Final = {field.encode_name: field.type for field in msgspec.structs.fields(Profile)}


def fields_together() -> None:
    """Convert the fields of a new Profile as REST does."""
    convert_fields(Profile, PROFILE)


def fields_one_by_one() -> None:
    """Convert the same fields by one call of msgspec each, which looks up the type each time."""
    for key, value in PROFILE.items():
        msgspec.convert(value, _PROFILE_TYPES[key])


def read_arguments(*, decoded_each_time: bool = False) -> None:
    """Read all that voxrec needs from the arguments of a caller."""
    stasis_args._pairs.cache_clear()  # noqa: SLF001 - those of the last caller
    readers = (
        stasis_args.headers_of,
        stasis_args.is_wideband,
        stasis_args.is_withheld,
        stasis_args.identity_of,
        partial(stasis_args.dialled_of, "100"),
        stasis_args.hops_of,
    )
    for read in readers:
        read(_ARGUMENTS)
        if decoded_each_time:
            stasis_args._pairs.cache_clear()  # noqa: SLF001


def comparisons(directory: Path, daemon: Daemon) -> list[Comparison]:
    """Return everything that is measured here."""
    text = str(uuid.uuid4())
    audio, cached = ShortFile(directory), CachedFile(directory)
    tracked = msgspec.defstruct(
        "TrackedProfile",
        [(field.name, Any, None) for field in msgspec.structs.fields(Profile)],
        kw_only=True,
        frozen=True,
    )
    timer, uploads = SharedTimer(), Uploads()
    unchecked, checked = autobahn_messages(validate=False), autobahn_messages(validate=True)
    by_cache, by_labels = observed_with_cache(), observed_by_labels()
    return [
        Comparison(
            "switch interval of 0.5 ms: delay of the reactor while a thread computes",
            "ms",
            lambda: wake_up_delay(0.0005),
            lambda: wake_up_delay(0.005),
        ),
        Comparison("gc.freeze: a full collection", "ms", lambda: full_collection(True), lambda: full_collection(False)),
        Comparison(
            "no garbage collection while the daemon is imported: CPU",
            "ms",
            lambda: import_of_the_daemon(True),
            lambda: import_of_the_daemon(False),
        ),
        Comparison(
            "gc=False: a full collection with 20,000 Profiles",
            "ms",
            lambda: collection_with_profiles(Profile),
            lambda: collection_with_profiles(tracked),
        ),
        Comparison(
            "Autobahn's methods overridden: CPU of a call's messages",
            "ms",
            call_messages,
            call_messages_with_autobahns_methods,
        ),
        Comparison(
            "Autobahn does not check UTF-8: its CPU for a call's messages",
            "µs",
            lambda: microseconds(unchecked, 300),
            lambda: microseconds(checked, 300),
        ),
        Comparison(
            "one timer for all commands: CPU of a timeout",
            "µs",
            lambda: microseconds(timer.check, 20_000),
            lambda: microseconds(timer_per_request, 20_000),
        ),
        Comparison(
            "metric series in a dict: CPU of an observation",
            "µs",
            lambda: microseconds(by_cache, 20_000),
            lambda: microseconds(by_labels, 20_000),
        ),
        Comparison(
            "UUIDs parsed by msgspec: CPU of one",
            "µs",
            lambda: microseconds(lambda: msgspec.convert(text, uuid.UUID), 20_000),
            lambda: microseconds(lambda: uuid.UUID(text), 20_000),
        ),
        Comparison(
            "fields of a request converted together: CPU of a Profile",
            "µs",
            lambda: microseconds(fields_together, 5_000),
            lambda: microseconds(fields_one_by_one, 5_000),
        ),
        Comparison(
            "arguments of a caller decoded once: CPU of reading them",
            "µs",
            lambda: microseconds(read_arguments, 1_000),
            lambda: microseconds(partial(read_arguments, decoded_each_time=True), 1_000),
        ),
        *(
            Comparison(
                f"{name}: 99 % of GETs of a Profile, 16 connections",
                "ms",
                daemon.response_time,
                partial(daemon.response_time, without),
            )
            for name, without in (
                ("a full collection every 50 of the second generation", _FREQUENT_COLLECTIONS),
                ("two requests per turn of the reactor", _ALL_AT_ONCE),
                ("responses written at once", _WRITE_IN_NEXT_TURN),
            )
        ),
        Comparison(
            "uploads recognised by a pattern: CPU for a request with a body",
            "µs",
            lambda: microseconds(uploads.by_pattern, 5_000),
            lambda: microseconds(uploads.by_routes, 5_000),
        ),
        Comparison(
            "RWF_NOWAIT: reading 64 KiB from the page cache",
            "µs",
            lambda: wall_microseconds(cached.read_directly, 500),
            lambda: wall_microseconds(cached.read_in_thread, 500),
        ),
        Comparison(
            "WAV files without libsndfile: CPU of copying 2 s",
            "µs",
            lambda: microseconds(audio.copy, 500),
            lambda: microseconds(audio.copy_with_libsndfile, 500),
        ),
    ]


def wall_microseconds(function: Callable[[], object], times: int) -> float:
    """Return the time of one call, averaged over many."""
    began = time.perf_counter()
    for _ in range(times):
        function()
    return (time.perf_counter() - began) / times * 1e6


def measure(rounds: int) -> Sequence[Section]:
    """Measure each optimisation with and without it, in alternation."""
    with temporary_postgresql() as (directory, cluster):
        rows = [_row(each, rounds) for each in comparisons(directory, Daemon(directory, cluster))]
    return [
        Section(
            title="Optimisations, each alone",
            intro=(
                "The effect of each optimisation that makes code less obvious: with it, and as the code would be "
                "without it. docs/performance.md lists where each is."
            ),
            tables=(Table(("optimisation, and what is measured", "with", "without", "unit"), tuple(rows)),),
        )
    ]


def _row(comparison: Comparison, rounds: int) -> tuple[str, ...]:
    variants = (comparison.with_it, comparison.without_it)
    results: dict[Callable[[], float], list[float]] = {variant: [] for variant in variants}
    for _, variant in interleaved(variants, rounds):
        results[variant].append(variant())
    return (comparison.name, *(Spread.of(results[variant]).text(2) for variant in variants), comparison.unit)


if __name__ == "__main__":
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False)
    txaio.set_global_log_level("critical")  # type: ignore[attr-defined] # set by Autobahn
    number = requested_rounds(sys.argv[1:])
    publish("micro", measure(number), number)
