"""The filters of the list of Recordings as SQL, such that the right index is used for each."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from voxrec.model import RecordingState
from voxrec.store.keyset import Conditions

# True for every row, and the predicate of the index of all Recordings by time: PostgreSQL uses that index only in
# statements with this condition. Otherwise the planner, which assumes that matches are spread evenly over time, would
# scan millions of rows in that index when the matches are old.
_USE_TIME_INDEX: Final = "channels > 0"
_MAX_INDEX_ENTRIES: Final = 10_000  # read for a page in the index by Profile; that takes some milliseconds


@dataclass(frozen=True, kw_only=True)
class RecordingFilter:
    """Filters of a list; an empty one matches everything.

    Creation times match from ``since`` on and before ``until``. Metadata match if they contain ``metadata``, tags if
    they contain all of ``tags``.
    """

    profile_id: UUID | None = None
    states: Collection[RecordingState] = ()
    from_: str | None = None
    to: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    metadata: Mapping[str, Any] | None = None
    tags: Collection[str] = ()

    def conditions_for_column_index(self, profile_ids: Collection[UUID] | None, limit: int) -> Conditions:
        """Return the filters as SQL that uses the index of a column; ``profile_ids`` None stands for all Profiles."""
        conditions = self._common_conditions()
        if profile_ids is not None and _are_few(profile_ids, limit):
            conditions.add_any_of("profile_id", profile_ids, "uuid")
        elif profile_ids is not None:
            conditions.add("profile_id = ANY(%s)", list(profile_ids))
        if self._only_rare_states:
            conditions.add("state <> 'completed'")  # the predicate of the index
            conditions.add_any_of("state", self._state_names, "text")
        else:
            conditions.add("state = ANY(%s)", self._state_names or None)
        conditions.add("created_at >= %s", self.since)
        conditions.add("created_at < %s", self.until)
        if not self.has_column_index(profile_ids, limit):
            conditions.add(_USE_TIME_INDEX)
        return conditions

    def conditions_for_metadata_index(self, profile_ids: Collection[UUID] | None) -> Conditions:
        """Return the filters, without those of time, as SQL that checks rows found by `MetadataIndex`."""
        conditions = self._common_conditions()
        conditions.add("profile_id = ANY(%s)", None if profile_ids is None else list(profile_ids))
        conditions.add("state = ANY(%s)", self._state_names or None)
        return conditions

    def has_column_index(self, profile_ids: Collection[UUID] | None, limit: int) -> bool:
        """Return whether a filtered column other than the time has an index that yields rows by time."""
        few_profiles = profile_ids is not None and _are_few(profile_ids, limit)
        return bool(few_profiles or self.from_ or self.to or self._only_rare_states)

    @property
    def _state_names(self) -> list[str]:
        return [state.value for state in self.states]

    @property
    def _only_rare_states(self) -> bool:
        return bool(self.states) and RecordingState.COMPLETED not in self.states

    def _common_conditions(self) -> Conditions:
        conditions = Conditions()
        conditions.add('"from" = %s', self.from_)
        conditions.add('"to" = %s', self.to)
        if self.metadata:
            # CASE hides @> from the planner, whose estimate for it is far off.
            contained = msgspec.json.encode(self.metadata).decode()
            conditions.add("CASE WHEN metadata @> %s::jsonb THEN TRUE END", contained)
        if self.tags:
            conditions.add("CASE WHEN tags @> %s::text[] THEN TRUE END", list(self.tags))
        return conditions


def _are_few(profile_ids: Collection[UUID], limit: int) -> bool:
    """Return whether reading a page for each Profile is cheap. For many Profiles the index by time is better."""
    return len(profile_ids) * limit <= _MAX_INDEX_ENTRIES


ALL_RECORDINGS: Final = RecordingFilter()
