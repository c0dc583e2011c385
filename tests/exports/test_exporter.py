"""Tests of voxrec.exports.exporter with a real PostgreSQL, a real archive and the worker of the daemon."""

import csv
import errno
import hashlib
import io
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.database import DatabaseTestCase, reactor, until
from tests.store.samples import NOON, profile, recording
from voxrec.api.audio.audio_files import FileSection, open_audio
from voxrec.api.recordings.recording_representation import recording_with_notes
from voxrec.archive.local import LocalArchive
from voxrec.composition.exports import ExportCleanUp
from voxrec.deferreds import Backoff
from voxrec.exports import exporter as exporter_module
from voxrec.exports.checkpoint import Progress
from voxrec.exports.exporter import AudioStream, Exporter, ExportSettings
from voxrec.exports.files import ExportDirectory, ExportFile
from voxrec.jobs.worker import Worker
from voxrec.model import Export, ExportFormat, ExportQuery, ExportState, Recording, RecordingState
from voxrec.store.exports import KIND, ClaimedExport, ExportQueue, Exports, NewExport
from voxrec.store.notes import Notes
from voxrec.store.profiles import Profiles
from voxrec.store.recordings import Recordings

URL = "https://rec.example"
FINAL = (ExportState.COMPLETED, ExportState.FAILED)


class ExporterTestCase(DatabaseTestCase):
    timeout = 120

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.base = Path(self.mktemp()).absolute()  # noqa: ASYNC240 - no access to the disk
        (self.base / "archive").mkdir(parents=True)
        self.archive = LocalArchive(self.base / "archive")
        self.files = self.base / "archive" / ".exports"
        self.directory = ExportDirectory(self.files)
        self.recordings = Recordings(self.pool)
        self.exports = Exports(self.pool, URL)
        self.workers: list[Worker[ClaimedExport]] = []
        self.before_audio: Callable[[Recording], Any] = lambda _: None

    async def tearDown(self) -> None:  # type: ignore[override]
        for worker in self.workers:
            await worker.stopService()
        await super().tearDown()

    async def open_stream(self, found: Recording) -> AudioStream:
        if (waiting := self.before_audio(found)) is not None:
            await waiting
        descriptor = await deferToThread(open_audio, self.archive, found, found.path or "")
        return FileSection(descriptor, 0, found.size or 0, deferToThread)

    def start_worker(self, settings: ExportSettings = ExportSettings(), **options: Any) -> Exporter:  # noqa: B008
        """Start a worker as the daemon does, with short delays."""
        handler = Exporter(
            reactor,
            ExportQueue(self.pool, self.exports, "here"),
            self.recordings,
            self.directory,
            self.open_stream,
            recording_with_notes(URL),
            Notes(self.pool).of_recordings,
            settings,
            deferToThread,
        )
        defaults: dict[str, Any] = {
            "concurrency": 1,
            "lease": timedelta(minutes=1),
            "backoff": Backoff(first=0.05, limit=0.05, jitter=0.0),
            "max_attempts": 3,
        }
        worker = Worker(reactor, handler, {KIND: handler.export}, **{**defaults, **options})
        worker.startService()
        self.workers.append(worker)
        return handler

    async def add(self, content: bytes = b"RIFF", **fields: Any) -> Recording:
        recording_id = uuid4()
        source = self.base / "source"
        source.write_bytes(content)
        stored = self.archive.put(source, recording_id, NOON, "wav")
        file = {"id": recording_id, "path": stored.path, "size": stored.size, "sha256": stored.sha256}
        return await self.recordings.create(
            recording(**{**file, "state": RecordingState.COMPLETED, "started_at": NOON, **fields})
        )

    async def create(self, **fields: Any) -> Export:
        defaults: dict[str, Any] = {
            "created_by": "crm",
            "user_id": None,
            "token_id": None,
            "profile_ids": None,
            "description": None,
            "format": ExportFormat.ZIP,
            "audio": True,
            "query": ExportQuery(),
        }
        return await self.exports.create(NewExport(**{**defaults, **fields}))

    async def until(self, export: Export, *states: ExportState) -> Export:
        deadline = reactor.seconds() + 60
        while True:
            current = await self.exports.get(export.id)
            if current.state in states:
                return current
            self.assertLess(reactor.seconds(), deadline, current)
            await deferLater(reactor, 0.02)

    async def exported(self, **fields: Any) -> Export:
        """Return a complete export, whose file has the size and the digest of its row."""
        export = await self.create(**fields)
        for worker in self.workers:
            worker.wake()
        done = await self.until(export, *FINAL)
        self.assertIs(done.state, ExportState.COMPLETED, done)
        content = self.directory.file_of(done).read_bytes()
        self.assertEqual((done.size, done.sha256), (len(content), hashlib.sha256(content).hexdigest()))
        self.assertEqual(self.names(), [f"{done.id}.{done.format}"], "nothing else remains")
        return done

    def names(self) -> list[str]:
        return sorted(path.name for path in self.files.iterdir()) if self.files.is_dir() else []

    def members(self, export: Export) -> dict[str, bytes]:
        path = self.directory.file_of(export)
        if export.format is ExportFormat.ZIP:
            with zipfile.ZipFile(path) as archive:
                self.assertIsNone(archive.testzip())
                return {name: archive.read(name) for name in archive.namelist()}
        with tarfile.open(path) as archive:
            return {
                member.name: file.read() for member in archive.getmembers() if (file := archive.extractfile(member))
            }

    def manifest(self, export: Export) -> Any:
        return msgspec.json.decode(self.members(export)["manifest.json"])


