"""The manifest of a backup: what it contains, with the checksums by which it is verified. It is written last."""

import hashlib
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from voxrec.errors import VoxrecError
from voxrec.files import NotARegularFile, open_regular

MANIFEST: Final = "manifest.json"
DUMP: Final = "postgres.dump"
ARCHIVE: Final = "archive"
JOURNAL: Final = "journal"
SPOOL: Final = "spool"
NEEDED_ACCOUNT: Final = (
    "Run the command as the user of the daemon, who must be in the group of Asterisk: "
    "usermod --append --groups asterisk voxrec"
)
"""What a user without access to the directories has to do."""
FORMAT: Final = 1
_BLOCK_SIZE: Final = 1 << 20  # bytes
_FILE_MODE: Final = 0o600


class BackupError(VoxrecError):
    """A backup cannot be made, is damaged, or cannot be restored here."""

    code = "backup"


class BackupFile(msgspec.Struct, frozen=True, rename="camel"):
    """A file of a backup. ``path`` is relative to the directory of the backup; ``size`` is in bytes."""

    path: str
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The content of a backup. ``missing``: archived files that the archive did not have, or had with other content."""

    format: int
    voxrec_version: str
    created_at: datetime
    migrations: list[str]
    files: list[BackupFile]
    missing: list[str]

    def below(self, directory: str) -> list[BackupFile]:
        """Return the files below a directory of the backup."""
        return [file for file in self.files if file.path.startswith(f"{directory}/")]


def read_manifest(directory: Path) -> Manifest:
    """Read the manifest of the backup in ``directory``. Raises `BackupError`."""
    try:
        manifest = msgspec.json.decode((directory / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError as error:
        raise BackupError(f"{directory} contains no complete backup: it has no {MANIFEST}") from error
    except (OSError, msgspec.MsgspecError) as error:
        raise BackupError(f"cannot read {directory / MANIFEST}: {error}") from error
    if manifest.format != FORMAT:
        raise BackupError(
            f"the backup has format {manifest.format}; this version of voxrec reads format {FORMAT}. It was made by "
            f"voxrec {manifest.voxrec_version}"
        )
    for file in manifest.files:
        if file.path.startswith("/") or ".." in file.path.split("/"):
            raise BackupError(f"the manifest contains the path {file.path!r}, which is outside the backup")
    return manifest


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write the manifest durably; the backup is then complete."""
    temporary = directory / f".{MANIFEST}"
    with temporary.open("wb") as file:
        os.fchmod(file.fileno(), _FILE_MODE)
        file.write(msgspec.json.format(msgspec.json.encode(manifest)))
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(directory / MANIFEST)


def verify(directory: Path, manifest: Manifest, report: Callable[[str], None]) -> None:
    """Compare each file with its checksum. Reports each one that differs; raises `BackupError` if any does."""
    damaged = 0
    for file in manifest.files:
        try:
            size, sha256 = hash_file(directory / file.path)
        except OSError as error:
            report(f"{file.path}: {error.strerror or error}")
            damaged += 1
            continue
        if (size, sha256) != (file.size, file.sha256):
            report(f"{file.path}: the content differs from the manifest")
            damaged += 1
    if damaged:
        raise BackupError(f"{damaged} of {len(manifest.files)} files of the backup are damaged; nothing was restored")


def hash_file(path: Path) -> tuple[int, str]:
    """Return size and SHA-256 of a regular file; no link is followed. Raises OSError."""
    digest = hashlib.sha256()
    with os.fdopen(open_regular(path), "rb") as file:
        while block := file.read(_BLOCK_SIZE):
            digest.update(block)
        return file.tell(), digest.hexdigest()


def copy_file(source: Path, target: Path, mode: int = _FILE_MODE) -> tuple[int, str]:
    """Copy a regular file durably, and return its size and SHA-256. ``target`` appears complete or not at all.

    Raises FileNotFoundError if ``source`` does not exist or is not a regular file, and OSError.
    """
    digest = hashlib.sha256()
    temporary = target.with_name(f".{target.name}.new")
    try:
        descriptor = open_regular(source)
    except NotARegularFile as error:
        raise FileNotFoundError(error.errno, "is not a regular file", str(source)) from error
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with os.fdopen(descriptor, "rb") as file, temporary.open("wb") as copy:
            os.fchmod(copy.fileno(), mode)
            while block := file.read(_BLOCK_SIZE):
                digest.update(block)
                copy.write(block)
            copy.flush()
            os.fsync(copy.fileno())
            size = copy.tell()
        temporary.rename(target)
    finally:
        temporary.unlink(missing_ok=True)
    return size, digest.hexdigest()
