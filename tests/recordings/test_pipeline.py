"""From the end of a call to its mail, with real parts: whoever dies on the way, it comes to the same, and once."""

import hashlib
import os
import signal
import sys
from pathlib import Path
from uuid import UUID

import msgspec
import soundfile
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from tests.audio.fixtures import tone
from tests.database import DatabaseTestCase, reactor
from tests.mail.relay import Mailbox, RelayTestCase
from tests.mortal import STEPS, Place
from tests.store.samples import NOON, later, profile, recording
from voxrec.model import JobState, Recording, RecordingState, Side, leg_name
from voxrec.store.jobs import JobFilter, Jobs
from voxrec.store.profiles import Profiles
from voxrec.store.recordings import Recordings

ANN = "ann@example.org"
OWED = JobFilter(states=[JobState.PENDING, JobState.RUNNING])


class Ending(ProcessProtocol):
    """A process whose end is waited for; what it says is kept."""

    def __init__(self) -> None:
        self.ended: Deferred[int | None] = Deferred()
        self.said = b""

    def outReceived(self, data: bytes) -> None:
        self.said += data

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        self.ended.callback(reason.value.signal if isinstance(reason.value, ProcessTerminated) else None)


class KilledTests(DatabaseTestCase, RelayTestCase):
    timeout = 180

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.mailbox = Mailbox()
        self.relay_port = await self.start_relay(self.mailbox)
        self.recordings = Recordings(self.pool)
        self.desk = await Profiles(self.pool).create(profile(email=ANN))

    def place(self) -> Place:
        made = Place(self.dsn, str(Path(self.mktemp()).absolute()), self.relay_port)
        for directory in (made.spool, made.root):
            directory.mkdir(parents=True)
        return made

    async def ended_call(self, place: Place) -> UUID:
        """A call that is over: its legs, its row, and what is owed to it."""
        made = recording(
            profile_id=self.desk.id,
            state=RecordingState.PROCESSING,
            channels=2,
            started_at=NOON,
            ended_at=later(1),
        )
        for side, pitch in ((Side.CALLER, 440), (Side.CALLEE, 880)):
            soundfile.write(place.spool / f"{leg_name(made.id, side)}.wav", tone(pitch, 1), 8000, subtype="PCM_16")
        await self.recordings.record(made)
        return made.id

    async def killed(self, step: str, place: Place) -> None:
        """Let a daemon begin, and die at the step."""
        process = Ending()
        command = [sys.executable, "-m", "tests.mortal", step, msgspec.json.encode(place).decode()]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        reactor.spawnProcess(process, sys.executable, command, environment)  # type: ignore[attr-defined]
        status = await process.ended.addTimeout(30, reactor)
        self.assertEqual(status, signal.SIGKILL, process.said.decode())

    async def finish(self, place: Place) -> None:
        """Let another daemon do the rest."""
        worker = place.worker(self.pool)
        listener = place.listener(worker)
        listener.startService()
        worker.startService()
        try:
            while await Jobs(self.pool).page(OWED):
                await deferLater(reactor, 0.02)
        finally:
            await listener.stopService()
            await worker.stopService()

    async def outcome(self, place: Place, recording_id: UUID) -> tuple[object, ...]:
        """All that a repetition could have spoilt."""
        row = await self.recordings.get(recording_id)
        jobs = await self.pool.query(
            "SELECT kind, dead, done_at IS NOT NULL FROM jobs WHERE recording_id = %s ORDER BY kind", (recording_id,)
        )
        deliveries = await self.pool.query(
            "SELECT recipient, state, attempts FROM deliveries WHERE recording_id = %s", (recording_id,)
        )
        letters = [to for to, letter in self.mailbox.letters if str(recording_id).encode() in letter]
        return (self.told(row), self.files(place, recording_id), jobs, deliveries, letters)

    def files(self, place: Place, recording_id: UUID) -> dict[str, str]:
        return {
            str(path.relative_to(place.base)).replace(str(recording_id), "ID"): hashlib.sha256(
                path.read_bytes()
            ).hexdigest()
            for path in Path(place.base).rglob("*")
            if path.is_file()
        }

    def told(self, row: Recording) -> tuple[object, ...]:
        path = (row.path or "").replace(str(row.id), "ID")
        return (row.state, path, row.duration, row.size, row.sha256, row.verdict)

    async def test_at_any_step(self) -> None:
        calm = self.place()
        undisturbed = await self.ended_call(calm)
        await self.finish(calm)
        wanted = await self.outcome(calm, undisturbed)
        self.assertEqual(wanted[-1], [ANN])
        self.assertEqual(list(wanted[1]), ["archive/2026/05/04/ID.wav"])  # type: ignore[call-overload]
        for step in STEPS:
            place = self.place()
            recording_id = await self.ended_call(place)
            await self.killed(step, place)
            await self.finish(place)
            self.assertEqual(await self.outcome(place, recording_id), wanted, step)
        (rows,) = await self.pool.query("SELECT count(*) FROM recordings")
        self.assertEqual(rows, (1 + len(STEPS),))
