"""Restores a backup: verifies it, restores the database, and copies the audio, the journal and the legs."""

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import psycopg2

from voxrec.backup.backup import Source
from voxrec.backup.manifest import (
    ARCHIVE,
    DUMP,
    JOURNAL,
    NEEDED_ACCOUNT,
    SPOOL,
    BackupError,
    BackupFile,
    Manifest,
    copy_file,
    read_manifest,
    verify,
)
from voxrec.files import make_directory
from voxrec.postgres import dump
from voxrec.postgres.schema_version import newer_than_known
from voxrec.store.recording_files import forget_disks


@dataclass(frozen=True)
class Restore:
    """Restores the backup in ``backup`` to ``target``. No daemon may use ``target`` meanwhile.

    Without ``overwrite``, the target must have no data: an existing database, archive or journal is not changed.
    """

    backup: Path
    target: Source
    overwrite: bool = False
    report: Callable[[str], None] = lambda _line: None

    def check(self) -> Manifest:
        """Verify the backup, and that it can be restored here. Raises `BackupError` and StoreUnavailable."""
        manifest = read_manifest(self.backup)
        if newer := newer_than_known(manifest.migrations):
            raise BackupError(
                f"the schema in the backup is newer than this version of voxrec (it has the migrations "
                f"{', '.join(newer)}): restore it with voxrec {manifest.voxrec_version} or later"
            )
        self.report(f"verifying {len(manifest.files)} files")
        verify(self.backup, manifest, self.report)
        self._require_writable_target(manifest)
        if not self.overwrite:
            self._require_empty_target()
        return manifest

    def run(self) -> Manifest:
        """Check, then restore everything, and return the manifest."""
        manifest = self.check()
        try:
            self._restore(manifest)
        except OSError as error:
            raise BackupError(f"the restore failed: {error}; repeat it with --overwrite") from error
        return manifest

    def _require_writable_target(self, manifest: Manifest) -> None:
        _require_writable(self.target.archive)
        _require_writable(self.target.journal)
        if legs := manifest.below(SPOOL):
            _require_writable(self.target.spool)
            if not self.target.spool.is_dir():
                raise BackupError(
                    f"the backup has {len(legs)} files of unfinished recordings, and {self.target.spool} does not "
                    "exist; nothing was restored. Create it as the README says"
                )

    def _require_empty_target(self) -> None:
        problems = [] if dump.is_empty(self.target.dsn) else ["the database has tables"]
        directories = (self.target.archive, self.target.journal)
        problems += [f"{directory} has files" for directory in directories if _has_files(directory)]
        if problems:
            raise BackupError(
                f"{' and '.join(problems)}; nothing was restored. With --overwrite, the database and the journal are "
                "replaced, and files of the archive that are in the backup as well"
            )

    def _restore(self, manifest: Manifest) -> None:
        if self.overwrite:
            dump.drop_everything(self.target.dsn)
        self.report("restoring the database")
        dump.restore(self.target.dsn, self.backup / DUMP)
        with closing(psycopg2.connect(self.target.dsn)) as connection, connection:
            forget_disks(connection)
        self.report("copying the audio")
        self._copy_all(manifest.below(ARCHIVE), ARCHIVE, self.target.archive, 0o640, 0o750)
        for path in self.target.journal.glob("*"):
            if path.name != "lock":
                path.unlink()
        self._copy_all(manifest.below(JOURNAL), JOURNAL, self.target.journal, 0o600, 0o700)
        if legs := manifest.below(SPOOL):
            self._copy_all(legs, SPOOL, self.target.spool, 0o660, 0o770)

    def _copy_all(
        self, files: list[BackupFile], directory: str, target: Path, file_mode: int, directory_mode: int
    ) -> None:
        """Copy files of the backup below ``target``, and compare the copies with the manifest.

        If this process is root, they belong to the owner of ``target``.
        """
        make_directory(target, directory_mode)
        owner = target.stat()
        for file in files:
            destination = target / file.path.removeprefix(f"{directory}/")
            for parent in reversed(destination.relative_to(target).parents):
                if not (target / parent).exists():
                    make_directory(target / parent, directory_mode)
                    _give(target / parent, owner)
            if copy_file(self.backup / file.path, destination, file_mode) != (file.size, file.sha256):
                raise BackupError(f"{file.path} changed while it was restored; repeat the restore with --overwrite")
            _give(destination, owner)


def _require_writable(directory: Path) -> None:
    """Raise BackupError unless files can be created in a directory, or in the one where it is to be created."""
    try:
        while not directory.exists():
            directory = directory.parent
        with TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise BackupError(
            f"this user cannot write to {directory}: {error.strerror}; nothing was restored. {NEEDED_ACCOUNT}"
        ) from error


def _give(path: Path, owner: os.stat_result) -> None:
    if os.geteuid() == 0:
        os.chown(path, owner.st_uid, owner.st_gid)


def _has_files(directory: Path) -> bool:
    return any(
        name != "lock" for root, _, names in os.walk(directory) if ".work" not in Path(root).parts for name in names
    )
