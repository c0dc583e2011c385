"""Tests of voxrec.backup with a real PostgreSQL: consistency while Recordings come and go, and verification."""

import hashlib
import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import psycopg2
from psycopg2.sql import SQL, Identifier
from twisted.trial.unittest import SynchronousTestCase

from tests.database import administer, cluster, create_database, create_migrated_database
from voxrec.backup import backup as backup_module
from voxrec.backup.backup import Backup, Source
from voxrec.backup.manifest import BackupError, Manifest, read_manifest, verify
from voxrec.backup.restore import Restore
from voxrec.postgres import dump as postgres_dump
from voxrec.postgres.migrate import migrate
from voxrec.postgres.requirements import MIGRATIONS

_INSERT = """
    INSERT INTO recordings (id, profile_id, state, format, channels, timeline, metadata, legal_hold, created_at,
                            updated_at, path, size, sha256)
    VALUES (%s, %s, %s, 'wav', 1, '[]', '{}', FALSE, now(), now(), %s, %s, %s)
"""


class BackupTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.source = self.make_source("source", create_migrated_database)
        self.backup = self.directory / "backup"
        self.reports: list[str] = []

    def make_source(self, name: str, create: Callable[[Identifier], None] = create_database) -> Source:
        database = f"backup_{os.urandom(4).hex()}"
        create(Identifier(database))
        self.addCleanup(administer, SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(database)))
        root = self.directory / name
        source = Source(cluster().dsn(database), root / "archive", root / "journal", root / "spool")
        for directory in (source.archive, source.journal, source.spool):
            directory.mkdir(parents=True)
        return source

    def execute(self, sql: str, *parameters: object, source: Source | None = None) -> list[tuple[object, ...]]:
        dsn = (source or self.source).dsn
        with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []

    def add_recording(self, content: bytes = b"audio", state: str = "completed") -> UUID:
        recording_id = uuid4()
        path = None
        if state == "completed":
            path = f"2026/01/31/{recording_id}.wav"
            (self.source.archive / path).parent.mkdir(parents=True, exist_ok=True)
            (self.source.archive / path).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest() if path else None
        self.execute(_INSERT, str(recording_id), str(uuid4()), state, path, len(content) if path else None, digest)
        return recording_id

    def erase(self, recording_id: UUID) -> None:
        self.execute("DELETE FROM recordings WHERE id = %s", str(recording_id))
        (self.source.archive / f"2026/01/31/{recording_id}.wav").unlink()

    def make_backup(self, target: Path | None = None, previous: Path | None = None) -> Manifest:
        return Backup(self.source, target or self.backup, previous, self.reports.append).make()

    def archived(self, manifest: Manifest) -> set[str]:
        return {Path(file.path).stem for file in manifest.below("archive")}

    def restore(self, target: Source, *, overwrite: bool = False) -> Manifest:
        return Restore(self.backup, target, overwrite, self.reports.append).run()


