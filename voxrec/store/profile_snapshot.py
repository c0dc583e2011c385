"""A copy of all Profiles on the local disk, so that voxrec can accept calls if it starts while PostgreSQL is down."""

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec

from voxrec.errors import Unavailable
from voxrec.model import Profile

_BATCH_SIZE: Final = 50  # lines that are encoded without releasing the GIL


class SnapshotUnreadable(Unavailable):
    """The snapshot exists, but cannot be read."""

    code = "snapshot-unreadable"


class ProfileSnapshot:
    """A file of JSON lines, each a Profile. Later lines override earlier ones.

    Files of earlier versions also have lines with the id of a Profile that was deleted.

    All methods block: call them from a thread, one at a time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, profiles: Iterable[Profile]) -> None:
        """Replace the file. Raises OSError."""
        temporary = self._path.with_suffix(".new")
        # Only the owner may read it: it holds addresses and metadata.
        _write_lines(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), profiles)
        temporary.replace(self._path)

    def append(self, changed: Iterable[Profile]) -> None:
        """Append changes. Raises OSError; the file may then end with an incomplete line until the next `write`."""
        _write_lines(os.open(self._path, os.O_WRONLY | os.O_APPEND), changed)

    def read(self) -> list[Profile]:
        """Return the Profiles; none if there is no file. Raises SnapshotUnreadable.

        Lines that are not valid are skipped: a power failure may cut off or garble the last ones, and this version may
        refuse a Profile that another one has stored.
        """
        decoder: msgspec.json.Decoder[Profile | UUID] = msgspec.json.Decoder(Profile | UUID)
        profiles: dict[UUID, Profile] = {}
        first_error: msgspec.DecodeError | None = None
        try:
            with self._path.open("rb") as file:
                for line in file:
                    try:
                        entry = decoder.decode(line)
                    except msgspec.DecodeError as error:
                        first_error = first_error or error
                        continue
                    if isinstance(entry, UUID):
                        profiles.pop(entry, None)
                    else:
                        profiles[entry.id] = entry
        except FileNotFoundError:
            return []
        except OSError as error:
            raise SnapshotUnreadable(f"the snapshot of the profiles cannot be read: {error}") from error
        if first_error is not None and not profiles:
            raise SnapshotUnreadable(f"the snapshot of the profiles cannot be read: {first_error}") from first_error
        return list(profiles.values())


def _write_lines(descriptor: int, lines: Iterable[Profile]) -> None:
    """Write and sync lines, and close the file."""
    encoder = msgspec.json.Encoder()
    with os.fdopen(descriptor, "wb") as file:
        for batch in _batches(lines):
            file.write(encoder.encode_lines(batch))
        file.flush()
        os.fsync(file.fileno())


def _batches(lines: Iterable[Profile]) -> Iterator[list[Profile]]:
    remaining = iter(lines)
    while batch := list(islice(remaining, _BATCH_SIZE)):
        yield batch