class ContentTests(ExporterTestCase):
    async def test_audio_json_lines_and_csv(self) -> None:
        first, second = await self.add(b"first"), await self.add(b"second", from_name="=1+1")
        absent = await self.recordings.create(recording(state=RecordingState.ABSENT))
        self.start_worker()
        for format_ in ExportFormat:
            export = await self.exported(format=format_)
            members = self.members(export)
            self.assertEqual(members[f"audio/2026-05-04/{first.id}.wav"], b"first")
            self.assertEqual(members[f"audio/2026-05-04/{second.id}.wav"], b"second")
            lines = [msgspec.json.decode(line) for line in members["recordings.jsonl"].splitlines()]
            self.assertEqual({line["id"] for line in lines}, {str(each.id) for each in (first, second, absent)})
            self.assertNotIn("path", lines[0])
            rows = list(csv.DictReader(io.StringIO(members["recordings.csv"].decode("utf-8-sig"))))
            self.assertEqual(
                {row["id"]: row["file"] for row in rows}[str(first.id)], f"audio/2026-05-04/{first.id}.wav"
            )
            self.assertEqual({row["fromName"] for row in rows}, {"", "'=1+1"})
            self.assertEqual(self.manifest(export)["missing"], [])
            self.assertEqual((export.recordings, export.bytes, export.missing), (3, 11, 0))
            await self.exports.delete(export.id)
            self.directory.delete(export.id)

    async def test_without_audio(self) -> None:
        await self.add()
        self.start_worker()
        export = await self.exported(audio=False)
        self.assertEqual({*self.members(export)}, {"recordings.jsonl", "recordings.csv", "manifest.json"})

    async def test_filter_and_profiles_of_the_token(self) -> None:
        ours, theirs = await self.add(from_="+4930"), await self.add(from_="+4930")
        await self.add(profile_id=ours.profile_id, from_="+4931")
        self.start_worker()
        export = await self.exported(
            profile_ids=frozenset({ours.profile_id}),
            query=ExportQuery(from_="+4930", state=(RecordingState.COMPLETED,)),
        )
        self.assertIn(f"audio/2026-05-04/{ours.id}.wav", self.members(export))
        self.assertNotIn(str(theirs.id), str(self.members(export)))
        self.assertEqual(export.recordings, 1)

    async def test_filter_by_tags(self) -> None:
        tagged = await self.add(tags=("VIP", "complaint"))
        await self.add(tags=("VIP",))
        self.start_worker()
        export = await self.exported(query=ExportQuery(tag=("complaint", "VIP")))
        self.assertEqual(export.recordings, 1)
        members = self.members(export)
        self.assertEqual(msgspec.json.decode(members["recordings.jsonl"])["tags"], ["VIP", "complaint"])
        self.assertIn(b'"VIP,complaint",\r\n', members["recordings.csv"])
        self.assertIn(f"audio/2026-05-04/{tagged.id}.wav", members)

    async def test_nothing_matches(self) -> None:
        self.start_worker()
        self.assertEqual((await self.exported()).recordings, 0)

    async def test_recordings_that_are_created_later_do_not_belong_to_it(self) -> None:
        export = await self.create()
        await self.add(created_at=datetime.now(UTC) + timedelta(seconds=1))
        self.start_worker()
        self.assertEqual((await self.until(export, *FINAL)).recordings, 0)


