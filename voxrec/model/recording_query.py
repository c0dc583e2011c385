"""What lists of Recordings are filtered and sorted by, apart from their fields."""

import enum
from typing import Annotated, Final, NamedTuple
from uuid import UUID

from msgspec import Meta

from voxrec.cursor import Cursor
from voxrec.model.recording import Recording

SEARCH: Final = r"^[^\u0000]*[^\u0000-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u007f][^\u0000]*$"
"""The pattern of a text to search for: with a letter or a digit (of any script), or another character beyond ASCII."""
SearchText = Annotated[str, Meta(min_length=1, max_length=255, extra_json_schema={"pattern": SEARCH})]
MAX_DURATION: Final = 1_000_000_000
"""The greatest duration in a filter, in seconds."""
FilteredSeconds = Annotated[float, Meta(ge=0, le=MAX_DURATION)]


class VerdictFilter(enum.StrEnum):
    """Result of the checks of the audio.

    - ``ok``: no problem was found
    - ``problem``: there may be a problem
    """

    OK = "ok"
    PROBLEM = "problem"


class RecordingSort(enum.StrEnum):
    """Order of a list of Recordings: what comes first.

    - ``newest``, ``oldest``: by `createdAt`
    - ``longest``, ``shortest``: by `duration`
    - ``largest``, ``smallest``: by `size`

    A duration or size that is not known (yet) counts as less than all others. Equal ones are in the order of the ids.
    """

    NEWEST = "newest"
    OLDEST = "oldest"
    LONGEST = "longest"
    SHORTEST = "shortest"
    LARGEST = "largest"
    SMALLEST = "smallest"

    @property
    def descending(self) -> bool:
        """Whether the largest value is the first one."""
        return self in (RecordingSort.NEWEST, RecordingSort.LONGEST, RecordingSort.LARGEST)

    @property
    def field(self) -> str:
        """The JSON name of the field."""
        return _FIELDS[self]

    @property
    def reverse(self) -> "RecordingSort":
        """The opposite order."""
        return next(each for each in RecordingSort if each.field == self.field and each is not self)

    def position_of(self, recording: Recording) -> "Cursor | SortPosition":
        """Return the position of a Recording in a list with this order."""
        if self.field == "createdAt":
            return Cursor.after(recording)
        value = recording.duration if self.field == "duration" else recording.size
        return SortPosition(UNKNOWN if value is None else value, recording.id)


_FIELDS: Final = {
    RecordingSort.NEWEST: "createdAt",
    RecordingSort.OLDEST: "createdAt",
    RecordingSort.LONGEST: "duration",
    RecordingSort.SHORTEST: "duration",
    RecordingSort.LARGEST: "size",
    RecordingSort.SMALLEST: "size",
}

UNKNOWN: Final = -1
"""The value of a duration or size that is not known."""


class SortPosition(NamedTuple):
    """A position in a list that is sorted by duration or size."""

    value: float
    id: UUID


Position = Cursor | SortPosition
"""A position in a list of Recordings. The type follows from the order of the list."""


class Neighbors(NamedTuple):
    """The Recordings before and after one in a list, if there are any."""

    previous: Recording | None
    next: Recording | None
