"""Tests of voxrec.recordings.erase."""

import os
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


class EraserTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        base = Path(self.mktemp())
        self.spool, self.root = base / "spool", base / "archive"
        self.spool.mkdir(parents=True)
        self.root.mkdir()
        self.archive = LocalArchive(self.root)
        self.recordings = Recordings(self.pool)
        self.jobs = Jobs(self.pool)
        self.eraser = Eraser(self.recordings, self.archive, self.spool, self.root / ".work", maybeDeferred)

    async def create_archived(self, **fields: Any) -> Recording:
        created = recording(**{"state": RecordingState.COMPLETED, **fields})
        source = self.spool / "source"
        source.write_bytes(b"sound")
        stored = self.archive.put(source, created.id, NOON, "wav")
        return await self.recordings.create(recording(id=created.id, state=created.state, path=stored.path))

    async def claim_job(self) -> Job:
        ((job,), _) = await self.jobs.claim(KINDS, LEASE)
        return job

    async def test_files_of_a_deleted_recording_are_deleted(self) -> None:
        deleted = await self.create_archived()
        legs = [self.spool / f"{leg_name(deleted.id, side)}.wav" for side in Side]
        for leg in legs:
            leg.write_bytes(b"leg")
        await self.recordings.delete(deleted.id)
        job = await self.claim_job()
        self.assertEqual((job.kind, job.recording_id, job.path), (JobKind.ERASE, deleted.id, deleted.path))
        await self.eraser(job)
        self.assertEqual([path for path in self.root.rglob("*") if path.is_file()], [])
        self.assertFalse(any(leg.exists() for leg in legs))
        await self.eraser(job)  # idempotent

    async def test_links_are_deleted_and_not_what_they_refer_to(self) -> None:
        deleted = await self.create_archived()
        other = self.spool / "other"
        other.write_bytes(b"other")
        link, fifo = (self.spool / f"{leg_name(deleted.id, side)}.wav" for side in Side)
        link.symlink_to(other)
        os.mkfifo(fifo)
        directory = self.spool / f"{leg_name(deleted.id, Side.CALLER)}.wav16"
        directory.mkdir()
        await self.recordings.delete(deleted.id)
        await self.eraser(await self.claim_job())
        self.assertEqual({path.name for path in self.spool.iterdir()}, {"other", directory.name})

    async def test_quarantined_and_temporary_files_are_deleted(self) -> None:
        deleted, other = await self.create_archived(), await self.create_archived()
        assert other.path is not None
        kept = {self.root / other.path}
        for recording_id in (deleted.id, other.id):
            files = [
                self.root / f"orphans/2026/05/04/{recording_id}.mp3",
                self.root / f"orphans/2026/05/05/.{recording_id}.wav.x7_f3k",
                self.spool / f"orphans/{leg_name(recording_id, Side.CALLER)}.wav.1",
                self.root / f".work/{recording_id}-0011-joined.wav",
            ]
            for file in files:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(b"sound")
            if recording_id == other.id:
                kept.update(files)
        await self.recordings.delete(deleted.id)
        await self.eraser(await self.claim_job())
        left = {path for root in (self.root, self.spool) for path in root.rglob("*") if path.is_file()}
        self.assertEqual(left, kept)

    async def test_refused_deletion_enqueues_no_job(self) -> None:
        deleted = await self.create_archived()

        def refuse(_: Recording) -> None:
            raise ValueError

        with self.assertRaises(ValueError):
            await self.recordings.delete(deleted.id, refuse)
        self.assertEqual((await self.jobs.claim(KINDS, LEASE)).jobs, [])

    async def test_job_fails_without_the_spool_and_can_be_repeated(self) -> None:
        deleted = await self.create_archived()
        await self.recordings.delete(deleted.id)
        self.spool.rmdir()
        job = await self.claim_job()
        with self.assertRaises(Unavailable):
            await self.eraser(job)
        self.spool.mkdir()
        await self.eraser(job)
        with self.assertRaises(NotFound):
            self.archive.locate(deleted.path or "")

    async def test_audio_of_a_recreated_recording_is_not_deleted(self) -> None:
        deleted = await self.create_archived()
        await self.recordings.delete(deleted.id)
        await self.recordings.create(deleted)
        await self.eraser(await self.claim_job())
        self.archive.locate(deleted.path or "")

    async def test_recording_deleted_twice_is_erased_twice(self) -> None:
        deleted = await self.create_archived()
        for _ in range(2):
            await self.recordings.delete(deleted.id)
            job = await self.claim_job()
            await self.eraser(job)
            self.assertTrue(await self.jobs.mark_done(job))
            await self.recordings.create(deleted)

    async def test_path_outside_the_archive_is_ignored(self) -> None:
        outside = self.root.parent / "outside"
        outside.write_bytes(b"x")
        deleted = await self.recordings.create(recording(id=uuid4(), path="../outside"))
        await self.recordings.delete(deleted.id)
        await self.eraser(await self.claim_job())
        self.assertTrue(outside.exists())
