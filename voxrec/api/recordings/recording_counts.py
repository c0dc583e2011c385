"""GET /recording-counts: the number of Recordings by state within a time range."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from msgspec import Struct

from voxrec.clock import UtcNow
from voxrec.error_codes import FieldErrorCode
from voxrec.errors import FieldError, InvalidInput
from voxrec.model.fields import Timestamp, doc
from voxrec.store.recording_counts import RecordingCounts
from voxrec.web.auth import Role, Scoped
from voxrec.web.parameters import timestamp
from voxrec.web.request import Request
from voxrec.web.response import Response, json_response
from voxrec.web.route import Route

MAX_DAYS: Final = 7
"""Length of the time range; PostgreSQL reads each Recording in it."""
_DEFAULT: Final = timedelta(days=1)
_PARAMETERS: Final = {
    "since": timestamp.described_as(
        f"Recordings created at this time or later, at most {MAX_DAYS} days before `until`; by default, one day before."
    ),
    "until": timestamp.described_as("Recordings created before this time; by default, now."),
}


class RecordingStateCounts(Struct, frozen=True, kw_only=True, rename="camel"):
    """Numbers of Recordings by state."""

    since: Annotated[Timestamp, doc("Beginning of the time range.")]
    until: Annotated[Timestamp, doc("End of the time range.")]
    pending: Annotated[int, doc("Imported Recordings whose audio is still to be uploaded.")]
    recording: Annotated[int, doc("Recordings of live calls.")]
    paused: Annotated[int, doc("Recordings of live calls that are paused.")]
    processing: Annotated[int, doc("Recordings whose audio is being finished.")]
    completed: Annotated[int, doc("Recordings with audio.")]
    failed: Annotated[int, doc("Recordings whose audio could not be produced.")]
    absent: Annotated[int, doc("Recordings without audio.")]


class RecordingCountRoutes:
    """The number of Recordings, for dashboards."""

    def __init__(self, counts: Scoped[RecordingCounts], now: UtcNow) -> None:
        self._counts = counts
        self._now = now

    def routes(self) -> tuple[Route, ...]:
        """Return the route."""
        return (
            Route(
                *("GET", "/recording-counts", Role.READ, self._get),
                profile_scoped=True,
                response_model=RecordingStateCounts,
                query=_PARAMETERS,
                summary="Count recordings by state",
                tag="recordings",
            ),
        )

    async def _get(self, request: Request) -> Response:
        since, until = self._time_range(request.query)
        by_state = await self._counts.visible_to(request.principal).by_state(since, until)
        counts = RecordingStateCounts(
            since=since, until=until, **{state.value: count for state, count in by_state.items()}
        )
        return json_response(counts)

    def _time_range(self, query: Mapping[str, Any]) -> tuple[datetime, datetime]:
        """Return the beginning and the end. Raises InvalidInput."""
        until: datetime = query.get("until") or self._now()
        try:
            since: datetime = query.get("since") or until - _DEFAULT
        except OverflowError:
            since = until
        if since > until:
            raise _invalid(
                FieldError("since", "must not be later than until", FieldErrorCode.LATER_THAN, {"other": "until"})
            )
        if until - since > timedelta(days=MAX_DAYS):
            message = f"must be at most {MAX_DAYS} days before until"
            raise _invalid(FieldError("since", message, FieldErrorCode.RANGE_TOO_LONG, {"days": MAX_DAYS}))
        return since, until


def _invalid(field_error: FieldError) -> InvalidInput:
    return InvalidInput("The time range is invalid.", [field_error])
