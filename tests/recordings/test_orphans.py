"""Files without a Recording are found, kept and counted; nobody else's is touched."""

from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread

from tests.database import DatabaseTestCase, reactor
from tests.store.samples import NOON, recording
from voxrec.archive.local import LocalArchive
from voxrec.model import JobKind, RecordingState, Side, leg_name
from voxrec.recordings.orphans import AGE, Orphans
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
        self.clock.advance(reactor.seconds() + 2 * AGE.total_seconds())
        self.orphans = Orphans(
            self.clock, self.recordings, self.archive, self.spool, lambda: self.pending, deferToThread
        )

    def put(self, recording_id: UUID, suffix: str = "wav") -> str:
        source = self.root.parent / "source"
        source.write_bytes(f"audio of {recording_id} as {suffix}".encode())
        return self.archive.put(source, recording_id, NOON, suffix).path

    def leg(self, recording_id: UUID, side: Side = Side.CALLER) -> Path:
        path = self.spool / f"{leg_name(recording_id, side)}.wav"
        path.write_bytes(b"what was said")
        return path

    async def kept(self) -> str:
        """The path of a completed Recording's audio."""
        made = uuid4()
        path = self.put(made)
        await self.recordings.create(recording(id=made, state=RecordingState.COMPLETED, path=path))
        return path

    def files(self, directory: Path) -> list[str]:
        return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())

    async def test_a_file_that_no_row_came_of(self) -> None:
        kept = [await self.kept() for _ in range(2)]
        orphan = self.put(uuid4())
        content = (self.root / orphan).read_bytes()
        await self.orphans.sweep()
        self.assertEqual(self.files(self.root), sorted([*kept, f"orphans/{orphan}"]))
        self.assertEqual((self.root / "orphans" / orphan).read_bytes(), content)
        self.assertEqual(self.orphans.count, 1)

    async def test_half_a_copy(self) -> None:
        kept = await self.kept()
        half = f"{DAY}/.{uuid4()}.wav.x7_f3k"
        (self.root / half).write_bytes(b"half")
        await self.orphans.sweep()
        self.assertEqual(self.files(self.root), sorted([kept, f"orphans/{half}"]))

    async def test_the_other_file_of_a_recording_that_was_uploaded_twice(self) -> None:
        made = uuid4()
        other = self.put(made, "mp3")
        path = self.put(made)
        await self.recordings.create(recording(id=made, state=RecordingState.COMPLETED, path=path))
        await self.orphans.sweep()
        self.assertEqual(self.files(self.root), [path, f"orphans/{other}"])

    async def test_what_may_still_be_claimed_stays(self) -> None:
        """An upload, or a finish, that is to be tried again."""
        paths = [await self.kept()]
        for state in (RecordingState.PENDING, RecordingState.PROCESSING, RecordingState.RECORDING):
            made = await self.recordings.create(recording(state=state))
            paths.append(self.put(made.id))
            self.leg(made.id)
        legs = self.files(self.spool)
        await self.orphans.sweep()
        self.assertEqual((self.files(self.root), self.files(self.spool)), (sorted(paths), legs))
        self.assertEqual(self.orphans.count, 0)

    async def test_what_waits_for_its_erasing_stays_until_it_is_erased(self) -> None:
        kept = await self.kept()
        made = await self.recordings.create(recording(state=RecordingState.FAILED))
        path, leg = self.put(made.id), self.leg(made.id)
        await self.recordings.delete(made.id)
        await self.orphans.sweep()
        self.assertTrue((self.root / path).exists())
        self.assertTrue(leg.exists())
        ((job,), _) = await Jobs(self.pool).claim([JobKind.ERASE], timedelta(minutes=1))
        await Jobs(self.pool).mark_done(job)
        self.clock.advance(AGE.total_seconds())
        await self.orphans.sweep()
        self.assertEqual(self.files(self.root), sorted([kept, f"orphans/{path}"]))
        self.assertEqual(self.files(self.spool), [f"orphans/{leg.name}"])

    async def test_what_is_new_is_left_alone(self) -> None:
        await self.kept()
        orphan, leg = self.put(uuid4()), self.leg(uuid4())
        self.clock.advance(-AGE.total_seconds() - 60)
        await self.orphans.sweep()
        self.assertTrue((self.root / orphan).exists())
        self.assertTrue(leg.exists())
        self.assertEqual(self.orphans.count, 0)

    async def test_legs_without_a_row(self) -> None:
        known = self.leg((await self.recordings.create(recording(state=RecordingState.FAILED))).id)
        lost = [self.leg(recording_id := uuid4()), self.leg(recording_id, Side.CALLEE)]
        foreign = self.spool / f"{uuid4()}.wav"
        foreign.write_bytes(b"another program's")
        await self.orphans.sweep()
        self.assertEqual(
            self.files(self.spool), sorted([known.name, foreign.name, *(f"orphans/{leg.name}" for leg in lost)])
        )
        self.assertEqual(self.orphans.count, 2)

    async def test_what_the_journal_holds_back_may_be_a_row_to_come(self) -> None:
        await self.kept()
        orphan, leg = self.put(uuid4()), self.leg(uuid4())
        self.pending = 1
        await self.orphans.sweep()
        self.assertTrue((self.root / orphan).exists())
        self.assertTrue(leg.exists())
        self.pending = 0
        await self.orphans.sweep()
        self.assertEqual(self.orphans.count, 2)

    async def test_a_database_that_knows_hardly_anything_is_not_believed(self) -> None:
        kept = await self.kept()
        strangers = [self.put(uuid4()) for _ in range(2)]
        leg = self.leg(uuid4())
        await self.orphans.sweep()
        self.assertEqual(self.files(self.root), sorted([kept, *strangers]))
        self.assertTrue(leg.exists())
        self.assertEqual(self.orphans.count, 3)

    async def test_none_takes_the_place_of_another(self) -> None:
        recording_id = uuid4()
        for number in range(3):
            self.leg(recording_id).write_bytes(b"%d" % number)
            await self.orphans.sweep()
            self.clock.advance(AGE.total_seconds())
        aside = self.spool / "orphans"
        self.assertEqual(sorted(path.read_bytes() for path in aside.iterdir()), [b"0", b"1", b"2"])

    async def test_once_a_day_unless_it_failed(self) -> None:
        await self.kept()
        self.spool.rename(self.spool.with_name("away"))
        first = self.put(uuid4())
        await self.orphans.sweep()
        self.assertTrue((self.root / first).exists())
        self.spool.with_name("away").rename(self.spool)
        await self.orphans.sweep()
        self.assertFalse((self.root / first).exists())
        second = self.put(uuid4())
        await self.orphans.sweep()
        self.assertTrue((self.root / second).exists())
        self.clock.advance(AGE.total_seconds())
        await self.orphans.sweep()
        self.assertFalse((self.root / second).exists())

    async def test_without_postgresql_nothing_is_decided(self) -> None:
        await self.kept()
        orphan = self.put(uuid4())
        await self.pool.stop()
        await self.orphans.sweep()
        self.assertTrue((self.root / orphan).exists())
