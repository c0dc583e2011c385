"""Stores overlapping calls with the voxrec that it imports, which may be an earlier version: see `bench.storage_rate`.

The arguments are a connection string and the calls per second. For each line of standard input, a number of calls, it
prints the seconds of CPU of this process. The journal, the queue of call events, the job worker and the indexing for
searches are voxrec's own; there is no Asterisk, and finishing produces no audio.
"""

import json
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast
from unittest.mock import Mock
from uuid import uuid4

import msgspec
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from voxrec.composition.database import build_database
from voxrec.composition.environment import build_environment
from voxrec.composition.queue import build_queue
from voxrec.composition.search_index import SearchIndexing
from voxrec.config import Config, Node
from voxrec.model import Call, CallState, EventType, Job, JobKind, Profile, Recording, RecordingState
from voxrec.postgres.listener import JOBS_CHANNEL, Listener
from voxrec.postgres.migrate import migrate
from voxrec.store.events import EventQueue

_CALL_SECONDS: Final = 1.0
_NODE: Final = "berlin"


class _Finisher:
    """Stores the result of each Recording, and counts them."""

    def __init__(self, recordings: Any) -> None:
        self._recordings = recordings
        self.finished = 0

    async def __call__(self, job: Job) -> None:
        await self.finish(await self._recordings.get(job.recording_id))

    async def finish(self, ended: Recording) -> None:
        result = {"state": RecordingState.COMPLETED, "duration": 1.0, "size": 1, "path": str(ended.id)}
        await self._recordings.complete(msgspec.structs.replace(ended, **result), [JobKind.MAIL])
        self.finished += 1


class _Calls:
    """What voxrec consists of, as far as it stores calls."""

    def __init__(self, dsn: str, directory: Path) -> None:
        env = build_environment(reactor, Config(data_directory=str(directory), node=Node(name=_NODE)))
        database = self._database = build_database(env, dsn)
        database.jobs.node = _NODE
        self._finisher = _Finisher(_results(database.recordings))
        files = Mock(finisher=self._finisher, s3=None)
        self._queue = build_queue(env, database, files, cast("Any", Mock()))
        channels = {JOBS_CHANNEL: self._queue.job_changed}
        self._listener = Listener(env.reactor, dsn, channels, self._queue.database_recovered, database.history)
        self._events = EventQueue(reactor, database.events, cast("Any", Mock()), lambda _number: None)
        self._indexing = SearchIndexing(reactor, database.pool)

    async def start(self) -> None:
        """Start everything except for mails."""
        self._database.pool.startService()
        await self._database.pool.when_ready()
        now = datetime.now(UTC)
        self._profile = await self._database.profiles.create(Profile(id=uuid4(), created_at=now, updated_at=now))
        await self._queue.journal.startService()
        self._queue.worker_service.startService()
        self._queue.worker_service.ensure_started()
        self._listener.startService()
        self._indexing.startService()

    async def place(self, number: int, rate: float) -> None:
        """Place calls, and wait until all are finished."""
        target = self._finisher.finished + number
        began = time.monotonic()
        for each in range(number):
            await deferLater(reactor, max(0.0, began + each / rate - time.monotonic()))
            self._begin()
        while self._finisher.finished < target or self._queue.journal.pending or len(self._events):
            await deferLater(reactor, 0.05)

    def _begin(self) -> None:
        now = datetime.now(UTC)
        recording = Recording(
            id=uuid4(), profile_id=self._profile.id, call_id=uuid4(), state=RecordingState.RECORDING, channels=2,
            from_="+49301234567", to="+498912345678", remote_sip_uri="sip:desk@pbx.example", node=_NODE,
            started_at=now, created_at=now, updated_at=now,
        )  # fmt: skip
        self._queue.journal.append(recording)
        self._changed(recording, EventType.CALL_STARTED, CallState.RINGING)
        self._changed(recording, EventType.CALL_ANSWERED, CallState.TALKING)
        reactor.callLater(_CALL_SECONDS, self._end, recording)

    def _end(self, recording: Recording) -> None:
        now = datetime.now(UTC)
        ended = msgspec.structs.replace(recording, state=RecordingState.PROCESSING, ended_at=now, updated_at=now)
        self._queue.journal.append(ended)
        self._changed(recording, EventType.CALL_ENDED, CallState.TALKING)

    def _changed(self, recording: Recording, happened: EventType, state: CallState) -> None:
        self._events.call_changed(happened, _call(recording, state))


def _call(recording: Recording, state: CallState) -> Call:
    assert recording.call_id is not None
    assert recording.to is not None
    return Call(
        id=recording.call_id,
        profile_id=recording.profile_id,
        state=state,
        age=0.0,
        from_=recording.from_,
        to=recording.to,
        remote_sip_uri=recording.remote_sip_uri,
        started_at=recording.created_at,
        recording_id=recording.id,
        recording_state=recording.state,
        node=_NODE,
    )


def _results(recordings: Any) -> Any:
    """Return what stores the results of finishing in this version."""
    try:
        from voxrec.store.batched_finishing import BatchedResults
    except ImportError:  # 7c52a7a and before
        return recordings
    return BatchedResults(reactor, recordings)


async def _serve(dsn: str, directory: Path, rate: float) -> None:
    calls = _Calls(dsn, directory)
    await calls.start()
    print("ready", flush=True)
    for line in sys.stdin:
        before = time.process_time()
        await calls.place(int(line), rate)
        print(json.dumps(time.process_time() - before), flush=True)


def main() -> None:
    """Apply the migrations of this version, and serve."""
    dsn, rate = sys.argv[1:]
    migrate(dsn)
    with tempfile.TemporaryDirectory(prefix="voxrec-bench-") as directory:
        react(lambda _reactor: Deferred.fromCoroutine(_serve(dsn, Path(directory), float(rate))))


if __name__ == "__main__":
    main()
