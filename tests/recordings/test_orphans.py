"""Tests of voxrec.recordings.orphans."""

import os
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread

from tests.database import DatabaseTestCase, reactor
from tests.store.samples import NOON, recording
from voxrec.archive.local import LocalArchive
from voxrec.model import JobKind, RecordingState, Side, leg_name
from voxrec.recordings.orphans import MIN_AGE, OrphanSweeper
from voxrec.store.jobs import Jobs
from voxrec.store.recordings import Recordings

DAY = "2026/05/04"


class OrphanTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        base = Path(self.mktemp())
        self.root, self.spool = base / "archive", base / "spool"
        for directory in (self.root, self.spool):
            directory.mkdir(parents=True)
        self.archive = LocalArchive(self.root)
        self.recordings = Recordings(self.pool)
        self.pending = 0
        self.clock = Clock()
        self.clock.advance(reactor.seconds() + 2 * MIN_AGE.total_seconds())
        self.sweeper = self.make_sweeper()

    def make_sweeper(self, retention: timedelta | None = None) -> OrphanSweeper:
        return OrphanSweeper(
            self.clock, self.recordings, self.archive, self.spool, lambda: self.pending, deferToThread, retention
        )

    def put(self, recording_id: UUID, suffix: str = "wav") -> str:
        source = self.root.parent / "source"
        source.write_bytes(f"audio of {recording_id} as {suffix}".encode())
        return self.archive.put(source, recording_id, NOON, suffix).path

    def leg(self, recording_id: UUID, side: Side = Side.CALLER) -> Path:
        path = self.spool / f"{leg_name(recording_id, side)}.wav"
        path.write_bytes(b"audio of a leg")
        return path

    async def create_recording(self) -> str:
        """Return the path of a completed Recording's audio."""
        made = uuid4()
        path = self.put(made)
        await self.recordings.create(recording(id=made, state=RecordingState.COMPLETED, path=path))
        return path

    def files(self, directory: Path) -> list[str]:
        return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())

    async def test_file_without_a_recording_is_quarantined(self) -> None:
        referenced = [await self.create_recording() for _ in range(2)]
        orphan = self.put(uuid4())
        content = (self.root / orphan).read_bytes()
        await self.sweeper.sweep()
        self.assertEqual(self.files(self.root), sorted([*referenced, f"orphans/{orphan}"]))
        self.assertEqual((self.root / "orphans" / orphan).read_bytes(), content)
        self.assertEqual(self.sweeper.count, 1)

    async def test_what_is_not_a_regular_file_is_quarantined_itself(self) -> None:
        await self.create_recording()
        link, fifo = (self.leg(uuid4(), side) for side in Side)
        for path in (link, fifo):
            path.unlink()
        link.symlink_to("/etc/passwd")
        os.mkfifo(fifo)
        await self.sweeper.sweep()
        self.assertEqual({path.name for path in self.spool.iterdir()}, {"orphans"})
        self.assertEqual({path.name for path in (self.spool / "orphans").iterdir()}, {link.name, fifo.name})
        self.assertTrue((self.spool / "orphans" / link.name).is_symlink())

    async def test_incomplete_copy_is_quarantined(self) -> None:
        referenced = await self.create_recording()
        incomplete = f"{DAY}/.{uuid4()}.wav.x7_f3k"
        (self.root / incomplete).write_bytes(b"incomplete")
        await self.sweeper.sweep()
        self.assertEqual(self.files(self.root), sorted([referenced, f"orphans/{incomplete}"]))

    async def test_replaced_upload_in_another_format_is_quarantined(self) -> None:
        made = uuid4()
        other = self.put(made, "mp3")
        path = self.put(made)
        await self.recordings.create(recording(id=made, state=RecordingState.COMPLETED, path=path))
        await self.sweeper.sweep()
        self.assertEqual(self.files(self.root), [path, f"orphans/{other}"])

    async def test_file_of_an_unfinished_recording_is_not_moved(self) -> None:
        """Its upload or finish may be retried."""
        paths = [await self.create_recording()]
        for state in (RecordingState.PENDING, RecordingState.PROCESSING, RecordingState.RECORDING):
            made = await self.recordings.create(recording(state=state))
            paths.append(self.put(made.id))
            self.leg(made.id)
        legs = self.files(self.spool)
        await self.sweeper.sweep()
        self.assertEqual((self.files(self.root), self.files(self.spool)), (sorted(paths), legs))
        self.assertEqual(self.sweeper.count, 0)

    async def test_file_of_a_deleted_recording_is_not_moved_before_its_erase_job_is_done(self) -> None:
        referenced = await self.create_recording()
        made = await self.recordings.create(recording(state=RecordingState.FAILED))
        path, leg = self.put(made.id), self.leg(made.id)
        await self.recordings.delete(made.id)
        await self.sweeper.sweep()
        self.assertTrue((self.root / path).exists())
        self.assertTrue(leg.exists())
        ((job,), _) = await Jobs(self.pool).claim([JobKind.ERASE], timedelta(minutes=1))
        await Jobs(self.pool).mark_done(job)
        self.clock.advance(MIN_AGE.total_seconds())
        await self.sweeper.sweep()
        self.assertEqual(self.files(self.root), sorted([referenced, f"orphans/{path}"]))
        self.assertEqual(self.files(self.spool), [f"orphans/{leg.name}"])

    async def test_new_file_is_not_moved(self) -> None:
        await self.create_recording()
        orphan, leg = self.put(uuid4()), self.leg(uuid4())
        self.clock.advance(-MIN_AGE.total_seconds() - 60)
        await self.sweeper.sweep()
        self.assertTrue((self.root / orphan).exists())
        self.assertTrue(leg.exists())
        self.assertEqual(self.sweeper.count, 0)

    async def test_legs_without_a_recording_are_quarantined(self) -> None:
        referenced = self.leg((await self.recordings.create(recording(state=RecordingState.FAILED))).id)
        orphaned = [self.leg(recording_id := uuid4()), self.leg(recording_id, Side.CALLEE)]
        foreign = self.spool / f"{uuid4()}.wav"
        foreign.write_bytes(b"of another program")
        await self.sweeper.sweep()
        self.assertEqual(
            self.files(self.spool),
            sorted([referenced.name, foreign.name, *(f"orphans/{leg.name}" for leg in orphaned)]),
        )
        self.assertEqual(self.sweeper.count, 2)

    async def test_nothing_is_moved_while_the_journal_is_not_applied(self) -> None:
        await self.create_recording()
        orphan, leg = self.put(uuid4()), self.leg(uuid4())
        self.pending = 1
        await self.sweeper.sweep()
        self.assertTrue((self.root / orphan).exists())
        self.assertTrue(leg.exists())
        self.pending = 0
        await self.sweeper.sweep()
        self.assertEqual(self.sweeper.count, 2)

    async def test_nothing_is_moved_if_most_files_are_orphans(self) -> None:
        referenced = await self.create_recording()
        orphans = [self.put(uuid4()) for _ in range(2)]
        leg = self.leg(uuid4())
        await self.sweeper.sweep()
        self.assertEqual(self.files(self.root), sorted([referenced, *orphans]))
        self.assertTrue(leg.exists())
        self.assertEqual(self.sweeper.count, 3)

    async def test_quarantined_file_is_not_replaced(self) -> None:
        recording_id = uuid4()
        for number in range(3):
            self.leg(recording_id).write_bytes(b"%d" % number)
            await self.sweeper.sweep()
            self.clock.advance(MIN_AGE.total_seconds())
        quarantine = self.spool / "orphans"
        self.assertEqual(sorted(path.read_bytes() for path in quarantine.iterdir()), [b"0", b"1", b"2"])

    async def test_quarantined_files_are_deleted_after_the_retention_period(self) -> None:
        sweeper = self.make_sweeper(retention=timedelta(days=30))
        referenced = [await self.create_recording() for _ in range(3)]
        held = await self.recordings.create(recording(state=RecordingState.FAILED, legal_hold=True))
        (self.root / "orphans").mkdir()
        foreign = self.root / "orphans" / "notes.txt"
        foreign.write_text("of an operator")
        orphans = [self.put(uuid4()), self.put(held.id)]
        leg = self.leg(uuid4())
        await sweeper.sweep()
        self.assertFalse((self.root / orphans[0]).exists())
        self.assertFalse(leg.exists())
        self.assertEqual(sweeper.count, 4)
        self.clock.advance(27 * 86400)
        await sweeper.sweep()
        self.assertEqual(sweeper.count, 4)
        self.clock.advance(2 * 86400)
        await sweeper.sweep()
        self.assertEqual(self.files(self.root), sorted([*referenced, f"orphans/{orphans[1]}", "orphans/notes.txt"]))
        self.assertEqual(self.files(self.spool), [])
        self.assertEqual(sweeper.count, 2)

    async def test_quarantined_files_are_kept_without_a_retention_period(self) -> None:
        orphan = self.put(uuid4())
        await self.create_recording()
        await self.sweeper.sweep()
        self.clock.advance(1000 * 86400)
        await self.sweeper.sweep()
        self.assertTrue((self.root / "orphans" / orphan).exists())

    async def test_sweep_is_daily_but_a_failed_one_is_repeated(self) -> None:
        await self.create_recording()
        self.spool.rename(self.spool.with_name("away"))
        first = self.put(uuid4())
        await self.sweeper.sweep()
        self.assertTrue((self.root / first).exists())
        self.spool.with_name("away").rename(self.spool)
        await self.sweeper.sweep()
        self.assertFalse((self.root / first).exists())
        second = self.put(uuid4())
        await self.sweeper.sweep()
        self.assertTrue((self.root / second).exists())
        self.clock.advance(MIN_AGE.total_seconds())
        await self.sweeper.sweep()
        self.assertFalse((self.root / second).exists())

    async def test_nothing_is_moved_without_postgresql(self) -> None:
        await self.create_recording()
        orphan = self.put(uuid4())
        await self.pool.stopService()
        await self.sweeper.sweep()
        self.assertTrue((self.root / orphan).exists())