class ErasureTests(ExporterTestCase):
    async def test_a_recording_that_is_erased_before_its_turn(self) -> None:
        erased = await self.add(from_="+4930666")

        async def erase(found: Recording) -> None:
            await self.recordings.delete(found.id)
            self.archive.delete(found.path or "")

        self.before_audio = erase
        self.start_worker()
        export = await self.exported()
        self.assertEqual(self.manifest(export)["missing"], [{"id": str(erased.id), "reason": "erased"}])
        members = self.members(export)
        self.assertNotIn(b"+4930666", b"".join(members.values()))
        self.assertEqual((export.recordings, export.missing), (0, 1))

    async def test_a_recording_that_is_erased_after_it_was_copied(self) -> None:
        copied, other = await self.add(created_at=NOON + timedelta(seconds=1)), await self.add()

        async def erase(found: Recording) -> None:
            if found.id == other.id:
                await self.recordings.delete(copied.id)

        self.before_audio = erase
        self.start_worker()
        export = await self.exported()
        self.assertEqual(
            self.manifest(export)["missing"], [{"id": str(copied.id), "reason": "erased after it was copied"}]
        )

    async def test_audio_that_is_missing_or_becomes_shorter(self) -> None:
        gone, shorter = await self.add(), await self.add(b"x" * 1000)
        self.archive.delete(gone.path or "")

        async def truncate(found: Recording) -> None:
            if found.id == shorter.id:
                path = self.archive.locate(found.path or "")
                reactor.callLater(0, os.truncate, path, 500)

        self.before_audio = truncate
        self.patch(exporter_module, "_PAGE", 1)
        self.start_worker()
        for format_ in ExportFormat:
            export = await self.exported(format=format_)
            missing = {entry["id"]: entry["reason"] for entry in self.manifest(export)["missing"]}
            self.assertEqual(missing[str(gone.id)], "audio missing or damaged")
            self.assertEqual(export.recordings, 2)
            self.directory.delete(export.id)


