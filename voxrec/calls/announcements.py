"""The announcements, where Asterisk finds them: in a directory that it shares with voxrec."""

import os
import tempfile
from importlib import resources
from pathlib import Path

from voxrec.errors import Unavailable

DEFAULT = "announcement"


class SoundsUnavailable(Unavailable):
    """The directory of sounds cannot be written to."""

    code = "sounds-unavailable"


def install_default(directory: Path) -> None:
    """Put voxrec's own announcement ("This call is being recorded.") there, whole or not at all.

    Raises `SoundsUnavailable`. Blocks: run it in a thread.
    """
    sound = resources.files("voxrec.calls").joinpath("sounds", f"{DEFAULT}.wav").read_bytes()
    target = directory / f"{DEFAULT}.wav"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if target.is_file() and target.read_bytes() == sound:
            return
        handle, temporary = tempfile.mkstemp(dir=directory)
        with os.fdopen(handle, "wb") as file:
            file.write(sound)
        # Asterisk runs as another user
        Path(temporary).chmod(0o644)
        Path(temporary).rename(target)
    except OSError as error:
        raise SoundsUnavailable(f"the announcement cannot be put into {directory}: {error}") from error
