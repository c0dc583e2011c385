"""The file of twistd's option --logfile, which logrotate can rotate."""

import io
from pathlib import Path

from twisted.logger import Logger


class LogFile:
    """A file to whose end text is written.

    Twisted's own log file does not write at the end, but where it stopped, so that logrotate's ``copytruncate`` would
    leave a hole in the file; and it rotates the file itself, without limit.
    """

    _log = Logger()

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()  # twistd changes the working directory later
        self._file = self._open()

    def _open(self) -> io.FileIO:
        return self._path.open("ab", buffering=0)

    def write(self, text: str) -> None:
        """Append text. Raises OSError; what could not be written is lost, so that later text needs no more space."""
        self._file.write(text.encode("utf-8", "backslashreplace"))

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""

    def reopen(self) -> None:
        """Continue in a new file, after the present one was renamed. If none can be opened, this one stays in use."""
        try:
            file = self._open()
        except OSError as error:
            self._log.error(
                "{path} cannot be opened again, so the log continues in the file that was renamed: {error}",
                path=str(self._path),
                error=error,
            )
            return
        file, self._file = self._file, file
        file.close()
