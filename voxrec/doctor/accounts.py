"""The accounts of voxrec and of Asterisk, and what each may do with a file."""

import grp
import os
import pwd
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_VOXREC: Final = "voxrec"
_ASTERISK: Final = "asterisk"


@dataclass(frozen=True)
class Account:
    """A user and its groups."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]

    def may(self, access: str, path: Path) -> bool | None:
        """Return whether the account has an access of test(1): r, w or x. None if only root can find out.

        The kernel answers, so that access control lists and mount options count.
        """
        if self.uid == os.geteuid():
            return os.access(path, {"r": os.R_OK, "w": os.W_OK, "x": os.X_OK}[access])
        if os.geteuid() != 0:
            return None
        done = subprocess.run(  # noqa: S603
            ["/usr/bin/test", f"-{access}", str(path)],
            user=self.uid,
            group=self.gid,
            extra_groups=list(self.groups),
            cwd="/",
            check=False,
        )
        return done.returncode == 0


def voxrec_account(data_directory: Path) -> Account:
    """Return the account of the daemon: this user, or for root the owner of the data directory or ``voxrec``.

    It has the group ``asterisk``, because the unit adds it.
    """
    uid = os.geteuid()
    if uid == 0:
        with suppress(OSError):
            uid = data_directory.stat().st_uid
        with suppress(KeyError):
            uid = uid or pwd.getpwnam(_VOXREC).pw_uid
    account = _account(uid)
    if uid in (0, os.geteuid()):
        return account
    with suppress(KeyError):
        return Account(account.name, uid, account.gid, (*account.groups, grp.getgrnam(_ASTERISK).gr_gid))
    return account


def asterisk_account(recordings: Path) -> Account | None:
    """Return the account of Asterisk: the owner of its recording directory, or ``asterisk``; None if neither exists."""
    with suppress(OSError):
        return _account(recordings.stat().st_uid)
    with suppress(KeyError):
        return _account(pwd.getpwnam(_ASTERISK).pw_uid)
    return None


def describe(path: Path) -> str:
    """Return owner, group and mode of a file."""
    status = path.stat()
    owner, group = str(status.st_uid), str(status.st_gid)
    with suppress(KeyError):
        owner = pwd.getpwuid(status.st_uid).pw_name
    with suppress(KeyError):
        group = grp.getgrgid(status.st_gid).gr_name
    return f"{path} ({owner}:{group} {status.st_mode & 0o7777:04o})"


def _account(uid: int) -> Account:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Account(str(uid), uid, uid, ())
    return Account(entry.pw_name, uid, entry.pw_gid, tuple(os.getgrouplist(entry.pw_name, entry.pw_gid)))
