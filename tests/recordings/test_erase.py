"""The files of a deleted Recording go, whatever was in the way first."""

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from twisted.internet.defer import maybeDeferred

from tests.database import DatabaseTestCase
from tests.store.samples import NOON, recording
from voxrec.archive.local import LocalArchive
from voxrec.errors import NotFound, Unavailable
from voxrec.model import Job, JobKind, Recording, RecordingState, Side, leg_name
from voxrec.recordings.erase import Eraser
from voxrec.store.jobs import Jobs
from voxrec.store.recordings import Recordings

KINDS = (JobKind.ERASE,)
LEASE = timedelta(minutes=1)


class ErasingTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        base = Path(self.mktemp())
        self.spool, self.root = base / "spool", base / "archive"
        self.spool.mkdir(parents=True)
        self.root.mkdir()
        self.archive = LocalArchive(self.root)
        self.recordings = Recordings(self.pool)
        self.jobs = Jobs(self.pool)
        self.erase = Eraser(self.recordings, self.archive, self.spool, maybeDeferred)

    async def archived(self, **given: Any) -> Recording:
        made = recording(**{"state": RecordingState.COMPLETED, **given})
        source = self.spool / "source"
        source.write_bytes(b"sound")
        stored = self.archive.put(source, made.id, NOON, "wav")
        return await self.recordings.create(recording(id=made.id, state=made.state, path=stored.path))

    async def owed(self) -> Job:
        ((job,), _) = await self.jobs.claim(KINDS, LEASE)
        return job

    async def test_the_deletion_owes_it(self) -> None:
        made = await self.archived()
        legs = [self.spool / f"{leg_name(made.id, side)}.wav" for side in Side]
        for leg in legs:
            leg.write_bytes(b"leg")
        await self.recordings.delete(made.id)
        job = await self.owed()
        self.assertEqual((job.kind, job.recording_id, job.path), (JobKind.ERASE, made.id, made.path))
        await self.erase(job)
        self.assertEqual([path for path in self.root.rglob("*") if path.is_file()], [])
        self.assertFalse(any(leg.exists() for leg in legs))
        await self.erase(job)  # again does no harm

    async def test_a_refused_deletion_owes_nothing(self) -> None:
        made = await self.archived()

        def refuse(_: Recording) -> None:
            raise ValueError

        with self.assertRaises(ValueError):
            await self.recordings.delete(made.id, refuse)
        self.assertEqual((await self.jobs.claim(KINDS, LEASE)).jobs, [])

    async def test_what_cannot_be_erased_now_is_tried_again(self) -> None:
        made = await self.archived()
        await self.recordings.delete(made.id)
        self.spool.rmdir()
        job = await self.owed()
        with self.assertRaises(Unavailable):
            await self.erase(job)
        self.spool.mkdir()
        await self.erase(job)
        with self.assertRaises(NotFound):
            self.archive.locate(made.path or "")

    async def test_the_audio_of_a_new_recording_of_the_same_id_stays(self) -> None:
        made = await self.archived()
        await self.recordings.delete(made.id)
        await self.recordings.create(made)
        await self.erase(await self.owed())
        self.archive.locate(made.path or "")

    async def test_an_id_that_is_deleted_twice_is_erased_twice(self) -> None:
        made = await self.archived()
        for _ in range(2):
            await self.recordings.delete(made.id)
            job = await self.owed()
            await self.erase(job)
            self.assertTrue(await self.jobs.mark_done(job))
            await self.recordings.create(made)

    async def test_a_path_out_of_the_archive_is_left_alone(self) -> None:
        outside = self.root.parent / "outside"
        outside.write_bytes(b"x")
        made = await self.recordings.create(recording(id=uuid4(), path="../outside"))
        await self.recordings.delete(made.id)
        await self.erase(await self.owed())
        self.assertTrue(outside.exists())