class BackupTests(BackupTestCase):
    def after_the_dump(self, *changes: Callable[[], object]) -> None:
        """Make each change right after the next dump, before the archive is copied again."""
        pending, dump = list(changes), postgres_dump.dump

        def change_and_dump(dsn: str, snapshot: str, target: Path) -> None:
            dump(dsn, snapshot, target)
            if pending:
                pending.pop(0)()

        self.patch(backup_module, "dump", change_and_dump)

    def test_everything_is_in_the_backup(self) -> None:
        first, second = self.add_recording(b"one"), self.add_recording(b"two")
        live = self.add_recording(state="recording")
        (self.source.spool / f"voxrec-{live}-caller.wav").write_bytes(b"leg")
        (self.source.spool / f"voxrec-{first}-caller.wav").write_bytes(b"left over")
        (self.source.spool / "voicemail.wav").write_bytes(b"not ours")
        (self.source.journal / "00000001.jsonl").write_bytes(b"{}\n")
        (self.source.journal / "lock").touch()
        manifest = self.make_backup()
        self.assertEqual(manifest, read_manifest(self.backup))
        self.assertEqual(
            {file.path for file in manifest.files},
            {
                "postgres.dump",
                f"archive/2026/01/31/{first}.wav",
                f"archive/2026/01/31/{second}.wav",
                f"spool/voxrec-{live}-caller.wav",
                "journal/00000001.jsonl",
            },
        )
        on_disk = {str(path.relative_to(self.backup)) for path in self.backup.rglob("*") if path.is_file()}
        self.assertEqual(on_disk, {"manifest.json", *(file.path for file in manifest.files)})
        self.assertEqual(manifest.missing, [])

    def test_audio_before_the_end_of_a_required_announcement_is_left_out(self) -> None:
        announced, unannounced = self.add_recording(state="recording"), self.add_recording(state="recording")
        for recording_id, played in ((announced, True), (unannounced, False)):
            self.execute("UPDATE recordings SET prompt_played = %s WHERE id = %s", played, str(recording_id))
            (self.source.spool / f"voxrec-{recording_id}-caller.wav").write_bytes(b"speech")
        manifest = self.make_backup()
        legs = {file.path: (self.backup / file.path).read_bytes() for file in manifest.below("spool")}
        self.assertEqual(
            legs,
            {
                f"spool/voxrec-{announced}-caller.wav": b"speech",
                # a daemon on the restored data finds the Recording by it, and makes it absent
                f"spool/voxrec-{unannounced}-caller.wav": b"",
            },
        )
        self.assertNotIn(b"speech", b"".join(path.read_bytes() for path in self.backup.rglob(f"*{unannounced}*")))
        verify(self.backup, manifest, self.reports.append)

    def test_no_other_account_can_read_it(self) -> None:
        self.add_recording()
        self.addCleanup(os.umask, os.umask(0))
        self.make_backup()
        self.assertEqual(self.backup.stat().st_mode & 0o777, 0o700)
        modes = {path.stat().st_mode & 0o777 for path in self.backup.rglob("*") if path.is_file()}
        self.assertEqual(modes, {0o600})

    def test_a_recording_that_is_erased_after_the_dump(self) -> None:
        """Its audio was copied before; the dump contains it, and so does the backup."""
        erased, kept = self.add_recording(), self.add_recording()
        self.after_the_dump(lambda: self.erase(erased))
        manifest = self.make_backup()
        self.assertEqual((self.archived(manifest), manifest.missing), ({str(erased), str(kept)}, []))

    def test_a_recording_that_is_finished_and_erased_during_the_backup_causes_another_dump(self) -> None:
        kept = self.add_recording()
        copy_archive = Backup._copy_archive
        added: list[UUID] = []

        def copy_then_add(backup: Backup, archived: list[object]) -> list[str]:
            missing = copy_archive(backup, archived)  # type: ignore[arg-type]
            if not added:
                added.append(self.add_recording())
            return missing

        self.patch(Backup, "_copy_archive", copy_then_add)
        self.after_the_dump(lambda: self.erase(added[0]))
        manifest = self.make_backup()
        self.assertEqual((self.archived(manifest), manifest.missing), ({str(kept)}, []))
        target = self.make_source("target")
        self.restore(target)
        self.assertEqual(self.execute("SELECT id::text FROM recordings", source=target), [(str(kept),)])

    def test_audio_that_the_archive_has_lost_is_reported(self) -> None:
        lost, changed, kept = self.add_recording(), self.add_recording(), self.add_recording()
        (self.source.archive / f"2026/01/31/{lost}.wav").unlink()
        (self.source.archive / f"2026/01/31/{changed}.wav").write_bytes(b"other")
        manifest = self.make_backup()
        self.assertEqual(manifest.missing, sorted(f"2026/01/31/{name}.wav" for name in (lost, changed)))
        self.assertEqual(self.archived(manifest), {str(changed), str(kept)})

    def test_unfinished_recordings_of_other_nodes_are_reported(self) -> None:
        self.source = replace(self.source, node="berlin")
        for node in ("berlin", "munich", "munich"):
            recording_id = self.add_recording(state="processing")
            self.execute("UPDATE recordings SET node = %s WHERE id = %s", node, recording_id)
        self.make_backup()
        reports = [line for line in self.reports if "unfinished" in line]
        self.assertEqual(
            reports,
            ["2 unfinished recordings of node munich are not in this backup: run voxrec backup on that node, too"],
        )

    def test_directories_that_cannot_be_read(self) -> None:
        """Nothing of them would be in the backup."""
        complete, file, missing = self.source, self.directory / "file", self.directory / "missing"
        file.touch()
        for source in (replace(complete, journal=file), replace(complete, spool=file)):
            self.source = source
            error = self.assertRaises(BackupError, self.make_backup)
            self.assertIn(f"cannot read {file}: ", error.detail)
        self.source = replace(complete, journal=missing, spool=missing)
        self.make_backup()

    def test_a_link_in_the_spool_is_not_followed(self) -> None:
        live = self.add_recording(state="recording")
        (self.source.spool / f"voxrec-{live}-caller.wav").symlink_to("/etc/passwd")
        self.assertEqual(self.make_backup().below("spool"), [])

    def test_a_directory_with_files_is_refused(self) -> None:
        self.make_backup()
        error = self.assertRaises(BackupError, self.make_backup)
        self.assertIn("is not empty", error.detail)

    def test_unchanged_audio_of_the_previous_backup_is_linked(self) -> None:
        old, erased = self.add_recording(b"one"), self.add_recording(b"two")
        self.make_backup()
        new = self.add_recording(b"three")
        self.erase(erased)
        second = self.directory / "second"
        manifest = self.make_backup(second, self.backup)
        self.assertEqual(self.archived(manifest), {str(old), str(new)})
        path = f"archive/2026/01/31/{old}.wav"
        self.assertTrue((second / path).samefile(self.backup / path))
        self.backup = second
        self.restore(self.make_source("target"))


