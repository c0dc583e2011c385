"""The filters of the list of Recordings as SQL, such that the right index is used for each."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from voxrec.model import ExportQuery, RecordingSort, RecordingState, VerdictFilter
from voxrec.store.keyset import Conditions

# True for every row, and the predicate of the index of all Recordings by time: PostgreSQL uses that index only in
# statements with this condition. Otherwise the planner, which assumes that matches are spread evenly over time, would
# scan millions of rows in that index when the matches are old.
USE_TIME_INDEX: Final = "channels > 0"
_MAX_INDEX_ENTRIES: Final = 10_000  # read for a page in the index by Profile; that takes some milliseconds
_FEW_PROFILES: Final = 10  # cheap whatever the page is: it has at least a tenth of the entries that are read
VERDICTS: Final = {
    VerdictFilter.OK: "verdict ->> 'ok' = 'true'",
    VerdictFilter.PROBLEM: "verdict ->> 'ok' = 'false'",  # the predicate of an index
}
_NAMES: Final = {
    "profile_id": "profileId",
    "states": "state",
    "from_": "from",
    "metadata": "q",
    "tags": "tag",
    "min_duration": "minDuration",
    "max_duration": "maxDuration",
    "legal_hold": "legalHold",
    "ids": "id",
}
DURATION: Final = "coalesce(duration, -1)"
"""The expression that is indexed; `voxrec.model.recording_query.UNKNOWN` is the other value."""
SIZE: Final = "coalesce(size, -1)"


@dataclass(frozen=True, kw_only=True)
class RecordingFilter:
    """Filters and the order of a list; an empty filter matches everything.

    Creation times match from ``since`` on and before ``until``. Metadata match if they contain ``metadata``, tags if
    they contain all of ``tags``, and text if it has all words of ``search``. Durations are in seconds; both ends match.
    """

    profile_id: UUID | None = None
    states: Collection[RecordingState] = ()
    from_: str | None = None
    to: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    metadata: Mapping[str, Any] | None = None
    tags: Collection[str] = ()
    search: str | None = None
    verdict: VerdictFilter | None = None
    min_duration: float | None = None
    max_duration: float | None = None
    node: str | None = None
    legal_hold: bool | None = None
    ids: Collection[UUID] | None = None
    sort: RecordingSort = RecordingSort.NEWEST

    @classmethod
    def of_query(cls, query: ExportQuery, created_before: datetime) -> "RecordingFilter":
        """Return a stored filter, without the Recordings that are created from a time on."""
        return cls(
            profile_id=query.profile_id,
            states=query.state,
            from_=query.from_,
            to=query.to,
            since=query.since,
            until=min(query.until, created_before) if query.until else created_before,
            metadata=query.q,
            tags=query.tag,
            search=query.search,
            verdict=query.verdict,
            min_duration=query.min_duration,
            max_duration=query.max_duration,
            node=query.node,
            legal_hold=query.legal_hold,
        )

    @property
    def names(self) -> list[str]:
        """The names of the filters and of an order other than the default, as REST has them."""
        return [
            _NAMES.get(field, field)
            for field in self.__dataclass_fields__
            if getattr(self, field) not in (None, (), RecordingSort.NEWEST)
        ] or ["this list"]

    @property
    def has_residual_conditions(self) -> bool:
        """Whether there are `residual_conditions`, which no index of column values by time covers."""
        values = (self.search, self.verdict, self.min_duration, self.max_duration, self.node, self.legal_hold)
        return any(value is not None for value in values)

    def conditions_for_column_index(self, profile_ids: Collection[UUID] | None, limit: int) -> Conditions:
        """Return the filters as SQL that uses the index of a column; ``profile_ids`` None stands for all Profiles.

        `residual_conditions` are not among them.
        """
        conditions = self._common_conditions()
        if profile_ids is not None and are_few(profile_ids, limit):
            conditions.add_any_of("profile_id", profile_ids, "uuid")
        elif profile_ids is not None:
            conditions.add("profile_id = ANY(%s)", list(profile_ids))
        if self.only_rare_states:
            conditions.add("state <> 'completed'")  # the predicate of the index
            conditions.add_any_of("state", self.state_names, "text")
        else:
            conditions.add("state = ANY(%s)", self.state_names or None)
        self._add_times(conditions)
        if not self.has_column_index(profile_ids, limit):
            conditions.add(USE_TIME_INDEX)
        return conditions

    def conditions_for_metadata_index(self, profile_ids: Collection[UUID] | None) -> Conditions:
        """Return the filters, without those of time, as SQL that checks rows found by `MetadataIndex`."""
        conditions = self._common_conditions()
        conditions.add("profile_id = ANY(%s)", None if profile_ids is None else list(profile_ids))
        conditions.add("state = ANY(%s)", self.state_names or None)
        self._add_residual_conditions(conditions)
        self.add_search(conditions)
        return conditions

    def all_conditions(self, profile_ids: Collection[UUID] | None) -> Conditions:
        """Return all filters but ``search``, as SQL for which the planner chooses any index except that by time."""
        conditions = self._common_conditions()
        conditions.add("profile_id = ANY(%s)", None if profile_ids is None else list(profile_ids))
        if self.only_rare_states:
            conditions.add("state <> 'completed'")
        conditions.add("state = ANY(%s)", self.state_names or None)
        self._add_times(conditions)
        self._add_residual_conditions(conditions)
        return conditions

    def residual_conditions(self) -> Conditions:
        """Return the filters that are checked on rows found by the index of a column, or by time."""
        conditions = Conditions()
        self._add_residual_conditions(conditions)
        self.add_search(conditions)
        return conditions

    def has_column_index(self, profile_ids: Collection[UUID] | None, limit: int) -> bool:
        """Return whether a filtered column other than the time has an index that yields rows by time."""
        few_profiles = profile_ids is not None and are_few(profile_ids, limit)
        return bool(few_profiles or self.from_ or self.to or self.only_rare_states)

    @property
    def state_names(self) -> list[str]:
        """The states as PostgreSQL stores them."""
        return [state.value for state in self.states]

    @property
    def only_rare_states(self) -> bool:
        """Whether an index of those that are not completed has all Recordings with the states."""
        return bool(self.states) and RecordingState.COMPLETED not in self.states

    def _common_conditions(self) -> Conditions:
        conditions = Conditions()
        conditions.add("id = ANY(%s)", None if self.ids is None else list(self.ids))
        conditions.add('"from" = %s', self.from_)
        conditions.add('"to" = %s', self.to)
        if self.metadata:
            # CASE hides @> from the planner, whose estimate for it is far off.
            contained = msgspec.json.encode(self.metadata).decode()
            conditions.add("CASE WHEN metadata @> %s::jsonb THEN TRUE END", contained)
        if self.tags:
            conditions.add("CASE WHEN tags @> %s::text[] THEN TRUE END", list(self.tags))
        return conditions

    def _add_times(self, conditions: Conditions) -> None:
        conditions.add("created_at >= %s", self.since)
        conditions.add("created_at < %s", self.until)

    def _add_residual_conditions(self, conditions: Conditions) -> None:
        if self.verdict is not None:
            conditions.add(VERDICTS[self.verdict])
        conditions.add(f"{DURATION} >= %s", self.min_duration)
        conditions.add(f"{DURATION} BETWEEN 0 AND %s", self.max_duration)
        conditions.add("node = %s", self.node)
        if self.legal_hold is not None:
            conditions.add("legal_hold" if self.legal_hold else "NOT legal_hold")

    def add_search(self, conditions: Conditions) -> None:
        """Add the condition that a row has the searched words."""
        conditions.add(
            "(SELECT document FROM recording_search WHERE recording_id = id) @@ voxrec_search_query(%s)", self.search
        )


def are_few(profile_ids: Collection[UUID], limit: int) -> bool:
    """Return whether reading a page for each Profile is cheap. For many Profiles the index by time is better."""
    return len(profile_ids) * limit <= max(_MAX_INDEX_ENTRIES, _FEW_PROFILES * limit)


ALL_RECORDINGS: Final = RecordingFilter()