class StateTests(ExporterTestCase):
    async def test_a_full_disk(self) -> None:
        await self.add()

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        self.before_audio = full
        self.start_worker()
        failed = await self.until(await self.create(), *FINAL)
        self.assertEqual((failed.state, failed.error), (ExportState.FAILED, "the file system of the archive is full"))
        self.assertEqual(self.names(), [])
        self.assertIsNone(failed.file_url)

    async def test_space_is_left_for_calls(self) -> None:
        await self.add()
        self.start_worker(ExportSettings(min_free=10**18))
        failed = await self.until(await self.create(), *FINAL)
        self.assertIs(failed.state, ExportState.FAILED)
        self.assertIn("exports.min_free", failed.error or "")
        self.assertEqual(self.names(), [])

    async def test_other_errors_are_retried(self) -> None:
        await self.add()
        errors = [OSError(errno.EIO, "Input/output error")]

        def fail_once(_: Recording) -> None:
            if errors:
                raise errors.pop()

        self.before_audio = fail_once
        self.start_worker()
        done = await self.until(await self.create(), *FINAL)
        self.assertEqual((done.state, done.error), (ExportState.COMPLETED, None))

    async def test_deletion_while_it_is_written(self) -> None:
        await self.add()
        export = await self.create()
        deleted: Deferred[None] = Deferred()

        async def cancel(_: Recording) -> None:
            await self.exports.delete(export.id)
            deleted.callback(None)

        self.before_audio = cancel
        handler = self.start_worker()
        await deleted
        await self.workers.pop().stopService()
        self.assertEqual((self.names(), handler._files), ([], {}))

    async def test_a_process_that_was_killed(self) -> None:
        """The next process begins again when the lease has expired, and replaces what was written."""
        await self.add(b"whole")
        export = await self.create()
        never: Deferred[None] = Deferred()
        self.before_audio = lambda _: never
        self.start_worker(stop_timeout=0.1)
        await self.until(export, ExportState.RUNNING)
        while not any(name.endswith(".part") for name in self.names()):
            await deferLater(reactor, 0.02)
        former = self.workers.pop()
        await former.stopService()  # its handler waits
        await self.pool.execute("UPDATE exports SET leased_until = now()")
        self.before_audio = lambda _: None
        self.start_worker()
        done = await self.until(export, *FINAL)
        self.assertIs(done.state, ExportState.COMPLETED)
        self.assertEqual(self.names(), [f"{export.id}.zip"])
        self.assertIn(b"whole", self.members(done).values())
        never.callback(None)  # the former process continues too late, and disturbs nothing
        await until(lambda: not former._running_jobs)
        self.assertEqual(self.names(), [f"{export.id}.zip"])

    async def test_deletion_of_what_another_node_has_left(self) -> None:
        await self.add()
        self.start_worker()
        done = await self.exported()
        left = self.files / f"{done.id}.zip.1.part"
        for path in (left, left.with_name(f"{left.name}.csv"), left.with_name(f"{left.name}.checkpoint")):
            path.write_bytes(b"x")
        await ExportCleanUp(self.exports, self.directory, deferToThread).clean_up()
        self.assertEqual(self.names(), [f"{done.id}.zip"])

    async def test_the_rate_is_limited(self) -> None:
        for _ in range(3):
            await self.add(b"x" * 1000)
        self.start_worker(ExportSettings(rate=6000))
        started = reactor.seconds()
        await self.exported()
        self.assertGreaterEqual(reactor.seconds() - started, 0.49)

    async def test_expiry_and_clean_up(self) -> None:
        await self.add()
        self.start_worker()
        kept, expired = await self.exported(), await self.create()
        for worker in self.workers:
            worker.wake()
        expired = await self.until(expired, *FINAL)
        self.directory.delete(uuid4())
        (self.files / f"{UUID(int=0)}.zip").write_bytes(b"of an export that is unknown")
        await self.pool.execute("UPDATE exports SET expires_at = now() WHERE id = %s", (expired.id,))
        clean_up = ExportCleanUp(self.exports, self.directory, deferToThread)
        await clean_up.clean_up()
        self.assertEqual(self.names(), [f"{kept.id}.zip"])
        self.assertIs((await self.exports.get(expired.id)).state, ExportState.EXPIRED)
        await self.pool.execute("UPDATE exports SET finished_at = now() - interval '31 days'")
        await clean_up.clean_up()
        self.assertEqual((self.names(), await self.exports.page()), ([], []))


