"""Tests of voxrec.journal.recording_journal: snapshot reach PostgreSQL, whatever fails in between."""

import errno
import statistics
from datetime import timedelta
from functools import partial
from pathlib import Path
from unittest.mock import patch

import msgspec
from twisted.internet.task import Clock, deferLater
from twisted.logger import LogLevel, capturedLogs, formatEvent

from tests.database import DatabaseTestCase, cluster, reactor, until
from tests.store.samples import later, recording
from voxrec.deferreds import MinimumInterval
from voxrec.errors import ConfigError, NotFound, StoreUnavailable
from voxrec.journal import recording_journal as module
from voxrec.journal.recording_journal import RecordingJournal
from voxrec.model import TAKEN_OVER, Job, JobKind, JobState, Recording, RecordingState, TimelineEntry
from voxrec.store.jobs import JobFilter, Jobs
from voxrec.store.recordings import Recordings


class JournalTestCase(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.recordings = Recordings(self.pool)
        self.directory = Path(self.mktemp())
        self.journal = self.make_journal()
        await self.journal.startService()

    def make_journal(self) -> RecordingJournal:
        return RecordingJournal(reactor, self.directory, self.recordings, self.pool)

    async def tearDown(self) -> None:  # type: ignore[override]
        await self.journal.stopService()
        await super().tearDown()

    def snapshots_of_call(self, n: int = 0) -> list[Recording]:
        first = recording(created_at=later(n))
        return [
            first,
            msgspec.structs.replace(first, state=RecordingState.PAUSED, updated_at=later(1)),
            msgspec.structs.replace(first, state=RecordingState.PROCESSING, updated_at=later(2)),
        ]

    async def get_stored(self, snapshot: Recording) -> Recording | None:
        try:
            return await self.recordings.get(snapshot.id)
        except NotFound:
            return None

    async def wait_until_applied(self) -> None:
        await until(lambda: self.journal.pending == 0)


class LatestSnapshotTests(JournalTestCase):
    """The snapshots with which calls are taken over while PostgreSQL is not available."""

    async def test_the_last_snapshot_that_an_earlier_run_left(self) -> None:
        await self.pool.stopService()
        first, second = self.snapshots_of_call()[:2], self.snapshots_of_call()[:1]
        for snapshot in (*first, *second, *self.snapshots_of_call()):
            self.journal.append(snapshot)
        await self.journal.stopService()
        self.journal = self.make_journal()
        await self.journal.startService()
        found = await self.journal.latest([first[0].id, second[0].id, recording().id])
        self.assertEqual(found, {first[0].id: first[-1], second[0].id: second[-1]})

    async def test_snapshots_that_are_applied_and_lines_that_are_damaged(self) -> None:
        first, second, _ = self.snapshots_of_call()
        self.journal.append(first)
        await self.wait_until_applied()
        await self.journal.stopService()
        segment = self.directory / "00000099.jsonl"
        line = msgspec.json.encode(second)
        segment.write_bytes(b'{"id": "1"}\nnot JSON\n' + line + b"\n" + line[:50])
        self.journal = self.make_journal()
        await self.journal.startService()
        self.assertEqual(await self.journal.latest([first.id]), {first.id: second})

    async def test_before_it_is_open(self) -> None:
        await self.journal.stopService()
        self.assertEqual(await self.make_journal().latest([recording().id]), {})


class TakeoverTests(JournalTestCase):
    """A process has taken over a call while it could not read the Recording, which PostgreSQL has."""

    async def test_the_earlier_timeline_remains(self) -> None:
        first = recording(started_at=later(0), timeline=timeline((0.0, "answered"), (1.5, "beep")))
        self.journal.append(first)
        await self.wait_until_applied()
        taken_over = timeline((7.75, TAKEN_OVER), (9.75, "beep"))  # of files that began 0.25 s after the answer
        began = later(0) + timedelta(seconds=0.25)
        expected = [(0.0, "answered"), (1.5, "beep"), (8.0, TAKEN_OVER), (10.0, "beep"), (12.0, "hangup")]
        for number, entries in enumerate((taken_over, (*taken_over, *timeline((11.75, "hangup")))), start=1):
            ended = number == 2
            snapshot = msgspec.structs.replace(
                first,
                started_at=began,
                timeline=entries,
                updated_at=later(10 * number),
                state=RecordingState.PROCESSING if ended else RecordingState.RECORDING,
                ended_at=later(20) if ended else None,
            )
            self.journal.append(snapshot)
            await self.wait_until_applied()
            stored = await self.recordings.get(first.id)
            self.assertEqual([(entry.at, entry.event) for entry in stored.timeline], expected[: 3 + number])
            self.assertEqual(stored.started_at, first.started_at)

    async def test_the_finish_job_gets_the_whole_timeline(self) -> None:
        await self.journal.stopService()
        claimed: list[Recording] = []
        self.journal = RecordingJournal(
            reactor,
            self.directory,
            self.recordings,
            self.pool,
            available_slots=lambda: 1,
            on_claimed=lambda _job, snapshot: claimed.append(snapshot),
        )
        await self.journal.startService()
        first = recording(started_at=later(0), timeline=timeline((0.0, "answered")))
        fields = {"timeline": timeline((5.0, TAKEN_OVER)), "updated_at": later(9), "ended_at": later(9)}
        last = msgspec.structs.replace(first, state=RecordingState.PROCESSING, **fields)
        for snapshot in (first, last):
            self.journal.append(snapshot)
            await self.wait_until_applied()
        self.assertEqual([entry.event for entry in claimed[0].timeline], ["answered", TAKEN_OVER])

    async def test_a_recording_that_begins_with_the_take_over(self) -> None:
        snapshot = recording(started_at=later(0), timeline=timeline((5.0, TAKEN_OVER)))
        for _ in range(2):
            self.journal.append(snapshot)
            await self.wait_until_applied()
        self.assertEqual(await self.get_stored(snapshot), snapshot)


def timeline(*entries: tuple[float, str]) -> tuple[TimelineEntry, ...]:
    return tuple(TimelineEntry(at=at, event=event) for at, event in entries)


class RecordingJournalTests(JournalTestCase):
    async def test_a_line_of_an_earlier_version_gets_the_node(self) -> None:
        await self.journal.stopService()
        self.journal = RecordingJournal(reactor, self.directory, self.recordings, self.pool, node="berlin")
        await self.journal.startService()
        *_, last = self.snapshots_of_call()
        self.journal.append(last)
        await self.wait_until_applied()
        self.assertEqual((await self.recordings.get(last.id)).node, "berlin")

    async def test_snapshots_are_applied_at_once(self) -> None:
        durations = []
        for snapshot in self.snapshots_of_call():
            started = reactor.seconds()
            self.journal.append(snapshot)
            self.assertEqual(self.journal.pending, 1)
            while self.journal.pending:
                await deferLater(reactor, 0)
            durations.append(reactor.seconds() - started)
            self.assertEqual(await self.get_stored(snapshot), snapshot)
        self.assertLess(statistics.median(durations), 0.5)
        (job,) = await Jobs(self.pool).page(JobFilter(recording_id=snapshot.id))
        self.assertEqual(job.kind, JobKind.FINISH)

    async def test_snapshots_of_several_calls_are_one_statement(self) -> None:
        clock = Clock()
        clock.advance(1000)
        await self.journal.stopService()
        with patch.object(module, "MinimumInterval", lambda _reactor, interval: MinimumInterval(clock, interval)):
            self.journal = self.make_journal()
        await self.journal.startService()
        self.journal.append(recording())
        await self.wait_until_applied()
        for lines in range(2, 22):
            self.journal.append(recording())
            await until(partial(self.has_on_disk, lines))
        self.assertGreaterEqual(self.journal.pending, 19)  # the interval may begin with the first of them
        while self.journal.pending:
            clock.advance(0.1)
            await deferLater(reactor, 0.01)
        ((transactions, rows),) = await self.pool.query("SELECT count(DISTINCT xmin::text), count(*) FROM recordings")
        self.assertEqual(rows, 21)
        self.assertLessEqual(transactions, 4)  # the last snapshot may be on the disk after the statement has been sent

    def has_on_disk(self, lines: int) -> bool:
        return sum(path.read_bytes().count(b"\n") for path in self.directory.glob("*.jsonl")) == lines

    async def test_append_before_the_start(self) -> None:
        await self.journal.stopService()
        self.journal = self.make_journal()
        snapshot = recording()
        self.journal.append(snapshot)
        await self.journal.startService()
        await self.wait_until_applied()
        self.assertEqual(await self.get_stored(snapshot), snapshot)

    async def test_many_snapshots(self) -> None:
        calls = [self.snapshots_of_call(n) for n in range(100)]
        for snapshots in zip(*calls, strict=True):
            for snapshot in snapshots:
                self.journal.append(snapshot)
        self.assertEqual(self.journal.pending, 300)
        await self.wait_until_applied()
        self.assertEqual(await self.recordings.page(), [snapshots[-1] for snapshots in calls][::-1])

    async def test_finish_jobs_are_claimed_for_available_slots(self) -> None:
        await self.journal.stopService()
        claimed: list[tuple[Job, Recording]] = []
        self.journal = RecordingJournal(
            *(reactor, self.directory, self.recordings, self.pool),
            available_slots=lambda: 3 - len(claimed),
            on_claimed=lambda job, snapshot: claimed.append((job, snapshot)),
        )
        await self.journal.startService()
        calls = [self.snapshots_of_call(n) for n in range(5)]
        for snapshots in zip(*calls, strict=True):
            for snapshot in snapshots:
                self.journal.append(snapshot)
        await self.wait_until_applied()
        self.assertEqual(len(claimed), 3)
        for job, snapshot in claimed:
            self.assertEqual((job.recording_id, job.state, job.kind), (snapshot.id, JobState.RUNNING, JobKind.FINISH))
            self.assertEqual(snapshot, await self.get_stored(snapshot))
        pending = JobFilter(states=[JobState.PENDING])
        self.assertEqual(len(await Jobs(self.pool).page(pending)), 2)

    async def test_store_that_returns_at_once(self) -> None:
        snapshots = self.snapshots_of_call()

        async def return_at_once(*_: Recording, **__: object) -> list[Job]:
            return []

        with patch.object(self.recordings, "record", return_at_once):
            for snapshot in snapshots:
                self.journal.append(snapshot)
                await self.wait_until_applied()

    async def test_more_lines_than_are_kept_in_memory(self) -> None:
        with patch.object(module, "_MEMORY_LIMIT", 2):
            calls = [self.snapshots_of_call(n) for n in range(30)]
            for step in range(3):
                for call in calls:
                    self.journal.append(call[step])
                    if call is calls[10]:
                        await until(lambda: self.journal.pending < 20)
            await self.wait_until_applied()
        for call in calls:
            stored = await self.get_stored(call[0])
            assert stored is not None
            self.assertEqual(stored.state, RecordingState.PROCESSING)

    async def test_position_is_saved_soon(self) -> None:
        self.journal.append(self.snapshots_of_call()[0])
        await self.wait_until_applied()
        position = self.directory / "position"
        await until(lambda: position.exists() and position.read_text().split()[1] != "0")
        self.assertEqual(position.read_text().split()[1], str((self.directory / "00000001.jsonl").stat().st_size))

    async def test_outage_of_postgresql(self) -> None:
        snapshots = self.snapshots_of_call()
        self.journal.append(snapshots[0])
        await self.wait_until_applied()
        cluster().stop()
        self.journal.append(snapshots[1])
        await until(lambda: not self.pool.ready)
        self.journal.append(snapshots[2])
        await deferLater(reactor, 0.2)
        self.assertEqual(self.journal.pending, 2)
        cluster().launch()
        await self.wait_until_applied()
        self.assertEqual(await self.get_stored(snapshots[0]), snapshots[2])

    async def test_restart_during_an_outage_of_postgresql(self) -> None:
        snapshots = self.snapshots_of_call()
        cluster().stop()
        for snapshot in snapshots:
            self.journal.append(snapshot)
        await self.journal.stopService()
        self.journal = self.make_journal()
        await self.journal.startService()
        self.assertEqual(self.journal.pending, 3)
        cluster().launch()
        await self.wait_until_applied()
        self.assertEqual(await self.get_stored(snapshots[0]), snapshots[2])

    async def test_applying_twice_has_no_effect(self) -> None:
        snapshots = self.snapshots_of_call()
        for snapshot in snapshots:
            self.journal.append(snapshot)
        await self.wait_until_applied()
        segments = {path: path.read_bytes() for path in self.directory.glob("*.jsonl")}
        await self.journal.stopService()
        # as after a crash
        (self.directory / "position").unlink()
        for path, content in segments.items():
            path.write_bytes(content)
        self.journal = self.make_journal()
        await self.journal.startService()
        self.assertEqual(self.journal.pending, 3)
        await self.wait_until_applied()
        self.assertEqual(await self.get_stored(snapshots[0]), snapshots[2])

    async def test_nothing_is_pending_after_an_orderly_stop(self) -> None:
        self.journal.append(recording())
        await self.journal.stopService()
        self.journal = self.make_journal()
        await self.journal.startService()
        self.assertEqual(self.journal.pending, 0)

    async def test_line_cut_off_by_a_crash(self) -> None:
        await self.journal.stopService()
        snapshot = recording()
        line = msgspec.json.encode(snapshot)
        (self.directory / "00000098.jsonl").write_bytes(line + b"\n" + line[:50])
        self.journal = self.make_journal()
        await self.journal.startService()
        self.journal.append(last := recording())
        await self.wait_until_applied()
        self.assertEqual(await self.get_stored(snapshot), snapshot)
        self.assertEqual(await self.get_stored(last), last)
        self.assertFalse((self.directory / "rejected").exists())

    async def test_lines_that_cannot_be_applied_are_rejected(self) -> None:
        refused, too_long, snapshot = recording(from_name="\0"), recording(from_name="x" * 300), recording()
        with capturedLogs() as logs:
            for each in (refused, too_long, snapshot):
                self.journal.append(each)
            self.journal._queue.append(b"no JSON\n")
            await self.wait_until_applied()
        self.assertEqual(await self.recordings.page(), [snapshot])
        rejected = sorted((self.directory / "rejected").iterdir())
        self.assertEqual(len(rejected), 3)
        self.assertEqual(self.journal.rejected_lines.recording_ids(), {refused.id, too_long.id})
        self.assertEqual({path.stat().st_mode & 0o777 for path in rejected}, {0o600})
        messages = [formatEvent(event) for event in logs if event["log_level"] is LogLevel.error]
        self.assertEqual(len(messages), 3)
        self.assertNotIn("xxx", "".join(messages))

    async def test_applied_snapshots_are_deleted_from_the_disk(self) -> None:
        self.patch(module, "_ROTATION_DELAY", 0.3)
        self.journal.append(recording(from_="+49305551234"))
        await self.wait_until_applied()
        self.assertIn(b"+49305551234", self.contents())
        await until(lambda: b"+49305551234" not in self.contents())
        self.journal.append(snapshot := recording(from_="+49305551235"))
        await self.wait_until_applied()
        self.assertEqual(await self.get_stored(snapshot), snapshot)
        await self.journal.stopService()
        self.assertNotIn(b"+49305551235", self.contents())

    async def test_rotation_keeps_what_is_not_applied(self) -> None:
        self.patch(module, "_ROTATION_DELAY", 0.05)
        await self.pool.execute("ALTER TABLE recordings RENAME TO elsewhere")
        snapshots = []
        for number in range(3):
            self.journal.append(snapshot := recording())
            snapshots.append(snapshot)
            await until(lambda number=number: len([*self.directory.glob("*.jsonl")]) > number)  # type: ignore[misc]
        self.assertGreater(len([*self.directory.glob("*.jsonl")]), 2)
        await self.pool.execute("ALTER TABLE elsewhere RENAME TO recordings")
        await self.wait_until_applied()
        for snapshot in snapshots:
            self.assertEqual(await self.get_stored(snapshot), snapshot)

    def contents(self) -> bytes:
        return b"".join(path.read_bytes() for path in sorted(self.directory.rglob("*")) if path.is_file())

    async def test_schema_error_is_retried(self) -> None:
        await self.pool.execute("ALTER TABLE recordings RENAME TO elsewhere")
        self.journal.append(snapshot := recording())
        await deferLater(reactor, 0.1)
        self.assertEqual(self.journal.pending, 1)
        await self.pool.execute("ALTER TABLE elsewhere RENAME TO recordings")
        await self.wait_until_applied()
        self.assertEqual(await self.get_stored(snapshot), snapshot)

    async def test_full_disk(self) -> None:
        with patch("os.fdatasync", side_effect=OSError(errno.ENOSPC, "No space left on device")) as fdatasync:
            self.journal.append(first := recording())
            await until(lambda: fdatasync.called)
        self.journal.append(second := recording())
        await until(lambda: not self.journal._writer.running)
        await self.wait_until_applied()
        self.assertEqual(await self.get_stored(first), first)
        self.assertEqual(await self.get_stored(second), second)

    async def test_directory_is_used_by_one_journal(self) -> None:
        with self.assertRaises(ConfigError):
            await self.make_journal().startService()

    async def test_pool_stopped_before_the_journal(self) -> None:
        await self.pool.stopService()
        self.journal.append(recording())
        await deferLater(reactor, 0.3)
        await self.journal.stopService()
        with self.assertRaises(StoreUnavailable):
            await self.pool.query("SELECT 1")
        self.assertEqual(self.journal.pending, 1)


class ReplayTests(JournalTestCase):
    """A standby was promoted that lacks the last commits; here, rows that disappear stand for it."""

    def make_journal(self) -> RecordingJournal:
        return RecordingJournal(reactor, self.directory, self.recordings, self.pool, retention=300.0)

    async def lose(self, *statements: str) -> None:
        for statement in statements:
            await self.pool.execute(statement)

    async def test_a_lost_recording_is_stored_again(self) -> None:
        *_, last = snapshots = self.snapshots_of_call()
        for snapshot in snapshots:
            self.journal.append(snapshot)
        await self.wait_until_applied()
        await self.lose("DELETE FROM jobs", "DELETE FROM recordings")
        await self.journal.replay()
        self.assertEqual(await self.recordings.get(last.id), last)
        (job,) = await Jobs(self.pool).page(JobFilter(recording_id=last.id))
        self.assertEqual(job.kind, JobKind.FINISH)
        self.assertEqual(self.journal.pending, 0)

    async def test_a_lost_end_of_a_call(self) -> None:
        *_, last = snapshots = self.snapshots_of_call()
        for snapshot in snapshots:
            self.journal.append(snapshot)
        await self.wait_until_applied()
        await self.lose("DELETE FROM jobs", "UPDATE recordings SET state = 'recording', ended_at = NULL")
        await self.journal.replay()
        self.assertEqual((await self.recordings.get(last.id)).state, RecordingState.PROCESSING)

    async def test_what_is_stored_does_not_change(self) -> None:
        *_, last = snapshots = self.snapshots_of_call()
        for snapshot in snapshots:
            self.journal.append(snapshot)
        await self.wait_until_applied()
        done = msgspec.structs.replace(last, state=RecordingState.COMPLETED, duration=1.0)
        await self.recordings.complete(done, [JobKind.MAIL])
        stored = await self.recordings.get(last.id)
        await self.journal.replay()
        self.assertEqual(await self.recordings.get(last.id), stored)
        self.assertEqual(len(await Jobs(self.pool).page(JobFilter(recording_id=last.id))), 2)

    async def test_a_deleted_recording_is_not_stored_again(self) -> None:
        *_, last = snapshots = self.snapshots_of_call()
        for snapshot in snapshots:
            self.journal.append(snapshot)
        await self.wait_until_applied()
        await self.recordings.complete(msgspec.structs.replace(last, state=RecordingState.ABSENT), [])
        await self.recordings.delete(last.id)
        await self.journal.replay()
        with self.assertRaises(NotFound):
            await self.recordings.get(last.id)

    async def test_after_a_restart(self) -> None:
        """The failover is noticed by the next process: PostgreSQL was down when this one stopped."""
        *_, last = snapshots = self.snapshots_of_call()
        for snapshot in snapshots:
            self.journal.append(snapshot)
        await self.wait_until_applied()
        await self.journal.stopService()
        await self.lose("DELETE FROM jobs", "DELETE FROM recordings")
        self.journal = self.make_journal()
        await self.journal.startService()
        self.assertEqual(self.journal.pending, 0)
        await self.journal.replay()
        self.assertEqual(await self.recordings.get(last.id), last)
