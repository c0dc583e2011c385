"""Checks of the directories that voxrec and Asterisk use."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from voxrec.calls.announcements.announcement_files import DEFAULT
from voxrec.config import Config
from voxrec.doctor.accounts import Account, asterisk_account, describe, voxrec_account
from voxrec.doctor.finding import Finding, failed, ok, skipped, warning

_MIN_FREE: Final = 100_000_000  # bytes
_MIN_FILES: Final = 1000
_NEARLY_FULL: Final = 0.05  # the part of a file system that is free
_AMPLE: Final = 20_000_000_000  # bytes; with as many, no file system is nearly full
_READ_ONLY_REMEDY: Final = (
    "see dmesg: the kernel makes a file system read-only after errors of the disk; then repair it, and remount it"
)


def check_directories(config: Config) -> Iterator[Finding]:
    """Check the data directory, the archive, Asterisk's recording directory, and the announcements."""
    account = voxrec_account(Path(config.data_directory))
    spool = Path(config.asterisk.recordings)
    asterisk = asterisk_account(spool)
    yield _check_directory("data directory", Path(config.data_directory), account, "install -d -o {user} {path}")
    yield _check_directory(
        "archive",
        config.archive_directory,
        account,
        "mount its file system, or create it: install -d -o {user} -m 0750 {path}",
    )
    yield _check_work_directory(config.archive_directory)
    yield _check_directory(
        "recording directory",
        spool,
        account,
        "install -d -o asterisk -g asterisk -m 2770 {path}, and add {user} to the group asterisk (the unit does)",
        config.asterisk.recordings_floor,
    )
    yield _check_asterisk_writes(spool, asterisk)
    yield _check_announcement(Path(config.asterisk.sounds), asterisk)


def _check_directory(name: str, path: Path, account: Account, remedy: str, minimum: int = _MIN_FREE) -> Finding:
    remedy = remedy.format(user=account.name, path=path)
    if not path.exists():
        return failed(name, f"{path} does not exist, or this user may not see it", remedy)
    if not path.is_dir():
        return failed(name, f"{path} is not a directory", remedy)
    missing = [
        word for access, word in (("r", "read"), ("w", "write"), ("x", "enter")) if not account.may(access, path)
    ]
    status = os.statvfs(path)
    if status.f_flag & os.ST_RDONLY:
        return failed(name, f"the file system of {path} is read-only", _READ_ONLY_REMEDY)
    if missing:
        return failed(name, f"{account.name} may not {' or '.join(missing)} {describe(path)}", remedy)
    return check_space(name, path, status, minimum) or ok(
        name, f"{describe(path)}, {status.f_bavail * status.f_frsize / 1e9:.1f} GB free"
    )


def check_space(name: str, path: Path, status: os.statvfs_result, minimum: int) -> Finding | None:
    """Return what is wrong with the free space of a file system, if anything is; ``minimum`` is in bytes."""
    free, size = status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize
    if free < minimum:
        return failed(name, f"{path} has {free:,} bytes free", f"free {minimum:,} bytes on its file system")
    if status.f_files and status.f_favail < _MIN_FILES:  # some file systems have no limit, and say 0
        detail = f"the file system of {path} has room for {status.f_favail} more files (df -i)"
        return failed(
            name, detail, "delete files there that are not needed, or make a new file system for the directory"
        )
    if free < min(_NEARLY_FULL * size, _AMPLE):
        detail = f"the file system of {path} is nearly full: {free / 1e9:.1f} of {size / 1e9:.1f} GB are free"
        return warning(name, detail, "free space, enlarge it, or shorten retentionDays; see docs/storage.md")
    return None


def _check_work_directory(archive: Path) -> Finding:
    name, work = "archive file system", archive / ".work"
    if not work.exists():
        return skipped(name, f"{work} does not exist yet; voxrec creates it")
    if work.stat().st_dev != archive.stat().st_dev:
        return failed(name, f"{work} is on another file system than the archive", f"unmount {work}")
    return ok(name, f"{work} is on the file system of the archive")


def _check_asterisk_writes(spool: Path, asterisk: Account | None) -> Finding:
    name = "recording by Asterisk"
    if asterisk is None or not spool.is_dir():
        return skipped(name, "there is no recording directory, or no account asterisk")
    allowed = asterisk.may("w", spool)
    if allowed is None:
        return skipped(name, "only root can examine what the account of Asterisk may do")
    if not allowed:
        return failed(name, f"{asterisk.name} may not write to {describe(spool)}", f"chown asterisk:asterisk {spool}")
    if spool.stat().st_mode & 0o2070 != 0o2070 and asterisk.uid != 0:
        return warning(
            name,
            f"{describe(spool)} does not give new files the group of the directory",
            f"chmod 2770 {spool}",
        )
    return ok(name, f"{asterisk.name} may write to {spool}")


def _check_announcement(sounds: Path, asterisk: Account | None) -> Finding:
    name = "announcement file"
    files = sorted(sounds.glob(f"{DEFAULT}.*")) if sounds.is_dir() else []
    if not files:
        return failed(
            name,
            f"the default announcement is not in {sounds}, or this user may not see it",
            "start voxrec, which writes it, and correct the owner of the directory if the log says that it cannot",
        )
    allowed = None if asterisk is None else asterisk.may("r", files[0])
    if allowed is None:
        return skipped(name, "only root can examine what the account of Asterisk may read; see announcement below")
    if not allowed:
        account = "Asterisk" if asterisk is None else asterisk.name
        return failed(
            name,
            f"{account} may not read {describe(files[0])}",
            f"chmod o+x {' '.join(map(str, reversed(files[0].parents[:-1])))} && chmod o+r {sounds}/*",
        )
    return ok(name, f"Asterisk can read {files[0]}")