class RestoreTests(BackupTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.recording = self.add_recording(b"audio")
        live = self.add_recording(state="recording")
        (self.source.spool / f"voxrec-{live}-caller.wav").write_bytes(b"leg")
        (self.source.journal / "00000001.jsonl").write_bytes(b"{}\n")
        self.path = f"2026/01/31/{self.recording}.wav"
        self.make_backup()
        self.target = self.make_source("target")

    def assert_restored(self) -> None:
        self.assertEqual((self.target.archive / self.path).read_bytes(), b"audio")
        self.assertEqual((self.target.journal / "00000001.jsonl").read_bytes(), b"{}\n")
        self.assertEqual(len(list(self.target.spool.iterdir())), 1)
        rows = "SELECT id::text, state, sha256 FROM recordings ORDER BY id"
        self.assertEqual(self.execute(rows, source=self.target), self.execute(rows))
        migrate(self.target.dsn)  # the migrations that were applied are known

    def test_into_an_empty_target(self) -> None:
        self.restore(self.target)
        self.assert_restored()

    def test_nodes_begin_with_the_disks_that_they_have(self) -> None:
        self.execute(
            "INSERT INTO nodes (name, spool_id, instance) VALUES ('berlin', %s, %s)", str(uuid4()), str(uuid4())
        )
        second = self.directory / "second"
        self.make_backup(second)
        Restore(second, self.target, overwrite=False, report=self.reports.append).run()
        nodes = self.execute("SELECT name, spool_id, instance FROM nodes", source=self.target)
        self.assertEqual(nodes, [("berlin", None, None)])

    def test_the_modes_do_not_depend_on_the_umask(self) -> None:
        self.addCleanup(os.umask, os.umask(0o077))
        self.restore(self.target)
        self.assertEqual((self.target.archive / self.path).stat().st_mode & 0o777, 0o640)
        self.assertEqual((self.target.archive / "2026").stat().st_mode & 0o777, 0o750)

    def test_data_in_the_target_is_not_overwritten_without_the_option(self) -> None:
        self.restore(self.target)
        (self.target.archive / self.path).write_bytes(b"newer")
        error = self.assertRaises(BackupError, self.restore, self.target)
        for part in ("the database has tables", f"{self.target.archive} has files", f"{self.target.journal} has files"):
            self.assertIn(part, error.detail)
        self.assertEqual((self.target.archive / self.path).read_bytes(), b"newer")

    def test_overwrite(self) -> None:
        self.restore(self.target)
        (self.target.archive / self.path).write_bytes(b"newer")
        (self.target.journal / "00000002.jsonl").write_bytes(b"newer")
        self.execute("CREATE TABLE of_a_newer_version (recording_id uuid REFERENCES recordings)", source=self.target)
        self.restore(self.target, overwrite=True)
        self.assert_restored()
        self.assertFalse((self.target.journal / "00000002.jsonl").exists())

    def test_a_damaged_backup_changes_nothing(self) -> None:
        for damage in (
            lambda: (self.backup / "archive" / self.path).write_bytes(b"Audio"),
            lambda: (self.backup / "archive" / self.path).unlink(),
            lambda: (self.backup / "postgres.dump").write_bytes(b""),
        ):
            damage()
            error = self.assertRaises(BackupError, self.restore, self.target)
            self.assertIn("files of the backup are damaged; nothing was restored", error.detail)
            self.assertEqual(list(self.target.archive.iterdir()), [])
        self.assertIn(f"archive/{self.path}: the content differs from the manifest", self.reports)

    def test_an_incomplete_backup(self) -> None:
        (self.backup / "manifest.json").unlink()
        error = self.assertRaises(BackupError, self.restore, self.target)
        self.assertIn("contains no complete backup", error.detail)

    def test_a_path_outside_the_backup_is_refused(self) -> None:
        manifest = self.backup / "manifest.json"
        manifest.write_text(manifest.read_text().replace("archive/2026", "archive/../../2026"))
        self.assertIn("outside the backup", self.assertRaises(BackupError, self.restore, self.target).detail)

    def test_a_newer_schema_is_refused(self) -> None:
        manifest = self.backup / "manifest.json"
        name = max(MIGRATIONS.glob("*.sql")).name.removesuffix(".sql")
        manifest.write_text(manifest.read_text().replace(f'"{name}"', f'"{name}", "9999.later"'))
        error = self.assertRaises(BackupError, self.restore, self.target)
        self.assertIn("newer than this version of voxrec (it has the migrations 9999.later)", error.detail)

    def test_a_missing_recording_directory(self) -> None:
        self.target.spool.rmdir()
        error = self.assertRaises(BackupError, self.restore, self.target)
        self.assertIn("the backup has 1 files of unfinished recordings, and", error.detail)
        self.assert_unchanged()

    def test_directories_that_are_not_writable(self) -> None:
        forbidden = Path("/proc/self")
        for target in (
            replace(self.target, archive=forbidden / "new"),
            replace(self.target, journal=forbidden),
            replace(self.target, spool=forbidden),
        ):
            for overwrite in (False, True):
                error = self.assertRaises(BackupError, self.restore, target, overwrite=overwrite)
                self.assertIn("cannot write to /proc/self: ", error.detail)
                self.assertIn("nothing was restored", error.detail)
        self.assert_unchanged()

    def assert_unchanged(self) -> None:
        self.assertEqual(list(self.target.archive.iterdir()), [])
        self.assertEqual(self.execute("SELECT 1 FROM pg_tables WHERE schemaname = 'public'", source=self.target), [])
