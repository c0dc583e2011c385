"""Bodies that are files: on their way into a file of their own, and nothing of them left when their request is over."""

import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from twisted.internet.defer import Deferred

from voxrec.errors import Unavailable, VoxrecError
from voxrec.web.auth import Principal

PREFIX: Final = "upload-"
_STALE: Final = 86400.0  # seconds without a byte, after which the process that wrote it is not there any more


class SpoolUnavailable(Unavailable):
    """There is no room for an upload, or its directory cannot be written to."""

    code = "no-room"


class UploadFile:
    """One upload, for Twisted the file that a request's body goes into.

    It keeps ``limit`` bytes and one; then ``size`` tells that there were more. ``verdict`` fires with who uploads, or
    with why nobody may. Whoever ``take``s it says when it is over (``discard``); else the request's end does.
    """

    def __init__(self, directory: Path, limit: int) -> None:
        self.verdict: Deferred[Principal | VoxrecError] = Deferred()
        self.fault: VoxrecError | None = None
        self.size = 0
        self.path = directory
        self._room = limit + 1
        self._taken = False
        try:
            directory.mkdir(mode=0o750, exist_ok=True)
            self._file = tempfile.NamedTemporaryFile(prefix=PREFIX, dir=directory, delete=False)  # noqa: SIM115
        except OSError as error:
            self._refuse(SpoolUnavailable(f"an upload cannot be taken in {directory}: {error}"))
        else:
            self.path = Path(self._file.name)

    def announce(self, length: int) -> None:
        """The client says how long it is: where that is too long, none of it is kept."""
        if length >= self._room:
            self.size = length
            self._room = 0

    def decide(self, verdict: Principal | VoxrecError) -> None:
        """Say who uploads, or why nobody may: then no more is kept."""
        if isinstance(verdict, VoxrecError):
            self._room = 0
        self.verdict.callback(verdict)

    def take(self) -> None:
        """Close the file; it stays until ``discard``."""
        self._taken = True
        try:
            if self.path.is_file():
                self._file.close()
        except OSError as error:
            self._refuse(SpoolUnavailable(f"an upload cannot be written: {error}"))

    def discard(self) -> None:
        """Remove the file, unless somebody moved it."""
        if self.path.is_file():
            with suppress(OSError):  # what could not be written is not wanted any more
                self._file.close()
            self.path.unlink(missing_ok=True)

    def _refuse(self, fault: VoxrecError) -> None:
        self.fault = fault
        self._room = 0

    # What Twisted calls.

    def write(self, data: bytes) -> None:
        """Keep what there is room for."""
        kept = data[: self._room]
        if not kept:
            return
        self._room -= len(kept)
        self.size += len(kept)
        try:
            self._file.write(kept)
        except OSError as error:
            self._refuse(SpoolUnavailable(f"an upload cannot be written: {error}"))

    def tell(self) -> int:
        """How long it is."""
        return self.size

    def seek(self, *_: int) -> None:
        """Nobody reads it here."""

    def read(self, *_: int) -> bytes:
        """Nobody reads it here."""
        return b""

    def close(self) -> None:
        """The request is over."""
        if not self._taken:
            self.discard()


def discard_leftovers(directory: Path) -> None:
    """Remove what processes left behind that died with a file on its way. Blocks: run it in a thread."""
    for leftover in directory.glob("*"):
        try:
            if leftover.is_file() and time.time() - leftover.stat().st_mtime > _STALE:
                leftover.unlink()
        except FileNotFoundError:
            continue
