"""The columns of the table of Profiles."""

# ruff: noqa: S608 - only names of columns are formatted into statements

from typing import Final

from voxrec.model import Profile
from voxrec.postgres.statement import Row
from voxrec.store.columns import Columns

PROFILE_COLUMNS: Final = Columns(Profile, jsonb=frozenset({"metadata"}), exclude=frozenset({"numbers"}))
NUMBERS_AND_COLUMNS: Final = f"""
    ARRAY(SELECT number FROM profile_numbers WHERE profile_id = profiles.id ORDER BY position),
    {PROFILE_COLUMNS.column_list}
    FROM profiles
"""
"""The select list and the table for `profile_from_row`."""


def profile_from_row(row: Row) -> Profile:
    """Return the Profile for a row of NUMBERS_AND_COLUMNS."""
    numbers, *columns = row
    return PROFILE_COLUMNS.from_row(tuple(columns), numbers=numbers)
