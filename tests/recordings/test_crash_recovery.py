"""Tests of the ``finish`` and ``mail`` jobs with a daemon that is killed at each step.

The result must be the same as without a crash, and each recipient must get one mail.
"""

import hashlib
from pathlib import Path
from uuid import UUID

import msgspec
import soundfile
from twisted.internet.task import deferLater

from tests.audio.fixtures import tone
from tests.crashing_process import run_until_crash
from tests.database import DatabaseTestCase, reactor
from tests.mail.smtp_servers import Mailbox, RelayTestCase
from tests.recordings.crashing_daemon import CRASH_POINTS, Environment
from tests.store.samples import NOON, later, profile, recording
from voxrec.model import JobState, Recording, RecordingState, Side, leg_name
from voxrec.store.jobs import JobFilter, Jobs
from voxrec.store.profiles import Profiles
from voxrec.store.recordings import Recordings

ANN = "ann@example.org"
NOT_DONE = JobFilter(states=[JobState.PENDING, JobState.RUNNING])


class CrashRecoveryTests(DatabaseTestCase, RelayTestCase):
    timeout = 180

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.mailbox = Mailbox()
        self.relay_port = await self.start_relay(self.mailbox)
        self.recordings = Recordings(self.pool)
        self.profile = await Profiles(self.pool).create(profile(email=ANN))

    def make_environment(self) -> Environment:
        environment = Environment(self.dsn, str(Path(self.mktemp()).absolute()), self.relay_port)
        for directory in (environment.spool, environment.root):
            directory.mkdir(parents=True)
        return environment

    async def create_ended_call(self, environment: Environment) -> UUID:
        """Write the legs of an ended call, and store its row with its job."""
        ended = recording(
            profile_id=self.profile.id,
            state=RecordingState.PROCESSING,
            channels=2,
            started_at=NOON,
            ended_at=later(1),
        )
        for side, frequency in ((Side.CALLER, 440), (Side.CALLEE, 880)):
            soundfile.write(
                environment.spool / f"{leg_name(ended.id, side)}.wav", tone(frequency, 1), 8000, subtype="PCM_16"
            )
        await self.recordings.record(ended)
        return ended.id

    async def run_all_jobs(self, environment: Environment) -> None:
        """Run another daemon until no job is left."""
        worker = environment.worker(self.pool)
        listener = environment.listener(worker)
        listener.startService()
        worker.startService()
        try:
            while await Jobs(self.pool).page(NOT_DONE):
                await deferLater(reactor, 0.02)
        finally:
            await listener.stopService()
            await worker.stopService()

    async def outcome(self, environment: Environment, recording_id: UUID) -> tuple[object, ...]:
        """Return all state that a repeated job could change."""
        row = await self.recordings.get(recording_id)
        jobs = await self.pool.query(
            "SELECT kind, dead, done_at IS NOT NULL FROM jobs WHERE recording_id = %s ORDER BY kind", (recording_id,)
        )
        deliveries = await self.pool.query(
            "SELECT recipient, state, attempts FROM deliveries WHERE recording_id = %s", (recording_id,)
        )
        recipients = [to for to, message in self.mailbox.messages if str(recording_id).encode() in message]
        return (self.result(row), self.files(environment, recording_id), jobs, deliveries, recipients)

    def files(self, environment: Environment, recording_id: UUID) -> dict[str, str]:
        return {
            str(path.relative_to(environment.base)).replace(str(recording_id), "ID"): hashlib.sha256(
                path.read_bytes()
            ).hexdigest()
            for path in Path(environment.base).rglob("*")
            if path.is_file()
        }

    def result(self, row: Recording) -> tuple[object, ...]:
        path = (row.path or "").replace(str(row.id), "ID")
        return (row.state, path, row.duration, row.size, row.sha256, row.verdict)

    async def test_crash_at_each_step(self) -> None:
        environment = self.make_environment()
        recording_id = await self.create_ended_call(environment)
        await self.run_all_jobs(environment)
        expected = await self.outcome(environment, recording_id)
        self.assertEqual(expected[-1], [ANN])
        self.assertEqual(list(expected[1]), ["archive/2026/05/04/ID.wav"])  # type: ignore[call-overload]
        for step in CRASH_POINTS:
            environment = self.make_environment()
            recording_id = await self.create_ended_call(environment)
            await run_until_crash("tests.recordings.crashing_daemon", step, msgspec.json.encode(environment).decode())
            await self.run_all_jobs(environment)
            self.assertEqual(await self.outcome(environment, recording_id), expected, step)
        (rows,) = await self.pool.query("SELECT count(*) FROM recordings")
        self.assertEqual(rows, (1 + len(CRASH_POINTS),))
