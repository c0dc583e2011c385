"""The columns of the table of Recordings."""

from typing import Final

from voxrec.model import Recording
from voxrec.postgres.statement import Row
from voxrec.store.columns import Columns

_JSONB: Final = frozenset({"timeline", "verdict", "rtp_statistics", "metadata", "stored_object"})
KEPT: Final = frozenset({"id", "metadata", "tags", "legal_hold", "node", "stored_object", "created_at", "updated_at"})
"""Fields that calls and finishing do not replace: users change them, they never change, or they need an expression."""
COLUMNS: Final = Columns(Recording, jsonb=_JSONB)
RESULT_COLUMNS: Final = Columns(Recording, jsonb=_JSONB, exclude=KEPT)
"""Those that finishing replaces."""
RECORDING_COLUMNS: Final = COLUMNS.column_list
"""The select list for `recording_from_row`."""


def recording_from_row(row: Row) -> Recording:
    """Return the Recording for a row of RECORDING_COLUMNS."""
    return COLUMNS.from_row(row)
