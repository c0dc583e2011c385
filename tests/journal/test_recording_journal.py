"""What a call says reaches PostgreSQL, whatever goes down in between."""

import errno
import statistics
from pathlib import Path
from unittest.mock import patch

import msgspec
from twisted.internet.task import deferLater

from tests.database import DatabaseTestCase, cluster, reactor, until
from tests.store.samples import later, recording
from voxrec.errors import ConfigError, NotFound, StoreUnavailable
from voxrec.journal import recording_journal as room
from voxrec.journal.recording_journal import RecordingJournal
from voxrec.model import Job, JobKind, JobState, Recording, RecordingState
from voxrec.store.jobs import JobFilter, Jobs
from voxrec.store.recordings import Recordings


class Journaling(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.recordings = Recordings(self.pool)
        self.directory = Path(self.mktemp())
        self.journal = self.another()
        await self.journal.startService()

    def another(self) -> RecordingJournal:
        return RecordingJournal(reactor, self.directory, self.recordings, self.pool)

    async def tearDown(self) -> None:  # type: ignore[override]
        await self.journal.stopService()
        await super().tearDown()

    def call(self, n: int = 0) -> list[Recording]:
        first = recording(created_at=later(n))
        return [
            first,
            msgspec.structs.replace(first, state=RecordingState.PAUSED, updated_at=later(1)),
            msgspec.structs.replace(first, state=RecordingState.PROCESSING, updated_at=later(2)),
        ]

    async def stored(self, said: Recording) -> Recording | None:
        try:
            return await self.recordings.get(said.id)
        except NotFound:
            return None

    async def applied(self) -> None:
        await until(lambda: self.journal.pending == 0)

    async def test_what_is_said_is_there_at_once(self) -> None:
        taken = []
        for snapshot in self.call():
            begun = reactor.seconds()
            self.journal.append(snapshot)
            self.assertEqual(self.journal.pending, 1)
            while self.journal.pending:
                await deferLater(reactor, 0)
            taken.append(reactor.seconds() - begun)
            self.assertEqual(await self.stored(snapshot), snapshot)
        self.assertLess(statistics.median(taken), 0.5)
        (job,) = await Jobs(self.pool).page(JobFilter(recording_id=snapshot.id))
        self.assertEqual(job.kind, JobKind.FINISH)

    async def test_before_it_is_started(self) -> None:
        await self.journal.stopService()
        self.journal = self.another()
        said = recording()
        self.journal.append(said)
        await self.journal.startService()
        await self.applied()
        self.assertEqual(await self.stored(said), said)

    async def test_many_at_once(self) -> None:
        calls = [self.call(n) for n in range(100)]
        for snapshots in zip(*calls, strict=True):
            for snapshot in snapshots:
                self.journal.append(snapshot)
        self.assertEqual(self.journal.pending, 300)
        await self.applied()
        self.assertEqual(await self.recordings.page(), [said[-1] for said in calls][::-1])

    async def test_whoever_has_room_finishes_at_once_what_has_ended(self) -> None:
        await self.journal.stopService()
        taken: list[tuple[Job, Recording]] = []
        self.journal = RecordingJournal(
            *(reactor, self.directory, self.recordings, self.pool),
            available_slots=lambda: 3 - len(taken),
            on_claimed=lambda job, said: taken.append((job, said)),
        )
        await self.journal.startService()
        calls = [self.call(n) for n in range(5)]
        for snapshots in zip(*calls, strict=True):
            for snapshot in snapshots:
                self.journal.append(snapshot)
        await self.applied()
        self.assertEqual(len(taken), 3)
        for job, said in taken:
            self.assertEqual((job.recording_id, job.state, job.kind), (said.id, JobState.RUNNING, JobKind.FINISH))
            self.assertEqual(said, await self.stored(said))
        waiting = JobFilter(states=[JobState.PENDING])
        self.assertEqual(len(await Jobs(self.pool).page(waiting)), 2)

    async def test_an_answer_that_comes_before_anybody_waits_for_it(self) -> None:
        said = self.call()

        async def taken(*_: Recording, **__: object) -> list[Job]:
            return []

        with patch.object(self.recordings, "record", taken):
            for snapshot in said:
                self.journal.append(snapshot)
                await self.applied()

    async def test_more_than_is_remembered_is_read_from_the_disk(self) -> None:
        with patch.object(room, "_MEMORY_LIMIT", 2):
            calls = [self.call(n) for n in range(30)]
            for step in range(3):
                for call in calls:
                    self.journal.append(call[step])
                    if call is calls[10]:
                        await until(lambda: self.journal.pending < 20)
            await self.applied()
        for call in calls:
            stored = await self.stored(call[0])
            assert stored is not None
            self.assertEqual(stored.state, RecordingState.PROCESSING)

    async def test_the_disk_knows_soon_how_far_it_has_got(self) -> None:
        self.journal.append(self.call()[0])
        await self.applied()
        position = self.directory / "position"
        await until(lambda: position.exists() and position.read_text().split()[1] != "0")
        self.assertEqual(position.read_text().split()[1], str((self.directory / "00000001.jsonl").stat().st_size))

    async def test_postgresql_goes_down_and_comes_back(self) -> None:
        said = self.call()
        self.journal.append(said[0])
        await self.applied()
        cluster().stop()
        self.journal.append(said[1])
        await until(lambda: not self.pool.ready)
        self.journal.append(said[2])
        await deferLater(reactor, 0.2)
        self.assertEqual(self.journal.pending, 2)
        cluster().launch()
        await self.applied()
        self.assertEqual(await self.stored(said[0]), said[2])

    async def test_both_go_down(self) -> None:
        said = self.call()
        cluster().stop()
        for snapshot in said:
            self.journal.append(snapshot)
        await self.journal.stopService()
        self.journal = self.another()
        await self.journal.startService()
        self.assertEqual(self.journal.pending, 3)
        cluster().launch()
        await self.applied()
        self.assertEqual(await self.stored(said[0]), said[2])

    async def test_what_an_earlier_run_left_is_applied_once_more_without_harm(self) -> None:
        said = self.call()
        for snapshot in said:
            self.journal.append(snapshot)
        await self.applied()
        await self.journal.stopService()
        (self.directory / "position").unlink()
        self.journal = self.another()
        await self.journal.startService()
        self.assertEqual(self.journal.pending, 3)
        await self.applied()
        self.assertEqual(await self.stored(said[0]), said[2])

    async def test_nothing_is_left_after_a_quiet_end(self) -> None:
        self.journal.append(recording())
        await self.journal.stopService()
        self.journal = self.another()
        await self.journal.startService()
        self.assertEqual(self.journal.pending, 0)

    async def test_a_line_that_a_crash_cut_off(self) -> None:
        await self.journal.stopService()
        said = recording()
        line = msgspec.json.encode(said)
        (self.directory / "00000098.jsonl").write_bytes(line + b"\n" + line[:50])
        self.journal = self.another()
        await self.journal.startService()
        self.journal.append(last := recording())
        await self.applied()
        self.assertEqual(await self.stored(said), said)
        self.assertEqual(await self.stored(last), last)
        self.assertFalse((self.directory / "journal.rejected").exists())

    async def test_what_can_never_be_applied_is_set_aside(self) -> None:
        for said in (recording(from_name="\0"), recording(from_name="x" * 300), recording()):
            self.journal.append(said)
        self.journal._queue.append(b"no JSON\n")
        await self.applied()
        self.assertEqual(await self.recordings.page(), [said])
        aside = (self.directory / "journal.rejected").read_bytes()
        self.assertEqual(aside.count(b"\n"), 3)

    async def test_what_is_not_the_lines_fault_is_waited_for(self) -> None:
        await self.pool.execute("ALTER TABLE recordings RENAME TO elsewhere")
        self.journal.append(said := recording())
        await deferLater(reactor, 0.1)
        self.assertEqual(self.journal.pending, 1)
        await self.pool.execute("ALTER TABLE elsewhere RENAME TO recordings")
        await self.applied()
        self.assertEqual(await self.stored(said), said)

    async def test_a_full_disk(self) -> None:
        with patch("os.fdatasync", side_effect=OSError(errno.ENOSPC, "No space left on device")):
            self.journal.append(first := recording())
            await deferLater(reactor, 0.05)
        self.journal.append(second := recording())
        await until(lambda: not self.journal._writer.running)
        await self.applied()
        self.assertEqual(await self.stored(first), first)
        self.assertEqual(await self.stored(second), second)

    async def test_only_one_at_a_time(self) -> None:
        with self.assertRaises(ConfigError):
            await self.another().startService()

    async def test_a_pool_that_is_gone_before_the_journal(self) -> None:
        await self.pool.stopService()
        self.journal.append(recording())
        await deferLater(reactor, 0.3)
        await self.journal.stopService()
        with self.assertRaises(StoreUnavailable):
            await self.pool.query("SELECT 1")
        self.assertEqual(self.journal.pending, 1)
