"""Makes a backup while the daemon runs: every Recording in the dump of the database has its audio in the backup.

The journal is copied first: what it loses afterwards is in the database. The archive is copied before and after the
dump, because Recordings are finished and erased meanwhile; if one was erased after the dump, the dump is repeated.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Final

from voxrec.backup.manifest import (
    ARCHIVE,
    DUMP,
    FORMAT,
    JOURNAL,
    NEEDED_ACCOUNT,
    SPOOL,
    BackupError,
    BackupFile,
    Manifest,
    copy_file,
    hash_file,
    read_manifest,
    write_manifest,
)
from voxrec.postgres.dump import dump, snapshot
from voxrec.postgres.schema_version import applied_migrations
from voxrec.store.recording_files import (
    ArchivedFile,
    archived_files,
    unannounced_recordings,
    unfinished_on_other_nodes,
    unfinished_recordings,
)

_DIRECTORY_MODE: Final = 0o700
_MAX_DUMPS: Final = 5
_LEG: Final = re.compile(r"voxrec-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-.+")


@dataclass(frozen=True, slots=True)
class Source:
    """What is backed up: the database at ``dsn``, and the directories of archive, journal and Asterisk's recordings.

    ``node`` is the name of this node, whose journal and recordings these are.
    """

    dsn: str
    archive: Path
    journal: Path
    spool: Path
    node: str = ""


@dataclass
class Backup:
    """One backup, in ``target``, which must be empty or not exist.

    Files of ``previous``, an earlier backup on the same file system, that have not changed are hard links to it.
    """

    source: Source
    target: Path
    previous: Path | None = None
    report: Callable[[str], None] = lambda _line: None
    _files: dict[str, BackupFile] = field(default_factory=dict)
    _in_s3: set[str] = field(default_factory=set)
    _previous_files: dict[str, BackupFile] = field(default_factory=dict)

    def make(self) -> Manifest:
        """Make the backup and return its manifest. Raises `BackupError` and StoreUnavailable."""
        if self.previous is not None:
            self._previous_files = {file.path: file for file in read_manifest(self.previous).files}
        try:
            self._prepare_target()
            self._copy_journal()
            manifest = self._copy_database_and_audio()
            write_manifest(self.target, manifest)
        except OSError as error:
            raise BackupError(f"the backup failed: {error}") from error
        return manifest

    def _prepare_target(self) -> None:
        if self.target.exists() and any(self.target.iterdir()):
            raise BackupError(f"{self.target} is not empty; name a new directory")
        self.target.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        self.target.chmod(_DIRECTORY_MODE)

    def _copy_journal(self) -> None:
        for path in _files_in(self.source.journal):
            if path.name != "lock" and path.is_file():
                self._copy(path, f"{JOURNAL}/{path.name}")

    def _copy_database_and_audio(self) -> Manifest:
        for attempt in range(_MAX_DUMPS):
            self._copy_legs(None)
            with snapshot(self.source.dsn) as (connection, identifier):
                archived = archived_files(connection)
                if attempt == 0:
                    # most of the audio, which may take hours, before the dump
                    self._copy_archive(archived)
                    continue
                self.report("dumping the database")
                dump(self.source.dsn, identifier, self.target / DUMP)
                elsewhere = unfinished_on_other_nodes(connection, self.source.node) if self.source.node else {}
                migrations, unfinished = applied_migrations(connection), unfinished_recordings(connection)
                unannounced = unannounced_recordings(connection)
            missing = self._copy_archive(archived)
            self._copy_legs(unfinished - unannounced)
            self._empty_legs(unannounced)
            if not missing or not self._erased_meanwhile(missing):
                break
        for node, count in elsewhere.items():
            self.report(
                f"{count} unfinished recordings of node {node} are not in this backup: run voxrec backup on that node, "
                "too"
            )
        if self._in_s3:
            self.report(f"{len(self._in_s3)} recordings are in S3, and not in this backup: protect the buckets")
        (self.target / DUMP).chmod(0o600)
        self._files[DUMP] = BackupFile(DUMP, *hash_file(self.target / DUMP))
        self._prune({file.path for file in archived}, unfinished)
        return Manifest(
            format=FORMAT,
            voxrec_version=metadata.version("voxrec"),
            created_at=datetime.now(UTC),
            migrations=migrations,
            files=sorted(self._files.values(), key=lambda file: file.path),
            missing=missing,
        )

    def _copy_archive(self, archived: list[ArchivedFile]) -> list[str]:
        """Copy the files that the backup does not have yet. Return the paths that could not be copied."""
        missing = []
        for file in archived:
            path = f"{ARCHIVE}/{file.path}"
            if self._has(path, file.sha256):
                continue
            try:
                copied = self._copy(self.source.archive / file.path, path)
            except FileNotFoundError:
                if file.uploaded:
                    self._in_s3.add(file.path)
                else:
                    missing.append(file.path)
                continue
            if file.sha256 is not None and copied.sha256 != file.sha256:
                missing.append(file.path)
        return missing

    def _has(self, path: str, sha256: str | None) -> bool:
        return path in self._files and sha256 in (None, self._files[path].sha256)

    def _copy_legs(self, unfinished: set[str] | None) -> None:
        """Copy the files that Asterisk has recorded: of these Recordings, or of all."""
        for path in _files_in(self.source.spool):
            match = _LEG.fullmatch(path.name)
            if match and (unfinished is None or match[1] in unfinished):
                try:
                    self._copy(path, f"{SPOOL}/{path.name}")
                except FileNotFoundError:
                    continue  # it was finished meanwhile

    def _empty_legs(self, unannounced: set[str]) -> None:
        """Replace the copies of files that must not be kept unless their calls hear the announcement.

        An empty file remains, by which a daemon on the restored data finds the Recording, and finishes it.
        """
        for path in list(self._files):
            match = _LEG.fullmatch(path.removeprefix(f"{SPOOL}/"))
            if match and match[1] in unannounced:
                target = self.target / path
                target.write_bytes(b"")
                self._files[path] = BackupFile(path, *hash_file(target))

    def _erased_meanwhile(self, missing: list[str]) -> bool:
        with snapshot(self.source.dsn) as (connection, _):
            present = {file.path for file in archived_files(connection)}
        return not set(missing) <= present

    def _copy(self, source: Path, path: str) -> BackupFile:
        target = self.target / path
        earlier = self._previous_files.get(path)
        if earlier is not None and self.previous is not None and path.startswith(f"{ARCHIVE}/"):
            size, sha256 = hash_file(source)
            if (size, sha256) == (earlier.size, earlier.sha256):
                target.parent.mkdir(parents=True, exist_ok=True)
                os.link(self.previous / path, target)
                self._files[path] = earlier
                return earlier
        self._files[path] = copied = BackupFile(path, *copy_file(source, target))
        return copied

    def _prune(self, archived: set[str], unfinished: set[str]) -> None:
        """Remove what was copied of Recordings that the dump does not contain, or that were finished meanwhile."""
        for path in list(self._files):
            directory, _, name = path.partition("/")
            leg = _LEG.fullmatch(name)
            if (directory == ARCHIVE and name not in archived) or (
                directory == SPOOL and leg is not None and leg[1] not in unfinished
            ):
                del self._files[path]
                (self.target / path).unlink()


def _files_in(directory: Path) -> list[Path]:
    """Return what is in a directory, which may not exist. Raises BackupError: `Path.glob` would find nothing."""
    try:
        return sorted(directory.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BackupError(f"this user cannot read {directory}: {error.strerror}. {NEEDED_ACCOUNT}") from error
