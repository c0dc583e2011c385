"""The system account that PostgreSQL runs as when the sandbox itself runs as root."""

import os
import pwd
from pathlib import Path
from typing import Final

ACCOUNT: Final = "nobody"


def prepare_postgres_directory(directory: Path) -> None:
    """Create the directory of an embedded PostgreSQL, and if this process is root, give it to an unprivileged account.

    voxrec itself creates no account; as root it runs the server as the owner of this directory.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0 and not (directory / "cluster").exists():
        account = pwd.getpwnam(ACCOUNT)
        os.chown(directory, account.pw_uid, account.pw_gid)