class ContinuationTests(ExporterTestCase):
    """Each page has one Recording, after which a checkpoint is saved."""

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.patch(exporter_module, "_PAGE", 1)
        self.patch(exporter_module, "_CHECKPOINT_SECONDS", 0.0)
        self.opened: list[UUID] = []
        self.blocked: Deferred[None] = Deferred()
        self.stored = [await self.add(b"%d" % number * 1000, created_at=at(number)) for number in range(4)]
        self.before_audio = self.block_at_third

    def block_at_third(self, found: Recording) -> Deferred[None] | None:
        self.opened.append(found.id)
        return self.blocked if len(self.opened) == 3 else None

    async def until_blocked(self, export: Export, **options: Any) -> tuple[Exporter, Worker[ClaimedExport]]:
        handler = self.start_worker(**options)
        await until(lambda: len(self.opened) == 3)
        self.assertIs((await self.exports.get(export.id)).state, ExportState.RUNNING)
        return handler, self.workers.pop()

    def assert_complete(self, export: Export) -> None:
        members = self.members(export)
        for number, each in enumerate(self.stored):
            self.assertEqual(members[f"audio/2026-05-04/{each.id}.wav"], b"%d" % number * 1000)
        lines = [msgspec.json.decode(line)["id"] for line in members["recordings.jsonl"].splitlines()]
        self.assertEqual(lines, [str(each.id) for each in reversed(self.stored)])
        self.assertEqual(len(members["recordings.csv"].splitlines()), 5)
        self.assertEqual((export.recordings, export.bytes, export.missing), (4, 4000, 0))
        self.assertEqual(self.names(), [f"{export.id}.{export.format}"])

    async def test_after_a_stop_of_the_daemon(self) -> None:
        for format_ in ExportFormat:
            self.opened.clear()
            self.blocked = Deferred()
            export = await self.create(format=format_)
            handler, worker = await self.until_blocked(export)
            handler.stop()
            stopped = worker.stopService()
            self.blocked.callback(None)
            await stopped
            waiting = await self.exports.get(export.id)
            self.assertEqual((waiting.state, waiting.error, waiting.recordings), (ExportState.PENDING, None, 2))
            ((attempts,),) = await self.pool.query("SELECT attempts FROM exports WHERE id = %s", (export.id,))
            self.assertEqual(attempts, 0)
            self.start_worker()
            done = await self.until(export, *FINAL)
            self.assert_complete(done)
            self.assertEqual(len(self.opened), 5, "the third Recording is copied again, the first two are not")
            self.directory.delete(export.id)

    async def test_checkpoints_are_not_saved_for_each_page(self) -> None:
        """Each of them waits for the disk, which those who record calls need."""
        saved: list[int] = []

        def save(file: ExportFile, progress: Progress) -> None:
            saved.append(progress.recordings)
            save_now(file, progress)

        save_now = ExportFile.save
        self.patch(ExportFile, "save", save)
        self.blocked.callback(None)
        for seconds, size, expected in (
            (3600.0, 64_000_000, [4]),
            (3600.0, 2000, [2, 4, 4]),
            (0.0, 2000, [1, 2, 3, 4, 4]),
        ):
            self.patch(exporter_module, "_CHECKPOINT_SECONDS", seconds)
            self.patch(exporter_module, "_CHECKPOINT_BYTES", size)
            saved.clear()
            export = await self.create()
            self.start_worker()
            self.assert_complete(await self.until(export, *FINAL))
            self.assertEqual(saved, expected)
            self.directory.delete(export.id)

    async def test_after_the_death_of_the_process(self) -> None:
        """The lock of its file is gone, and what it wrote after the last checkpoint is cut off."""
        export = await self.create()
        _, worker = await self.until_blocked(export, stop_timeout=0.1)
        await worker.stopService()
        copies = self.base / "copies"
        shutil.copytree(self.files, copies)  # files that no process has locked
        shutil.rmtree(self.files)
        copies.rename(self.files)
        (part,) = [path for path in self.files.iterdir() if path.name.endswith(".part")]
        with part.open("ab") as file:
            file.write(b"half a Recording")
        await self.pool.execute("UPDATE exports SET leased_until = now()")
        self.start_worker()
        self.assert_complete(await self.until(export, *FINAL))
        self.assertEqual(len(self.opened), 5)
        self.blocked.callback(None)
        await until(lambda: not worker._running_jobs)

    async def test_a_process_that_still_writes_is_not_disturbed(self) -> None:
        export = await self.create()
        _, worker = await self.until_blocked(export, stop_timeout=0.1)
        await worker.stopService()  # its handler waits
        await self.pool.execute("UPDATE exports SET leased_until = now()")
        self.start_worker()
        done = await self.until(export, *FINAL)
        self.assert_complete(done)
        self.assertEqual(len(self.opened), 7, "all four are copied again")
        self.blocked.callback(None)
        await until(lambda: not worker._running_jobs)
        self.assert_complete(done)

    async def test_a_damaged_checkpoint(self) -> None:
        for damage in ("checkpoint", "csv"):
            self.opened.clear()
            self.blocked = Deferred()
            export = await self.create()
            handler, worker = await self.until_blocked(export)
            handler.stop()
            stopped = worker.stopService()
            self.blocked.callback(None)
            await stopped
            (path,) = [path for path in self.files.iterdir() if path.name.endswith(damage)]
            path.write_bytes(b"{")
            self.start_worker()
            self.assert_complete(await self.until(export, *FINAL))
            self.directory.delete(export.id)

    async def test_errors_do_not_repeat_what_is_written(self) -> None:
        errors = [OSError(errno.EIO, "Input/output error")]

        def fail_at_third(found: Recording) -> None:
            self.opened.append(found.id)
            if len(self.opened) == 3:
                raise errors.pop()

        self.before_audio = fail_at_third
        self.start_worker()
        self.assert_complete(await self.until(await self.create(), *FINAL))
        self.assertEqual(len(self.opened), 5)

    async def test_attempts_that_make_progress_do_not_count(self) -> None:
        """Each of four attempts copies one Recording; two attempts without progress are permitted."""

        def fail_at_every_second(found: Recording) -> None:
            self.opened.append(found.id)
            if len(self.opened) % 2 == 0:
                raise OSError(errno.EIO, "Input/output error")

        self.before_audio = fail_at_every_second
        self.start_worker(max_attempts=2)
        self.assert_complete(await self.until(await self.create(), *FINAL))

    async def test_attempts_without_progress_end_it(self) -> None:
        def fail(found: Recording) -> None:
            self.opened.append(found.id)
            raise OSError(errno.EIO, "Input/output error")

        self.before_audio = fail
        self.start_worker(max_attempts=3)
        failed = await self.until(await self.create(), *FINAL)
        self.assertIs(failed.state, ExportState.FAILED)
        self.assertEqual(len(self.opened), 3)

    async def test_with_archives_of_their_own_the_same_node_continues(self) -> None:
        export = await self.create()
        handler, worker = await self.until_blocked(export)
        handler.stop()
        stopped = worker.stopService()
        self.blocked.callback(None)
        await stopped
        other = ExportQueue(self.pool, self.exports, "there", shared=False)
        claimed, next_due = await other.claim([KIND], timedelta(minutes=1), 1)
        self.assertEqual(claimed, [])
        assert next_due is not None
        self.assertLess(abs(next_due - datetime.now(UTC) - timedelta(minutes=10)), timedelta(minutes=1))
        here = ExportQueue(self.pool, self.exports, "here", shared=False)
        (job,), _ = await here.claim([KIND], timedelta(minutes=1), 1)
        self.assertEqual(job.export.id, export.id)
        await here.release(job)
        await self.pool.execute("UPDATE exports SET due_at = now() - interval '11 minutes'")
        (job,), _ = await other.claim([KIND], timedelta(minutes=1), 1)
        self.assertEqual(job.export.node, "there")

    async def test_the_rate_after_an_interruption(self) -> None:
        """What an earlier attempt has written does not count."""
        export = await self.create()
        handler, worker = await self.until_blocked(export)
        handler.stop()
        stopped = worker.stopService()
        self.blocked.callback(None)
        await stopped
        started = reactor.seconds()
        self.start_worker(ExportSettings(rate=4000))
        self.assert_complete(await self.until(export, *FINAL))
        self.assertGreaterEqual(reactor.seconds() - started, 0.49)


def at(number: int) -> datetime:
    """Return a creation time, which orders Recordings."""
    return NOON + timedelta(seconds=number)


class AnnouncementTests(ExporterTestCase):
    async def test_webhooks_of_all_profiles_or_of_the_only_one(self) -> None:
        ours, theirs = uuid4(), uuid4()
        for profile_id in (ours, theirs):
            await Profiles(self.pool).create(profile(id=profile_id))
        for webhook_profile in (None, ours, theirs):
            await self.pool.execute(
                "INSERT INTO webhooks (profile_id, url) VALUES (%s, 'https://crm.example')", (webhook_profile,)
            )
        self.start_worker()
        await self.exported(profile_ids=frozenset({ours}), description="for the court")
        rows = await self.pool.query(
            "SELECT type, webhooks.profile_id, data FROM webhook_messages JOIN webhook_deliveries "
            "ON message_id = webhook_messages.id JOIN webhooks ON webhooks.id = webhook_id"
        )
        told = {(type_, webhook_profile) for type_, webhook_profile, _ in rows}
        self.assertEqual(told, {("export.completed", None), ("export.completed", ours)})
        self.assertEqual(rows[0][2]["description"], "for the court")
