"""Numbers of Recordings by state within a time range, which an index by time bounds."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Self
from uuid import UUID

from voxrec.model import RecordingState
from voxrec.postgres.database import Database
from voxrec.store.keyset import Conditions


class RecordingCounts:
    """Counts Recordings. Reads every row of the time range, so that callers have to limit its length."""

    def __init__(self, database: Database, profile_ids: frozenset[UUID] | None = None) -> None:
        self._database = database
        self._profile_ids = profile_ids

    def scoped_to(self, profile_ids: frozenset[UUID] | None) -> Self:
        """Return an object that counts Recordings of these Profiles only; None stands for all Profiles."""
        return type(self)(self._database, profile_ids)

    async def by_state(self, since: datetime, until: datetime) -> Mapping[RecordingState, int]:
        """Return the number of Recordings created from ``since`` on and before ``until``, for every state.

        Raises StoreUnavailable.
        """
        conditions = Conditions()
        conditions.add("channels > 0")  # true for every row, and the predicate of the index of Recordings by time
        conditions.add("created_at >= %s", since)
        conditions.add("created_at < %s", until)
        conditions.add("profile_id = ANY(%s)", None if self._profile_ids is None else list(self._profile_ids))
        rows = await self._database.query(_COUNT.format(conditions), tuple(conditions.params))
        counts: dict[str, int] = dict(rows)
        return {state: counts.get(state, 0) for state in RecordingState}


_COUNT: Final = "SELECT state, count(*) FROM recordings WHERE {} GROUP BY state"
