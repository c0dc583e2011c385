"""The Profiles on the local disk: what a voxrec that starts while PostgreSQL is away knows of whom to call."""

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from voxrec.errors import Unavailable
from voxrec.model import Profile

_AT_A_TIME: Final = 200  # Profiles encoded without a chance for other threads


class SnapshotUnreadable(Unavailable):
    """There is none, or it cannot be read."""

    code = "snapshot-unreadable"


class ProfileSnapshot:
    """One file, a Profile a line as JSON; replaced as a whole. Both methods block: run them in a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, profiles: Iterable[Profile]) -> None:
        """Replace what is there; OSError."""
        temporary = self._path.with_suffix(".new")
        encoder = msgspec.json.Encoder()
        # addresses and metadata are in it
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            for some in _batches(profiles):
                file.write(encoder.encode_lines(some))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)

    def read(self) -> list[Profile]:
        """What was written last. SnapshotUnreadable."""
        decoder = msgspec.json.Decoder(Profile)
        try:
            with self._path.open("rb") as file:
                return [decoder.decode(line) for line in file]
        except (OSError, msgspec.DecodeError) as error:
            raise SnapshotUnreadable(f"the Profiles of the last run cannot be read: {error}") from error


def _batches(profiles: Iterable[Profile]) -> Iterator[list[Profile]]:
    rest = iter(profiles)
    while some := list(islice(rest, _AT_A_TIME)):
        yield some
