"""Request bodies that are stored in a temporary file while they are received."""

import tempfile
import time
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Final

from twisted.internet.defer import Deferred

from voxrec.errors import Unavailable, VoxrecError
from voxrec.web.auth import Principal
from voxrec.web.errors import TooLarge

PREFIX: Final = "upload-"
"""The prefix of the names of temporary files."""
_MAX_AGE: Final = 86400.0  # seconds since the last write after which no process can still be using a file


class UploadUnavailable(Unavailable):
    """An upload cannot be stored, for example because the disk is full."""

    code = "no-room"


class UploadFile:
    """The body of an upload. Twisted uses it as the ``content`` of a request.

    At most ``max_size`` bytes are stored; ``size`` exceeds it if there were more. The file is removed by ``discard``
    after ``detach`` was called, and otherwise when Twisted closes the content.
    """

    def __init__(self, directory: Path, max_size: int) -> None:
        self.size = 0
        self.path = directory
        self._max_size = max_size
        self._remaining = max_size + 1  # one byte more shows that the body is too large
        self._admission: Deferred[Principal | VoxrecError] = Deferred()
        self._refused: VoxrecError | None = None
        self._error: VoxrecError | None = None
        self._detached = False
        try:
            directory.mkdir(mode=0o750, exist_ok=True)
            self._file = tempfile.NamedTemporaryFile(prefix=PREFIX, dir=directory, delete=False)  # noqa: SIM115
        except OSError as error:
            self._fail(UploadUnavailable(f"cannot create a file for an upload in {directory}: {error}"))
        else:
            self.path = Path(self._file.name)

    def set_content_length(self, length: int) -> None:
        """Store nothing if the declared length exceeds the maximum size."""
        if length > self._max_size:
            self.size = length
            self._remaining = 0

    def set_admission(self, admission: Principal | VoxrecError) -> None:
        """Set the principal of the request, or the error that refuses it; then nothing more is stored."""
        if isinstance(admission, VoxrecError):
            self._refused = admission
            self._remaining = 0
        self._admission.callback(admission)

    async def principal(self) -> Principal:
        """Return the principal of the request. Raises the error that refuses it."""
        admission = await self._admission
        if isinstance(admission, VoxrecError):
            raise admission
        return admission

    @property
    def is_admission_known(self) -> bool:
        """Whether ``set_admission`` was called."""
        return self._admission.called

    @property
    def refusal(self) -> VoxrecError | None:
        """Why the body would be refused, as far as that is known before it is received; None: it is wanted."""
        if self._refused is None and self.size > self._max_size:
            return TooLarge(f"The file must have at most {self._max_size} bytes.")
        return self._refused or self._error

    def require_complete(self) -> None:
        """Raise TooLarge or UploadUnavailable unless the body was stored completely."""
        if self.refusal is not None:
            raise self.refusal

    def detach(self) -> None:
        """Flush the file, and keep it until ``discard`` is called."""
        self._detached = True
        try:
            if self.path.is_file():
                self._file.close()
        except OSError as error:
            self._fail(_write_error(error))

    def discard(self) -> None:
        """Remove the file, unless it was moved."""
        if self.path.is_file():
            with suppress(OSError):  # a buffered write may fail, but the file is removed anyway
                self._file.close()
            self.path.unlink(missing_ok=True)

    def _fail(self, error: VoxrecError) -> None:
        self._error = error
        self._remaining = 0

    # The part of a file that Twisted uses

    def write(self, data: bytes) -> None:
        """Store data up to the maximum size."""
        stored = data[: self._remaining]
        if not stored:
            return
        self._remaining -= len(stored)
        self.size += len(stored)
        try:
            self._file.write(stored)
        except OSError as error:
            self._fail(_write_error(error))

    def tell(self) -> int:
        """Return the size."""
        return self.size

    def seek(self, *_: int) -> None:
        """Do nothing."""

    def read(self, *_: int) -> bytes:
        """Return nothing: handlers read the file itself."""
        return b""

    def close(self) -> None:
        """Remove the file, unless it was detached."""
        if not self._detached:
            self.discard()


class RefusedBody(BytesIO):
    """The body of a request that is too large: nothing of it is kept. ``error`` is why it is refused."""

    def __init__(self, error: VoxrecError) -> None:
        super().__init__()
        self.error = error


def body_too_large(limit: int) -> TooLarge:
    """Return the error of a body that is kept in memory."""
    return TooLarge(f"The body must have at most {limit} bytes.")


def remove_stale_files(directory: Path) -> None:
    """Remove the temporary files of processes that were killed. Blocks: run it in a thread."""
    for path in directory.glob("*"):
        try:
            if path.is_file() and time.time() - path.stat().st_mtime > _MAX_AGE:
                path.unlink()
        except FileNotFoundError:
            continue


def _write_error(error: OSError) -> UploadUnavailable:
    return UploadUnavailable(f"cannot write an upload: {error}")
