"""Runs the statements of calls with the voxrec that it imports, which may be an earlier version: see `bench.storage`.

The arguments are a connection string and the name of a node. For each line of standard input, a number of calls, it
prints a JSON object: seconds, and seconds of CPU of this process and of the server's.
"""

import importlib
import json
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import msgspec
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import react

_LEASE: Final = timedelta(minutes=10)


def _import(*names: str) -> Any:
    """Import ``module:attribute``: the first of the names that this version has."""
    for name in names:
        module, _, attribute = name.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError):
            continue
    raise ImportError(f"this version has none of {', '.join(names)}")


class _Calls:
    """The statements of one call: its beginning, its end with the claim of the finish job, the result, and the mail."""

    def __init__(self, pool: Any, node: str) -> None:
        self._recordings = _import("voxrec.store.recordings:Recordings")(pool)
        self._jobs = _import("voxrec.store.jobs:Jobs")(pool)
        self._jobs.node = node
        model = importlib.import_module("voxrec.model")
        self._recording, self._state, self._kind = model.Recording, model.RecordingState, model.JobKind
        self._node = {"node": node} if "node" in self._recording.__struct_fields__ else {}
        # names of a2465ec
        former = hasattr(self._recordings, "settle")
        self._claim_limit = "room" if former else "claim_limit"
        self._complete = self._recordings.settle if former else self._recordings.complete
        self._done = getattr(self._jobs, "mark_done", None) or self._jobs.done

    async def run(self) -> None:
        now = datetime.now(UTC)
        begun = self._recording(
            id=uuid4(), profile_id=uuid4(), state=self._state.RECORDING, created_at=now, updated_at=now, **self._node
        )
        await self._recordings.record(begun, **{self._claim_limit: 1}, lease=_LEASE)
        ended = msgspec.structs.replace(
            begun, state=self._state.PROCESSING, started_at=now, ended_at=now, updated_at=now + timedelta(seconds=9)
        )
        (job,) = await self._recordings.record(ended, **{self._claim_limit: 1}, lease=_LEASE)
        result = {"state": self._state.COMPLETED, "duration": 9.0, "size": 1, "path": str(begun.id)}
        await self._complete(msgspec.structs.replace(ended, **result), [self._kind.MAIL])
        await self._done(job)
        claimed = await self._jobs.claim([self._kind.MAIL], _LEASE)
        for mail in claimed.jobs:
            await self._done(mail)


async def _serve(pool: Any, node: str) -> None:
    await pool.when_ready()
    ((backend,),) = await pool.query("SELECT pg_backend_pid()")
    calls = _Calls(pool, node)
    print("ready", flush=True)
    for line in sys.stdin:
        number = int(line)
        began, own, server = time.perf_counter(), time.process_time(), _cpu(backend)
        for _ in range(number):
            await calls.run()
        figures = (time.perf_counter() - began, time.process_time() - own, _cpu(backend) - server)
        print(json.dumps([each / number for each in figures]), flush=True)


def _cpu(pid: int) -> float:
    """Return the seconds of CPU of a process, in nanoseconds' resolution (/proc/PID/schedstat)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def main() -> None:
    """Apply the migrations of this version, and serve."""
    dsn, node = sys.argv[1:]
    _import("voxrec.postgres.migrate:migrate", "voxrec.store.migrate:migrate")(dsn)
    pool = _import("voxrec.postgres.pool:Pool", "voxrec.store.pool:Pool")(reactor, dsn, size=2)
    start = pool.startService if hasattr(pool, "startService") else pool.start
    start()
    react(lambda _reactor: Deferred.fromCoroutine(_serve(pool, node)))


if __name__ == "__main__":
    main()
