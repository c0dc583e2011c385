"""The Profiles on the local disk: what a voxrec that starts while PostgreSQL is away knows of whom to call."""

import os
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec

from voxrec.errors import Unavailable
from voxrec.model import Profile

_AT_A_TIME: Final = 50  # lines encoded without a chance for other threads


class SnapshotUnreadable(Unavailable):
    """There is none, or it cannot be read."""

    code = "snapshot-unreadable"


class ProfileSnapshot:
    """One file, a Profile a line as JSON; what comes later in it counts, and an id alone is a Profile that went.

    All methods block: run them in a thread, one at a time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, profiles: Iterable[Profile]) -> None:
        """Replace what is there; OSError."""
        temporary = self._path.with_suffix(".new")
        # addresses and metadata are in it
        _fill(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), profiles)
        temporary.replace(self._path)

    def add(self, changed: Iterable[Profile], gone: Iterable[UUID]) -> None:
        """Put what changed behind what is there. OSError; after one, only `write` makes it whole again."""
        _fill(os.open(self._path, os.O_WRONLY | os.O_APPEND), chain(changed, gone))

    def read(self) -> list[Profile]:
        """What was written last. SnapshotUnreadable."""
        decoder: msgspec.json.Decoder[Profile | UUID] = msgspec.json.Decoder(Profile | UUID)
        known: dict[UUID, Profile] = {}
        lines = 0
        try:
            with self._path.open("rb") as file:
                for line in file:
                    told = decoder.decode(line)
                    lines += 1
                    if isinstance(told, UUID):
                        known.pop(told, None)
                    else:
                        known[told.id] = told
        except OSError as error:
            raise SnapshotUnreadable(f"the Profiles of the last run cannot be read: {error}") from error
        except msgspec.DecodeError as error:
            # a machine that lost its power may leave half of what was added last; what stands before it was true
            if not lines:
                raise SnapshotUnreadable(f"the Profiles of the last run cannot be read: {error}") from error
        return list(known.values())


def _fill(descriptor: int, lines: Iterable[Profile | UUID]) -> None:
    """Write and sync a file, and close it."""
    encoder = msgspec.json.Encoder()
    with os.fdopen(descriptor, "wb") as file:
        for some in _batches(lines):
            file.write(encoder.encode_lines(some))
        file.flush()
        os.fsync(file.fileno())


def _batches(lines: Iterable[Profile | UUID]) -> Iterator[list[Profile | UUID]]:
    rest = iter(lines)
    while some := list(islice(rest, _AT_A_TIME)):
        yield some
