"""ZIP and tar files that are written from beginning to end in bounded memory. Blocking: call them in a thread.

Between two members, both can be left and continued later by another process.
"""

import json
import tarfile
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, BinaryIO, Final, Protocol
from zipfile import ZIP64_LIMIT, ZIP_STORED, ZipFile, ZipInfo

from voxrec.model import ExportFormat

_MODE: Final = 0o640
_FIRST_YEAR: Final = 1980  # that ZIP can express
_ENTRY_FIELDS: Final = (
    *("CRC", "compress_size", "file_size", "header_offset", "flag_bits", "external_attr", "compress_type"),
    *("create_system", "create_version", "extract_version"),
)


class Container(Protocol):
    """A file with members, which are written one after the other."""

    def begin(self, name: str, size: int, time: datetime) -> None:
        """Begin a member with ``size`` bytes."""

    def write(self, block: bytes) -> None:
        """Write the next bytes of the member."""

    def end(self) -> None:
        """End the member, after all its bytes."""

    def take_index(self) -> bytes:
        """Return lines about the members since the last call, which the constructor needs to continue the file."""

    def close(self) -> None:
        """End the file, and close it."""

    def suspend(self) -> None:
        """Close the file without its end. An incomplete member remains incomplete."""


class ZipContainer:
    """A ZIP file. Members are not compressed: most formats of audio are already, and calls come before exports."""

    def __init__(self, file: BinaryIO, index: Iterable[bytes] = ()) -> None:
        """Write to ``file`` from its position on; ``index`` has the members before it."""
        self._file = file
        self._zip = ZipFile(file, "w", ZIP_STORED, allowZip64=True)
        for line in index:
            entry = _entry(json.loads(line))
            self._zip.filelist.append(entry)
            self._zip.NameToInfo[entry.filename] = entry
        self._indexed = len(self._zip.filelist)
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

    def take_index(self) -> bytes:
        """See `Container`."""
        added = self._zip.filelist[self._indexed :]
        self._indexed += len(added)
        return b"".join(_entry_line(entry) for entry in added)

    def close(self) -> None:
        """See `Container`."""
        self._zip.close()
        self._file.close()

    def suspend(self) -> None:
        """See `Container`."""
        self._zip.fp = None  # otherwise its finalizer writes the directory
        self._file.close()


def _entry_line(entry: ZipInfo) -> bytes:
    fields = {name: getattr(entry, name) for name in _ENTRY_FIELDS}
    return json.dumps({"name": entry.filename, "time": entry.date_time, **fields}).encode() + b"\n"


def _entry(fields: Mapping[str, Any]) -> ZipInfo:
    year, month, day, hour, minute, second = fields["time"]
    entry = ZipInfo(fields["name"], (year, month, day, hour, minute, second))
    for name in _ENTRY_FIELDS:
        setattr(entry, name, fields[name])
    return entry


class TarContainer:
    """A tar file in the pax format, which limits neither sizes nor names. It has no index."""

    def __init__(self, file: BinaryIO, _index: Iterable[bytes] = ()) -> None:
        self._file = file
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

    def take_index(self) -> bytes:
        """See `Container`."""
        return b""

    def close(self) -> None:
        """See `Container`."""
        self._file.write(bytes(2 * tarfile.BLOCKSIZE))
        self._file.write(bytes(-self._file.tell() % tarfile.RECORDSIZE))
        self._file.close()

    def suspend(self) -> None:
        """See `Container`."""
        self._file.close()


ContainerType = Callable[[BinaryIO, Iterable[bytes]], Container]
CONTAINERS: Final[Mapping[ExportFormat, ContainerType]] = MappingProxyType(
    {ExportFormat.ZIP: ZipContainer, ExportFormat.TAR: TarContainer}
)
