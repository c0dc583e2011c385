"""ZIP and tar files that are written from beginning to end in bounded memory. Blocking: call them in a thread."""

import tarfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol
from zipfile import ZIP64_LIMIT, ZIP_STORED, ZipFile, ZipInfo

from voxrec.model import ExportFormat

_MODE: Final = 0o640
_FIRST_YEAR: Final = 1980  # that ZIP can express


class Container(Protocol):
    """A file with members, which are written one after the other."""

    def begin(self, name: str, size: int, time: datetime) -> None:
        """Begin a member with ``size`` bytes."""

    def write(self, block: bytes) -> None:
        """Write the next bytes of the member."""

    def end(self) -> None:
        """End the member, after all its bytes."""

    def close(self) -> None:
        """End the file."""


class ZipContainer:
    """A ZIP file. Members are not compressed: most formats of audio are already, and calls come before exports."""

    def __init__(self, path: Path) -> None:
        self._zip = ZipFile(path, "w", ZIP_STORED, allowZip64=True)
        self._member = None

    def begin(self, name: str, size: int, time: datetime) -> None:
        """See `Container`."""
        utc = time.astimezone(UTC)
        info = ZipInfo(name, (max(utc.year, _FIRST_YEAR), utc.month, utc.day, utc.hour, utc.minute, utc.second))
        info.external_attr = _MODE << 16
        info.file_size = size
        self._member = self._zip.open(info, "w", force_zip64=size >= ZIP64_LIMIT)  # type: ignore[assignment]

    def write(self, block: bytes) -> None:
        """See `Container`."""
        assert self._member is not None, "write() is called between begin() and end()"
        self._member.write(block)

    def end(self) -> None:
        """See `Container`."""
        assert self._member is not None, "end() is called after begin()"
        self._member.close()

    def close(self) -> None:
        """See `Container`."""
        self._zip.close()


class TarContainer:
    """A tar file in the pax format, which limits neither sizes nor names."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._padding = b""

    def begin(self, name: str, size: int, time: datetime) -> None:
        """See `Container`."""
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = size, int(time.timestamp()), _MODE
        self._file.write(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
        self._padding = bytes(-size % tarfile.BLOCKSIZE)

    def write(self, block: bytes) -> None:
        """See `Container`."""
        self._file.write(block)

    def end(self) -> None:
        """See `Container`."""
        self._file.write(self._padding)

    def close(self) -> None:
        """See `Container`."""
        self._file.write(bytes(2 * tarfile.BLOCKSIZE))
        self._file.write(bytes(-self._file.tell() % tarfile.RECORDSIZE))
        self._file.close()


CONTAINERS: Final[Mapping[ExportFormat, Callable[[Path], Container]]] = MappingProxyType(
    {ExportFormat.ZIP: ZipContainer, ExportFormat.TAR: TarContainer}
)
