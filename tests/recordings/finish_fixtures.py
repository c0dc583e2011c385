"""Fixtures for tests of finishing: a Finisher with files in a temporary directory and a repository in a file."""

import hashlib
import io
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ParamSpec, TypeVar
from uuid import UUID

import msgspec
import numpy as np
import soundfile
from numpy.typing import NDArray
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.audio.fixtures import silence
from voxrec.archive.local import LocalArchive
from voxrec.errors import NotFound
from voxrec.model import (
    Job,
    JobKind,
    JobState,
    Recording,
    RecordingState,
    Side,
    leg_name,
)
from voxrec.recordings.finish import Finisher

P = ParamSpec("P")
R = TypeVar("R")

ID = UUID("7f1f4f0e-1c39-4a64-8f27-4dbd6f8d8a11")
STARTED_AT = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
NOW = datetime(2026, 5, 6, 7, 10, tzinfo=UTC)
PATH = f"2026/05/06/{ID}.wav"
ENDED_CALL = Recording(
    id=ID,
    profile_id=UUID(int=1),
    state=RecordingState.PROCESSING,
    channels=2,
    started_at=STARTED_AT,
    ended_at=STARTED_AT + timedelta(seconds=3.2),
    created_at=STARTED_AT,
    updated_at=STARTED_AT,
)
JOB = Job(
    id=UUID(int=1),
    kind=JobKind.FINISH,
    recording_id=ID,
    state=JobState.RUNNING,
    attempts=1,
    due_at=STARTED_AT,
    created_at=STARTED_AT,
)


class PersistentRecordings:
    """A repository of one Recording in a file: like PostgreSQL it outlives the process that wrote it."""

    def __init__(self, directory: Path) -> None:
        self._row = directory / "recording.json"
        self._follow_up_jobs = directory / "jobs"

    @property
    def follow_up_jobs(self) -> list[str]:
        return self._follow_up_jobs.read_text().split() if self._follow_up_jobs.exists() else []

    @property
    def row(self) -> Recording:
        return msgspec.json.decode(self._row.read_bytes(), type=Recording)

    def write(self, recording: Recording) -> None:
        self._row.write_bytes(msgspec.json.encode(recording))

    async def get(self, recording_id: UUID, /) -> Recording:
        if not self._row.exists() or self.row.id != recording_id:
            raise NotFound(f"no recording {recording_id}")
        return self.row

    def delete(self) -> None:
        self._row.unlink()

    async def complete(self, recording: Recording, follow_up: Sequence[JobKind], /) -> None:
        await self.get(recording.id)
        self.write(recording)
        with self._follow_up_jobs.open("a") as file:
            file.writelines(f"{kind}\n" for kind in follow_up)


Leg = NDArray[np.int16] | bytes | None


def wav_header() -> bytes:
    """Return a WAV file without samples, as Asterisk creates it."""
    file = io.BytesIO()
    soundfile.write(file, silence(0), 8000, format="WAV", subtype="PCM_16")
    return file.getvalue()


def call_directly(f: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Deferred[R]:
    """Replaces ``deferToThread`` and uses no thread."""
    return maybeDeferred(f, *args, **kwargs)


class FinishFixture:
    """A Finisher with a spool, an archive, a work directory and a repository below ``base``."""

    def __init__(self, base: Path) -> None:
        self.spool, self.root, self.work = (base / name for name in ("spool", "archive", "work"))
        for directory in (self.spool, self.root, self.work):
            directory.mkdir(parents=True)
        self.archive = LocalArchive(self.root)
        self.recordings = PersistentRecordings(base)
        self.recordings.write(ENDED_CALL)
        self.clock = Clock()
        self.clock.advance(NOW.timestamp())
        self.finisher = Finisher(self.clock, self.recordings, self.archive, self.spool, self.work, call_directly)

    def leg(self, side: Side) -> Path:
        return self.spool / f"{leg_name(ID, side)}.wav"

    def write_legs(self, caller: Leg = None, callee: Leg = None) -> None:
        """Write the leg files: samples as WAV files, bytes unchanged."""
        for side, content in ((Side.CALLER, caller), (Side.CALLEE, callee)):
            if isinstance(content, bytes):
                self.leg(side).write_bytes(content)
            elif content is not None:
                soundfile.write(self.leg(side), content, 8000, subtype="PCM_16")

    def update_recording(self, **fields: object) -> None:
        self.recordings.write(msgspec.structs.replace(self.recordings.row, **fields))

    def snapshot(self) -> tuple[object, ...]:
        """Return all state that a repeated job could change."""
        archived = {
            str(path.relative_to(self.root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.root.rglob("*")
            if path.is_file()
        }
        return (
            self.recordings.row,
            self.recordings.follow_up_jobs,
            archived,
            sorted(path.name for path in self.spool.iterdir()),
            sorted(path.name for path in self.work.iterdir()),
        )


class FinishTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.base = Path(temporary.name)
        self.fixture = FinishFixture(self.base / "fixture")

    def run_job(self, fixture: FinishFixture | None = None) -> Recording:
        fixture = fixture or self.fixture
        self.successResultOf(Deferred.fromCoroutine(fixture.finisher(JOB)))
        return fixture.recordings.row

    def run_failing_job(self, *errors: type[Exception]) -> Exception:
        failure = self.failureResultOf(Deferred.fromCoroutine(self.fixture.finisher(JOB)), *errors)
        assert isinstance(failure.value, Exception)
        return failure.value

    def verdict_reasons(self) -> tuple[str, ...]:
        verdict = self.fixture.recordings.row.verdict
        assert verdict is not None
        self.assertEqual(verdict.ok, not verdict.reasons)
        return verdict.reasons
